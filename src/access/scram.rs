//! SCRAM-SHA-256, the server's side: RFC 5802 and RFC 7677, without channel binding.
//!
//! The four short messages are written out here. A framework for such exchanges keeps its sessions
//! behind callbacks; here they are plain values with a bound, and wait with a connection.
//!
//! Names and passwords are used as they are, without SASLprep; for ASCII the result is the same.

use super::keyed_hash::{hmac_sha256, process_hash};
use super::password_file::PasswordFile;
use super::password_hash::BASE64;
use crate::base::random;
use crate::limits::EXCHANGE_BYTES_MAX;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::Mac;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// The name of the method.
pub(super) const METHOD: &str = "SCRAM-SHA-256";

const MALFORMED: &str = "malformed SCRAM message";

/// An exchange after the server's first message and before the client's last one.
pub struct ScramExchange {
    user: Box<str>,
    /// The head of the client's first message, repeated in its last one.
    gs2_header: Box<str>,
    nonce: Box<str>,
    /// The client's first message without its head, a comma, the server's first message.
    messages: Box<str>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
    /// The fingerprint of the user's entry; none for an unknown user, whom only the end refuses.
    fingerprint: Option<u64>,
}

/// `Debug` leaves out the keys.
impl fmt::Debug for ScramExchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[exchange]")
    }
}

/// A user who has proved to know the password, and the server's proof of the same.
#[derive(Debug)]
pub(super) struct Proved {
    pub user: Box<str>,
    pub fingerprint: u64,
    pub data: Box<[u8]>,
}

impl ScramExchange {
    /// Takes the client's first message and returns the server's first.
    pub(super) fn begin(
        data: &[u8],
        passwords: &PasswordFile,
    ) -> Result<(Self, Box<[u8]>), &'static str> {
        Self::begin_with(data, passwords, &BASE64_STANDARD.encode(random::bytes::<18>()))
    }

    fn begin_with(
        data: &[u8],
        passwords: &PasswordFile,
        server_nonce: &str,
    ) -> Result<(Self, Box<[u8]>), &'static str> {
        let first = ClientFirst::parse(text(data)?)?;
        let user = &first.user;
        let (parameters, stored_key, server_key, fingerprint) = match passwords.scram(user) {
            Some((hash, fingerprint)) => {
                let parameters = (hash.iterations(), hash.salt.clone());
                let stored_key = (*hash.hash).try_into().map_err(|_| MALFORMED)?;
                (parameters, stored_key, hash.server_key.unwrap_or_default(), Some(fingerprint))
            }
            None => {
                let parameters = invented_parameters(user, passwords);
                (parameters, process_hash(&[b"key", user.as_bytes()]), [0; 32], None)
            }
        };
        let nonce = format!("{}{server_nonce}", first.nonce);
        let salt = BASE64_STANDARD.encode(&parameters.1);
        let server_first = format!("r={nonce},s={salt},i={}", parameters.0);
        let exchange = Self {
            messages: format!("{},{server_first}", first.bare).into(),
            gs2_header: first.gs2_header.into(),
            nonce: nonce.into(),
            user: first.user,
            stored_key,
            server_key,
            fingerprint,
        };
        Ok((exchange, server_first.into_bytes().into()))
    }

    /// Takes the client's last message and returns the server's proof.
    pub(super) fn finish(self, data: &[u8]) -> Result<Proved, &'static str> {
        let last = text(data)?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or(MALFORMED)?;
        let mut attributes = without_proof.split(',');
        let mut next = |prefix| attributes.next().and_then(|field| field.strip_prefix(prefix));
        let (binding, nonce) = (next("c=").ok_or(MALFORMED)?, next("r=").ok_or(MALFORMED)?);
        if BASE64.decode(binding).ok().as_deref() != Some(self.gs2_header.as_bytes()) {
            return Err("SCRAM channel binding that was not announced");
        }
        if *nonce != *self.nonce {
            return Err("another SCRAM nonce than the one given");
        }
        let proof: [u8; 32] =
            BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(MALFORMED)?;
        let sign = |key: &[u8]| {
            let signed = hmac_sha256(key).chain_update(self.messages.as_bytes());
            signed.chain_update(b",").chain_update(without_proof).finalize().into_bytes()
        };
        let signature = sign(&self.stored_key);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let is_right: bool = Sha256::digest(client_key).ct_eq(&self.stored_key).into();
        match self.fingerprint {
            Some(fingerprint) if is_right => {
                let data = format!("v={}", BASE64_STANDARD.encode(sign(&self.server_key)));
                let data = data.into_bytes().into();
                Ok(Proved { user: self.user, fingerprint, data })
            }
            _ => Err(WRONG_PROOF),
        }
    }
}

