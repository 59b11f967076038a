//! Conformance vectors: what goes in and what must come out, byte by byte, whoever runs them.
//!
//! ```text
//! [MQTT-3.12.4-1] PINGREQ is answered with PINGRESP.
//! a> 10 { 's"MQTT" 04 02 003c s"a" }
//! a< 20 { 00 00 }
//! a> c0 00
//! a< d0 00
//! ```
//!
//! `x>` sends on connection x, opened at its first use; `x<` must come next on it. Hex digits are
//! bytes; `s"…"` is a string with its two-byte length, `"…"` one without; `{ … }` is preceded by
//! its length as a variable byte integer; a `*` in what must come stands for anything up to the end
//! of the packet. `x< closed`, `x< nothing`, `x drop`, `wait SECONDS`. `#` begins a comment.

use std::time::Duration;

#[derive(Debug)]
pub struct Vector {
    pub name: String,
    pub place: String,
    pub steps: Vec<(usize, Step)>,
}

#[derive(Debug)]
pub enum Step {
    Send(char, Vec<u8>),
    /// `None` stands for anything.
    Receive(char, Vec<Option<u8>>),
    Closed(char),
    Nothing(char),
    Drop(char),
    Wait(Duration),
}

/// Who runs a vector.
pub trait Driver {
    fn send(&mut self, connection: char, bytes: &[u8]);
    /// The next whole packet.
    fn packet(&mut self, connection: char) -> Option<Vec<u8>>;
    fn is_closed(&mut self, connection: char) -> bool;
    fn is_silent(&mut self, connection: char) -> bool;
    fn drop_connection(&mut self, connection: char);
    fn wait(&mut self, duration: Duration);
}

/// Every vector of `tests/vectors`.
pub fn load() -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| parse(path)).collect()
}

fn parse(path: &std::path::Path) -> Vec<Vector> {
    let file = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let mut vectors: Vec<Vector> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" # ").next().unwrap().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{file}:{}", number + 1);
        if line.starts_with('[') {
            vectors.push(Vector { name: line.into(), place, steps: Vec::new() });
            continue;
        }
        let step = parse_step(line).unwrap_or_else(|| panic!("{place}: not a step: {line}"));
        vectors.last_mut().expect("a name comes first").steps.push((number + 1, step));
    }
    vectors
}

fn parse_step(line: &str) -> Option<Step> {
    if let Some(seconds) = line.strip_prefix("wait ") {
        return Some(Step::Wait(Duration::from_secs_f64(seconds.parse().ok()?)));
    }
    let connection = line.chars().next()?;
    let rest = &line[connection.len_utf8()..];
    match rest.split_once(' ')? {
        ("", "drop") => Some(Step::Drop(connection)),
        ("<", "closed") => Some(Step::Closed(connection)),
        ("<", "nothing") => Some(Step::Nothing(connection)),
        ("<", bytes) => Some(Step::Receive(connection, parse_bytes(bytes)?)),
        (">", bytes) => {
            let bytes = parse_bytes(bytes)?.into_iter().collect::<Option<_>>()?;
            Some(Step::Send(connection, bytes))
        }
        _ => None,
    }
}

fn parse_bytes(text: &str) -> Option<Vec<Option<u8>>> {
    let mut open: Vec<Vec<Option<u8>>> = vec![Vec::new()];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let out = open.last_mut()?;
        let string = rest.strip_prefix("s\"").or_else(|| rest.strip_prefix('"'));
        let used = if let Some(string) = string {
            let string = &string[..string.find('"')?];
            if rest.starts_with('s') {
                out.extend((string.len() as u16).to_be_bytes().map(Some));
            }
            out.extend(string.bytes().map(Some));
            string.len() + 2 + usize::from(rest.starts_with('s'))
        } else {
            let word = rest.split_whitespace().next()?;
            match word {
                "{" => open.push(Vec::new()),
                "}" => {
                    let inner = open.pop()?;
                    let out = open.last_mut()?;
                    let has_star = inner.contains(&None);
                    if has_star {
                        out.push(None);
                    } else {
                        out.extend(varint(inner.len()).into_iter().map(Some));
                    }
                    out.extend(inner);
                }
                "*" => out.push(None),
                digits => {
                    for pair in digits.as_bytes().chunks(2) {
                        let pair = std::str::from_utf8(pair).ok()?;
                        out.push(Some(u8::from_str_radix(pair, 16).ok()?));
                    }
                }
            }
            word.len()
        };
        rest = rest[used..].trim_start();
    }
    (open.len() == 1).then(|| open.remove(0))
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = value >= 128;
        bytes.push((value % 128) as u8 | if more { 128 } else { 0 });
        value /= 128;
        if !more {
            return bytes;
        }
    }
}

/// The length of the first packet in `bytes`, when it is whole.
pub fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut value = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        value |= usize::from(byte & 127) << (7 * i);
        if byte & 128 == 0 {
            let length = 2 + i + value;
            return (bytes.len() >= length).then_some(length);
        }
    }
    None
}

/// Runs one vector; what went wrong, if anything.
pub fn run(vector: &Vector, driver: &mut dyn Driver) -> Result<(), String> {
    for (line, step) in &vector.steps {
        let ok = match step {
            Step::Send(c, bytes) => {
                driver.send(*c, bytes);
                Ok(())
            }
            Step::Receive(c, expected) => match driver.packet(*c) {
                None => Err("nothing came".to_string()),
                Some(packet) if is_match(expected, &packet) => Ok(()),
                Some(packet) => Err(format!("came {packet:02x?}, not {}", show(expected))),
            },
            Step::Closed(c) => {
                driver.is_closed(*c).then_some(()).ok_or_else(|| "it stays open".to_string())
            }
            Step::Nothing(c) => {
                driver.is_silent(*c).then_some(()).ok_or_else(|| "something came".to_string())
            }
            Step::Drop(c) => {
                driver.drop_connection(*c);
                Ok(())
            }
            Step::Wait(duration) => {
                driver.wait(*duration);
                Ok(())
            }
        };
        ok.map_err(|what| format!("{} ({}) line {line}: {what}", vector.name, vector.place))?;
    }
    Ok(())
}

/// A `*` matches any bytes at all, and so stands for a length that is not known, too.
fn is_match(expected: &[Option<u8>], packet: &[u8]) -> bool {
    match expected.iter().position(Option::is_none) {
        None => expected.iter().copied().eq(packet.iter().copied().map(Some)),
        Some(0) => true,
        Some(at) => {
            let rest = &expected[at + 1..];
            let begins = packet.len() >= at
                && expected[..at].iter().copied().eq(packet[..at].iter().copied().map(Some));
            begins
                && (0..=packet.len() - at)
                    .any(|skip| is_match(rest, &packet[at + skip..]) || rest.is_empty())
        }
    }
}

fn show(expected: &[Option<u8>]) -> String {
    let bytes: Vec<_> =
        expected.iter().map(|b| b.map_or("*".into(), |b| format!("{b:02x}"))).collect();
    format!("[{}]", bytes.join(", "))
}
