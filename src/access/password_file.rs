//! Password files: users and their password hashes.

use super::keyed_hash::process_number;
use super::password_hash::{PasswordHash, Workspace};
use crate::base::maps::HashMap;

/// A password file.
#[derive(Debug)]
pub(super) struct PasswordFile {
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, usize>,
    /// The indices of the entries that can take part in SCRAM.
    scram: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    hash: PasswordHash,
    fingerprint: u64,
}

impl PasswordFile {
    /// Reads a file's text. The error holds the line's number and its fault.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut file = Self { entries: Vec::new(), by_name: HashMap::default(), scram: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            file.take(line).map_err(|cause| (index + 1, cause))?;
        }
        Ok(file)
    }

    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let Some((name, hash)) = split_line(line)? else { return Ok(()) };
        let hash = PasswordHash::parse(hash)?;
        if hash.server_key.is_some() {
            self.scram.push(self.entries.len());
        }
        if self.by_name.insert(name.into(), self.entries.len()).is_some() {
            return Err("the same name stands in a line above: remove one of them");
        }
        self.entries.push(Entry { fingerprint: hash.fingerprint(name), hash });
        Ok(())
    }

    pub(super) fn knows(&self, user: &str) -> bool {
        self.by_name.contains_key(user)
    }

    pub(super) fn fingerprint(&self, user: &str) -> Option<u64> {
        Some(self.entries[*self.by_name.get(user)?].fingerprint)
    }

    /// Returns the fingerprint of the user's entry, if the password is right.
    ///
    /// An unknown user's password is hashed too, at the cost of an entry that depends on the name.
    /// So neither the time of one attempt nor its change from one attempt to the next shows that a
    /// name is unknown.
    pub(super) fn verify(
        &self,
        user: &str,
        password: &[u8],
        workspace: &mut Workspace,
    ) -> Option<u64> {
        let known = self.by_name.get(user).copied();
        let entry = known.map(|index| &self.entries[index]);
        let entry = entry.or_else(|| pick(user, self.entries.len()).map(|at| &self.entries[at]))?;
        let is_right = entry.hash.verify(password, workspace);
        (is_right && known.is_some()).then_some(entry.fingerprint)
    }

    /// Whether any user can use SCRAM.
    pub(super) const fn has_scram(&self) -> bool {
        !self.scram.is_empty()
    }

    /// The user's keys, if there are any, with the fingerprint of the entry.
    pub(super) fn scram(&self, user: &str) -> Option<(&PasswordHash, u64)> {
        let entry = &self.entries[*self.by_name.get(user)?];
        entry.hash.server_key.is_some().then_some((&entry.hash, entry.fingerprint))
    }

    /// Iterations and the salt's length for a user without keys, the same as another user's.
    pub(super) fn scram_parameters(&self, user: &str) -> (u32, usize) {
        let model = pick(user, self.scram.len()).map(|at| &self.entries[self.scram[at]].hash);
        match model {
            Some(hash) => (hash.iterations(), hash.salt.len()),
            None => (4096, 16),
        }
    }
}

/// Name and hash of a line; none for a comment or a blank line.
pub(super) fn split_line(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let line = line.trim_end_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, hash) = line.split_once(':').ok_or("no colon behind the name")?;
    if name.is_empty() {
        return Err("no name before the colon");
    }
    if name.contains(char::is_control) {
        return Err("a control character in the name: remove it");
    }
    Ok(Some((name, hash)))
}

/// One of `count` indices, always the same for a name; no outsider can tell which.
fn pick(user: &str, count: usize) -> Option<usize> {
    let number = process_number(&[b"entry", user.as_bytes()]);
    let index = number.checked_rem(count as u64)?;
    usize::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::super::password_hash::Cost;
    use super::*;
    use std::collections::BTreeSet;

    /// Cheap entries of every kind; the work of each differs from that of the others.
    fn file() -> PasswordFile {
        let costs = [
            Cost::Sha512,
            Cost::Pbkdf2 { iterations: 2 },
            Cost::Pbkdf2 { iterations: 3 },
            Cost::Argon2 { memory: 8, passes: 1, lanes: 1 },
            Cost::Scram { iterations: 5 },
        ];
        let entry = |(index, cost): (usize, &Cost)| {
            format!("user{index}:{}\n", PasswordHash::create(*cost, &[7; 16], b"right"))
        };
        let text: String = costs.iter().enumerate().map(entry).collect();
        PasswordFile::parse(&text).unwrap()
    }

    fn work(file: &PasswordFile, user: &str, password: &[u8]) -> (bool, Vec<String>) {
        let mut workspace = Workspace::default();
        let is_right = file.verify(user, password, &mut workspace).is_some();
        (is_right, workspace.work)
    }

    /// V30: the same key derivations, not only about the same time.
    #[test]
    fn v30_an_unknown_user_costs_what_a_known_one_does() {
        let file = file();
        let known = (0..5).map(|index| {
            let user = format!("user{index}");
            let (is_right, right) = work(&file, &user, b"right");
            let (is_wrong, wrong) = work(&file, &user, b"wrong");
            assert!(is_right && !is_wrong && right == wrong && right.len() == 1, "{user}");
            right
        });
        let known: BTreeSet<_> = known.collect();
        let unknown = (0..200).map(|index| {
            let user = format!("nobody{index}");
            let (is_right, first) = work(&file, &user, b"right");
            assert!(!is_right && first == work(&file, &user, b"else").1, "{user}");
            first
        });
        assert_eq!(known.len(), 5);
        assert_eq!(unknown.collect::<BTreeSet<_>>(), known, "every kind, and no other");
    }

    #[test]
    fn an_empty_file_knows_nobody() {
        let file = PasswordFile::parse("").unwrap();
        assert_eq!(work(&file, "user", b"x"), (false, Vec::new()));
        assert!(!file.has_scram());
    }
}