/// The cause of the one failure that depends on a password.
pub(super) const WRONG_PROOF: &str = "wrong user name or password (SCRAM)";

/// Iterations and salt for an unknown user, the same in every attempt.
fn invented_parameters(user: &str, passwords: &PasswordFile) -> (u32, Box<[u8]>) {
    let (iterations, salt_bytes) = passwords.scram_parameters(user);
    let block = |index: u8| process_hash(&[b"salt", user.as_bytes(), &[index]]);
    let salt = (0..=u8::MAX).flat_map(block).take(salt_bytes).collect();
    (iterations, salt)
}

/// The parts of the client's first message.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    user: Box<str>,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a str) -> Result<Self, &'static str> {
        let mut parts = message.splitn(3, ',');
        let mut part = || parts.next().ok_or(MALFORMED);
        let (flag, authorized, bare) = (part()?, part()?, part()?);
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err("SCRAM channel binding is not offered"),
            _ => return Err(MALFORMED),
        }
        let mut attributes = bare.split(',');
        let mut next = |prefix| attributes.next().and_then(|field| field.strip_prefix(prefix));
        // A client that puts `m=` first asks for an extension that is mandatory; none is known.
        let user = decode_name(next("n=").ok_or(MALFORMED)?)?;
        let nonce = next("r=").ok_or(MALFORMED)?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(MALFORMED);
        }
        match authorized.strip_prefix("a=") {
            Some(name) if decode_name(name)? != user => {
                return Err("SCRAM login in another user's name");
            }
            None if !authorized.is_empty() => return Err(MALFORMED),
            _ => {}
        }
        let gs2_header = &message[..message.len() - bare.len()];
        Ok(Self { gs2_header, bare, user, nonce })
    }
}

/// Decodes a name, in which `=2C` is a comma and `=3D` an equals sign.
fn decode_name(encoded: &str) -> Result<Box<str>, &'static str> {
    let mut pieces = encoded.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(MALFORMED),
        };
        name.push(letter);
        name.push_str(rest);
    }
    if super::is_name(&name) { Ok(name.into()) } else { Err(MALFORMED) }
}

fn text(data: &[u8]) -> Result<&str, &'static str> {
    if data.len() > EXCHANGE_BYTES_MAX {
        return Err("SCRAM message of more than 2048 bytes");
    }
    std::str::from_utf8(data).map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
        :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    /// RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        let passwords = PasswordFile::parse(&format!("user:{KEYS}\n")).unwrap();
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (exchange, server_first) = ScramExchange::begin_with(first, &passwords, nonce).unwrap();
        assert_eq!(
            std::str::from_utf8(&server_first).unwrap(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let proved = exchange.finish(last.as_bytes()).unwrap();
        assert_eq!(&*proved.user, "user");
        assert_eq!(&*proved.data, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn names_are_decoded() {
        assert_eq!(&*decode_name("a=2Cb=3D").unwrap(), "a,b=");
        for wrong in ["", "=", "a=", "a=2c", "a=20", "a=3", "a\0"] {
            assert!(decode_name(wrong).is_err(), "{wrong}");
        }
    }
}
