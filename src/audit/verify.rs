//! The verification of a chain: finds lines that were changed, removed, added or moved.

use super::chain::{Chain, Hash, Line};
use crate::limits::AUDIT_FAULTS_MAX;
use sha2::{Digest, Sha256};
use std::fmt;

/// The place of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The place of the file in the order of reading, from 0.
    pub file: usize,
    /// The number of the line in its file, from 1.
    pub line: u64,
}

/// A fault of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many lines, from this one on, are none of an audit log.
    NoLines(u64),
    /// The line behind this one names the hash of another line.
    Changed,
    /// Lines of these numbers are missing before this one.
    Missing(u64, u64),
    /// The line has the first number behind the second.
    OutOfPlace(u64, u64),
    /// The first line of a chain names a line before it.
    NoBeginning,
    /// The torn piece that the line tells of does not stand before it.
    NoPiece,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLines(1) => out.write_str("changed or added: no line of an audit log"),
            Self::NoLines(count) => {
                write!(out, "changed or added: {count} lines that are none of an audit log")
            }
            Self::Changed => {
                out.write_str("changed or replaced: the next line names the hash of another line")
            }
            Self::Missing(from, to) if from == to => {
                write!(out, "line number {from} is missing before this one")
            }
            Self::Missing(from, to) => {
                write!(out, "lines number {from} to {to} are missing before this one")
            }
            Self::OutOfPlace(number, behind) => {
                write!(out, "added or moved: number {number} stands behind number {behind}")
            }
            Self::NoBeginning => out.write_str("changed: number 1 names a line before it"),
            Self::NoPiece => {
                out.write_str("the torn piece that this line tells of is missing or changed")
            }
        }
    }
}

/// The outcome of a verification.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The number of intact lines, in their place or not.
    pub lines: u64,
    /// The first line.
    pub first: Option<Line>,
    /// The last line.
    pub last: Option<Line>,
    /// The first [`AUDIT_FAULTS_MAX`] faults, by place of discovery.
    pub faults: Vec<(Place, Fault)>,
    /// The number of all faults.
    pub faults_in_all: u64,
    /// Torn pieces that a later line tells of, with their lengths.
    pub torn: Vec<(Place, u64)>,
    /// The torn last line, with its length.
    pub torn_end: Option<(Place, u64)>,
    /// The place and the number of the line with the hash that was looked for.
    pub found: Option<(Place, u64)>,
}

/// Bytes between two lines that are none.
#[derive(Debug)]
struct Piece {
    place: Place,
    lines: u64,
    bytes: u64,
    hasher: Sha256,
}

/// An intact line, and its place.
#[derive(Debug, Clone, Copy)]
struct Seen {
    line: Line,
    place: Place,
}

/// Reads the lines of one or more files, in order.
#[derive(Debug)]
pub(crate) struct Verifier {
    verified: Verified,
    wanted: Option<Hash>,
    place: Place,
    /// The last intact line.
    last: Option<Seen>,
    /// The last line that was in its place, while the lines behind it are not.
    stood: Option<Seen>,
    piece: Option<Piece>,
    is_amid_line: bool,
}

impl Verifier {
    /// A verifier that looks for a line with the hash `wanted`, if any.
    pub(crate) fn new(wanted: Option<Hash>) -> Self {
        let verified = Verified {
            lines: 0,
            first: None,
            last: None,
            faults: Vec::new(),
            faults_in_all: 0,
            torn: Vec::new(),
            torn_end: None,
            found: None,
        };
        Self {
            verified,
            wanted,
            place: Place { file: 0, line: 0 },
            last: None,
            stood: None,
            piece: None,
            is_amid_line: false,
        }
    }

    /// The file `file` begins.
    pub(crate) fn begin_file(&mut self, file: usize) {
        self.place = Place { file, line: 0 };
        self.is_amid_line = false;
    }

