//! The parts of a client's first message that decide the server's answer or explain a failure.

use smallvec::SmallVec;

/// The deciding parts of a client's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// The newest version offered, as TLS writes it: 0x0303 is 1.2.
    pub(super) newest: u16,
    pub(super) suites: Suites,
    /// Whether the client offers one of our application protocols, or none at all.
    pub(super) shares_protocol: bool,
    /// The most plaintext that the client accepts in a record.
    pub(super) record_bytes_max: Option<usize>,
}

/// The kinds of cipher suites in the offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suites {
    /// ECDHE with AES-GCM or ChaCha20-Poly1305, and a certificate with an ECDSA or EdDSA key.
    pub(super) ecdsa: bool,
    /// The same with an RSA key.
    pub(super) rsa: bool,
    /// Keys from RSA alone, without forward secrecy.
    pub(super) static_rsa: bool,
    /// Keys from finite-field Diffie-Hellman.
    pub(super) finite_field: bool,
    /// ECDHE with CBC, RC4 or 3DES.
    pub(super) old_cipher: bool,
}

/// The state of a client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More bytes have to come.
    Incomplete,
    /// The message is no hello, or malformed: rustls reports the error.
    Foreign,
    Complete(Hello),
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_BYTES_MAX: usize = 16_384 + 256;
/// The largest hello that the server waits for; another limit holds for all waiting bytes.
const HELLO_BYTES_MAX: usize = 64 * 1024;

const MAX_FRAGMENT_LENGTH: u16 = 1;
const APPLICATION_PROTOCOLS: u16 = 16;
const RECORD_SIZE_LIMIT: u16 = 28;
const SUPPORTED_VERSIONS: u16 = 43;

const TLS_1_3: u16 = 0x0304;

/// Reads a hello from the front of `input`. `protocols` are the server's.
pub(super) fn read(input: &[u8], protocols: &[Vec<u8>]) -> Progress {
    // Nothing is copied as long as bytes are missing: many peers may stop there.
    let mut records = Records { input, is_foreign: false };
    let head: SmallVec<[u8; 4]> = records.by_ref().flatten().copied().take(4).collect();
    let mut records = Records { input, is_foreign: false };
    let bytes: usize = records.by_ref().map(<[u8]>::len).sum();
    let missing = if records.is_foreign { Progress::Foreign } else { Progress::Incomplete };
    let length = match head[..] {
        [] => return missing,
        [kind, ..] if kind != CLIENT_HELLO => return Progress::Foreign,
        [_, a, b, c] => 4 + u32::from_be_bytes([0, a, b, c]) as usize,
        _ => return missing,
    };
    if length > HELLO_BYTES_MAX {
        return Progress::Foreign;
    }
    if bytes < length {
        return missing;
    }
    let message = Records { input, is_foreign: false }.collect::<SmallVec<[_; 2]>>().concat();
    parse(&message[4..length], protocols).map_or(Progress::Foreign, Progress::Complete)
}

/// Iterates over the handshake bytes in each record, the incomplete last one included. Ends at a
/// record of another kind.
struct Records<'a> {
    input: &'a [u8],
    is_foreign: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.is_foreign |= self.input.first().is_some_and(|kind| *kind != HANDSHAKE);
        let [_, _, _, high, low, rest @ ..] = self.input else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        self.is_foreign |= length > RECORD_BYTES_MAX;
        if self.is_foreign {
            return None;
        }
        let (part, others) = rest.split_at(length.min(rest.len()));
        self.input = others;
        Some(part)
    }
}

fn parse(body: &[u8], protocols: &[Vec<u8>]) -> Option<Hello> {
    let mut body = Reader(body);
    let mut newest = body.u16()?;
    body.take(32)?;
    body.list_u8()?;
    let suites = suites(body.list_u16()?);
    body.list_u8()?;
    let mut hello = Hello { newest, suites, shares_protocol: true, record_bytes_max: None };
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.list_u16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut value = Reader(extensions.list_u16()?);
        match kind {
            MAX_FRAGMENT_LENGTH => {
                if let Some([code @ 1..=4]) = value.take(1) {
                    hello.limit_records(256 << code);
                }
            }
            // In version 1.3 the limit counts a byte besides the plaintext.
            RECORD_SIZE_LIMIT => hello.limit_records(usize::from(value.u16()?).saturating_sub(1)),
            APPLICATION_PROTOCOLS => {
                let mut offered = Reader(value.list_u16()?);
                hello.shares_protocol = false;
                while !offered.0.is_empty() {
                    let name = offered.list_u8()?;
                    hello.shares_protocol |= protocols.iter().any(|own| own == name);
                }
            }
            SUPPORTED_VERSIONS => {
                // GREASE has versions of its own, all beyond ours.
                let known = numbers(value.list_u8()?).filter(|version| *version <= TLS_1_3);
                newest = known.max().unwrap_or(newest);
                hello.newest = newest;
            }
            _ => {}
        }
    }
    Some(hello)
}