    /// Takes the next line with its newline. The last one may lack it, and a line that is too long
    /// comes in parts.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let is_rest = std::mem::replace(&mut self.is_amid_line, !bytes.ends_with(b"\n"));
        self.place.line += u64::from(!is_rest);
        match Line::read(bytes).filter(|_| !is_rest) {
            Some(line) => self.line(line),
            None => self.no_line(bytes, !is_rest),
        }
    }

    fn no_line(&mut self, bytes: &[u8], is_new: bool) {
        let place = self.place;
        let none = || Piece { place, lines: 0, bytes: 0, hasher: Sha256::new() };
        let piece = self.piece.get_or_insert_with(none);
        piece.lines += u64::from(is_new);
        piece.bytes += bytes.len() as u64;
        piece.hasher.update(bytes);
    }

    fn line(&mut self, line: Line) {
        let seen = Seen { line, place: self.place };
        let skipped = self.end_piece(&line);
        self.verified.lines += 1;
        if self.wanted == Some(line.end.hash) {
            self.verified.found = Some((self.place, line.end.sequence));
        }
        let Some(last) = self.last.replace(seen) else {
            self.verified.first = Some(line);
            if line.end.sequence == 1 && line.before != Hash::NONE {
                self.fault(self.place, Fault::NoBeginning);
            }
            return;
        };
        let stood = self.stood.take().unwrap_or(last);
        if [last, stood].iter().any(|known| line.follows(&known.line.end)) {
            return;
        }
        let (before, number) = (stood.line.end.sequence, line.end.sequence);
        match number.checked_sub(before) {
            // The lines that are none stand in the place of these numbers.
            Some(distance) if skipped > 0 && distance == skipped + 1 => {}
            Some(1) => self.fault(stood.place, Fault::Changed),
            Some(distance) if distance > 1 => {
                self.fault(self.place, Fault::Missing(before + 1, number - 1));
            }
            _ => {
                self.fault(self.place, Fault::OutOfPlace(number, before));
                self.stood = Some(stood);
            }
        }
    }

    /// Judges the bytes before a line that were no line; returns the number of their lines.
    fn end_piece(&mut self, line: &Line) -> u64 {
        let Some(piece) = self.piece.take() else {
            if line.torn.is_some() && self.last.is_some() {
                self.fault(self.place, Fault::NoPiece);
            }
            return 0;
        };
        let follows = self.last.is_none_or(|last| line.follows(&last.line.end));
        if line.torn == Some((piece.bytes, Hash::finish(piece.hasher))) && follows {
            self.verified.torn.push((piece.place, piece.bytes));
            return 0;
        }
        self.fault(piece.place, Fault::NoLines(piece.lines));
        piece.lines
    }

    fn fault(&mut self, place: Place, fault: Fault) {
        self.verified.faults_in_all += 1;
        if self.verified.faults.len() < AUDIT_FAULTS_MAX {
            self.verified.faults.push((place, fault));
        }
    }

    /// The outcome, behind the last file.
    pub(crate) fn finish(mut self) -> Verified {
        if let Some(Piece { place, lines, bytes, .. }) = self.piece.take() {
            match lines == 1 && self.is_amid_line {
                true => self.verified.torn_end = Some((place, bytes)),
                false => self.fault(place, Fault::NoLines(lines)),
            }
        }
        self.verified.last = self.last.map(|last| last.line);
        self.verified
    }
}