/// The bytes still to read; a read returns None when bytes are missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Reads a list behind a length of one byte.
    fn list_u8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// Reads a list behind a length of two bytes.
    fn list_u16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

impl Hello {
    fn limit_records(&mut self, bytes: usize) {
        let before = self.record_bytes_max.unwrap_or(usize::MAX);
        self.record_bytes_max = Some(before.min(bytes));
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
}

fn suites(bytes: &[u8]) -> Suites {
    let mut suites = Suites::default();
    for suite in numbers(bytes) {
        match suite {
            0x1301..=0x1305 => (suites.ecdsa, suites.rsa) = (true, true),
            0xc02b | 0xc02c | 0xcca9 => suites.ecdsa = true,
            0xc02f | 0xc030 | 0xcca8 => suites.rsa = true,
            0x0001..=0x000a
            | 0x002f
            | 0x0035
            | 0x003b..=0x003d
            | 0x0041
            | 0x0084
            | 0x0096
            | 0x009c
            | 0x009d
            | 0x00ba
            | 0x00c0
            | 0xc09c
            | 0xc09d
            | 0xc0a0
            | 0xc0a1 => {
                suites.static_rsa = true;
            }
            0x000b..=0x001b
            | 0x0030..=0x0034
            | 0x0036..=0x003a
            | 0x003e..=0x0040
            | 0x0042..=0x0046
            | 0x0067..=0x006d
            | 0x0085..=0x0089
            | 0x0097..=0x009b
            | 0x009e..=0x00a7
            | 0xc09e
            | 0xc09f
            | 0xc0a2
            | 0xc0a3
            | 0xccaa => {
                suites.finite_field = true;
            }
            0xc001..=0xc02a | 0xc02d | 0xc02e | 0xc031 | 0xc032 | 0xc0ac..=0xc0af => {
                suites.old_cipher = true;
            }
            _ => {}
        }
    }
    suites
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(suites: &[u16], extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let list = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, value)| [&kind.to_be_bytes()[..], &list(value)].concat())
            .collect();
        let body =
            [&[3, 3][..], &[7; 32], &[0], &list(&suites), &[1, 0], &list(&extensions)].concat();
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[CLIENT_HELLO], &length[1..], &body].concat();
        [&[HANDSHAKE, 3, 1][..], &list(&message)].concat()
    }

    fn complete(bytes: &[u8]) -> Hello {
        match read(bytes, &[b"mqtt".to_vec()]) {
            Progress::Complete(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_offered_is_read_and_what_is_cut_off_is_waited_for() {
        let bytes = hello(
            &[0xc02f, 0x009c, 0x00ff],
            &[(1, &[2]), (10, &[0, 2, 0, 25]), (16, &[0, 3, 2, b'h', b'2']), (43, &[2, 3, 2])],
        );
        let read_whole = complete(&bytes);
        assert_eq!(read_whole.newest, 0x0302);
        assert_eq!(read_whole.record_bytes_max, Some(1024));
        assert!(!read_whole.shares_protocol);
        assert!(read_whole.suites.rsa && read_whole.suites.static_rsa && !read_whole.suites.ecdsa);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], &[]), Progress::Incomplete, "{end}");
        }
        assert_eq!(read(b"\x17\x03\x03\0\x01a", &[]), Progress::Foreign);
        assert_eq!(read(b"\x16\x03\x03\0\x01\x02", &[]), Progress::Foreign);
        let small =
            complete(&hello(&[0x1301], &[(28, &[2, 1]), (16, &[0, 5, 4, 109, 113, 116, 116])]));
        assert_eq!((small.record_bytes_max, small.shares_protocol), (Some(512), true));
    }

    #[test]
    fn a_hello_in_records_of_one_byte_is_the_same() {
        let whole = hello(&[0x1301], &[(1, &[1])]);
        let cut: Vec<u8> =
            whole[5..].iter().flat_map(|byte| [HANDSHAKE, 3, 1, 0, 1, *byte]).collect();
        assert_eq!(complete(&cut), complete(&whole));
    }
}