impl Verified {
    /// The end of the chain that was read.
    pub(crate) fn end(&self) -> Chain {
        self.last.map_or(Chain::EMPTY, |last| last.end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Sealed;
    use super::*;

    fn append(chain: &mut Chain, fields: &str) -> String {
        let mut text = String::new();
        chain.append(&Sealed { time: "2026-01-01T00:00:00Z", fields }, &mut text);
        text
    }

    fn lines(count: u64) -> Vec<String> {
        let mut chain = Chain::EMPTY;
        let line = |number| append(&mut chain, &format!(r#""event":"x","n":{number}"#));
        (0..count).map(line).collect()
    }

    fn verify_files(files: &[String]) -> Verified {
        let mut verifier = Verifier::new(None);
        for (index, file) in files.iter().enumerate() {
            verifier.begin_file(index);
            file.split_inclusive('\n').for_each(|line| verifier.take(line.as_bytes()));
        }
        verifier.finish()
    }

    fn verify(lines: &[String]) -> Verified {
        verify_files(&[lines.concat()])
    }

    #[track_caller]
    fn faults(lines: &[String], expected: &[(u64, Fault)]) {
        let verified = verify(lines);
        let faults: Vec<_> =
            verified.faults.iter().map(|(place, fault)| (place.line, fault.clone())).collect();
        assert_eq!(faults, expected, "{lines:#?}");
        assert_eq!(verified.faults_in_all, expected.len() as u64);
        assert_eq!(verified.torn_end, None);
    }

    #[test]
    fn an_untouched_chain_is_sound() {
        faults(&lines(9), &[]);
        let verified = verify(&lines(9));
        assert_eq!((verified.lines, verified.end().sequence), (9, 9));
        assert_eq!(verified.end().hash, Hash::of(lines(9)[8].as_bytes()));
        faults(&[], &[]);
    }

    #[test]
    fn every_changed_byte_is_found_but_for_those_of_the_last_line() {
        let original = lines(4);
        let text = original.concat();
        let last = text.len() - original[3].len();
        for at in 0..last {
            for flipped in [1, 0x20, 0x80] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= flipped;
                let mut verifier = Verifier::new(None);
                bytes.split_inclusive(|byte| *byte == b'\n').for_each(|line| verifier.take(line));
                let verified = verifier.finish();
                assert!(verified.faults_in_all > 0, "byte {at} with {flipped:#x}");
            }
        }
    }

    #[test]
    fn a_changed_line_is_named() {
        let mut changed = lines(6);
        changed[2] = changed[2].replace("\"n\":2", "\"n\":7");
        faults(&changed, &[(3, Fault::Changed)]);
        changed[2] = "{\"seq\":3}\n".into();
        faults(&changed, &[(3, Fault::NoLines(1))]);
    }

    #[test]
    fn a_number_that_was_changed_does_not_condemn_what_follows() {
        let mut changed = lines(9);
        changed[2] = changed[2].replace("\"seq\":3", "\"seq\":30");
        faults(&changed, &[(3, Fault::Missing(3, 29)), (4, Fault::OutOfPlace(4, 30))]);
    }

    #[test]
    fn removed_lines_are_named() {
        let mut removed = lines(9);
        removed.drain(3..5);
        faults(&removed, &[(4, Fault::Missing(4, 5))]);
        let renumbered = removed.concat().replace("\"seq\":6", "\"seq\":4");
        let renumbered: Vec<_> = renumbered.split_inclusive('\n').map(str::to_owned).collect();
        assert_eq!(verify(&renumbered).faults[0], (Place { file: 0, line: 3 }, Fault::Changed));
    }

    #[test]
    fn an_added_line_is_named() {
        let mut added = lines(6);
        added.insert(4, added[1].clone());
        faults(&added, &[(5, Fault::OutOfPlace(2, 4))]);
        let mut chain = Chain { sequence: 3, hash: Hash::of(lines(3)[2].as_bytes()) };
        let mut forged = lines(6);
        forged.insert(3, append(&mut chain, r#""event":"forged""#));
        faults(&forged, &[(5, Fault::OutOfPlace(4, 4))]);
        let mut garbage = lines(6);
        garbage.insert(3, "nonsense\n".into());
        faults(&garbage, &[(4, Fault::NoLines(1))]);
        garbage.insert(3, "nonsense\n".into());
        faults(&garbage, &[(4, Fault::NoLines(2))]);
    }

    #[test]
    fn swapped_lines_are_named() {
        let mut swapped = lines(6);
        swapped.swap(2, 3);
        faults(&swapped, &[(3, Fault::Missing(3, 3)), (4, Fault::OutOfPlace(3, 4))]);
    }

    #[test]
    fn a_tail_that_was_cut_off_is_found_by_its_hash_alone() {
        let cut = lines(9)[..6].to_vec();
        faults(&cut, &[]);
        let look = |wanted: &str, lines: &[String]| {
            let mut verifier = Verifier::new(Some(Hash::of(wanted.as_bytes())));
            lines.iter().for_each(|line| verifier.take(line.as_bytes()));
            verifier.finish().found
        };
        assert_eq!(look(&lines(9)[8], &cut), None);
        // Lines may have come since the hash was noted.
        let found = Some((Place { file: 0, line: 6 }, 6));
        assert_eq!(look(&lines(9)[5], &lines(9)), found);
    }

    #[test]
    fn a_chain_goes_on_in_the_next_file() {
        let lines = lines(9);
        let (first, second) = lines.split_at(5);
        let both = [first.concat(), second.concat()];
        assert!(verify_files(&both).faults.is_empty());
        assert_eq!(verify_files(&both[1..]).first.unwrap().end.sequence, 6);
        let without = [first[..4].concat(), second.concat()];
        let missing = (Place { file: 1, line: 1 }, Fault::Missing(5, 5));
        assert_eq!(verify_files(&without).faults, [missing]);
        let changed = [both[0].replace("\"n\":4", "\"n\":0"), both[1].clone()];
        let place = Place { file: 0, line: 5 };
        assert_eq!(verify_files(&changed).faults, [(place, Fault::Changed)]);
        let others = [Chain { sequence: 0, hash: Hash::of(b"x") }].map(|mut chain| {
            let line = append(&mut chain, r#""event":"x""#);
            verify(&[line]).faults[0].1.clone()
        });
        assert_eq!(others, [Fault::NoBeginning]);
    }

    fn torn_line(chain: &mut Chain, piece: &str) -> String {
        let (bytes, hash) = (piece.len(), Hash::of(piece.as_bytes()));
        append(chain, &format!(r#""event":"torn","torn_bytes":{bytes},"torn_sha256":"{hash}""#))
    }

    #[test]
    fn a_torn_last_line_is_told_at_every_length() {
        let lines = lines(4);
        let text = lines.concat();
        let start = text.len() - lines[3].len();
        for end in start + 1..text.len() {
            let verified = verify_files(&[text[..end].to_owned()]);
            assert!(verified.faults.is_empty(), "{end}");
            let torn = (Place { file: 0, line: 4 }, (end - start) as u64);
            assert_eq!((verified.torn_end, verified.end().sequence), (Some(torn), 3));
        }
    }

    #[test]
    fn a_torn_piece_that_the_next_line_tells_of_is_no_fault() {
        let mut chain = Chain::EMPTY;
        let first = append(&mut chain, r#""event":"x""#);
        for piece in ["{\"seq\":2,\"pr", "{\"seq\":2}\n\0\0\0"] {
            let ended = format!("{piece}\n");
            let mut chain = chain;
            let torn = torn_line(&mut chain, &ended);
            let last = append(&mut chain, r#""event":"y""#);
            let whole = [first.clone(), ended.clone(), torn.clone(), last.clone()].concat();
            let verified = verify_files(std::slice::from_ref(&whole));
            assert_eq!((verified.faults, verified.lines), (vec![], 3));
            assert_eq!(verified.torn, [(Place { file: 0, line: 2 }, ended.len() as u64)]);
            let changed = whole.replace("{\"seq\":2", "{\"seq\":4");
            assert!(!verify_files(&[changed]).faults.is_empty());
            let without = [first.clone(), torn.clone(), last.clone()].concat();
            let no_piece = (Place { file: 0, line: 2 }, Fault::NoPiece);
            assert_eq!(verify_files(&[without]).faults, [no_piece]);
            // Another file begins behind the piece.
            let mut chain = Chain { sequence: 1, hash: Hash::of(first.as_bytes()) };
            let files = [format!("{first}{piece}"), torn_line(&mut chain, piece)];
            assert!(verify_files(&files).faults.is_empty());
        }
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_parts() {
        let mut verifier = Verifier::new(None);
        for part in [&lines(1)[0], "long", "er", " still\n", &lines(2)[1]] {
            verifier.take(part.as_bytes());
        }
        let verified = verifier.finish();
        assert_eq!(verified.faults, [(Place { file: 0, line: 2 }, Fault::NoLines(1))]);
        assert_eq!(verified.lines, 2);
    }
}
