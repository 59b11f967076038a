//! A file's text, and places in it.

use crate::base::operator_file;
use crate::limits::{CONFIGURATION_FILE_BYTES_MAX, WRONG_NAME_BYTES_MAX};
use crate::options::Wrong;
use std::path::Path;

/// A text and the name of its file.
#[derive(Debug)]
pub(super) struct Source<'a> {
    name: String,
    text: &'a str,
    /// The offset at which each line begins.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &Path, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect();
        Self { name: path.display().to_string(), text, lines }
    }

    /// The file's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The byte at `offset` as `FILE:LINE:COLUMN`; both count from 1, columns in characters.
    pub(super) fn at(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = self.lines.partition_point(|start| *start <= before.len());
        let column = before[self.lines[line - 1]..].chars().count() + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

/// Reads a whole file, which must be text.
pub(super) fn read(path: &Path) -> Result<String, Wrong> {
    let wrong = |cause: String| Wrong::new(&path.display().to_string(), cause);
    let contents = operator_file::read(path, CONFIGURATION_FILE_BYTES_MAX);
    let bytes = contents
        .map_err(|error| wrong(format!("cannot read the configuration file: {error}")))?
        .bytes;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&valid[start..]).chars().count() + 1;
        Wrong::new(&format!("{}:{line}:{column}", path.display()), "the text is not UTF-8")
    })
}

/// A wrong name in quotes, shortened if it is long.
pub(super) fn shown(name: &str) -> String {
    let is_shown = |at: &usize| *at <= WRONG_NAME_BYTES_MAX;
    let end = name.char_indices().map(|(at, _)| at).take_while(is_shown).last().unwrap_or(0);
    match name.len() > WRONG_NAME_BYTES_MAX {
        true => format!("{:?}...", &name[..end]),
        false => format!("{name:?}"),
    }
}

/// The known name nearest to `name`, if one is near enough.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > WRONG_NAME_BYTES_MAX {
        return None;
    }
    let distance =
        |known: &str| strsim::osa_distance(&name.to_lowercase().replace('_', "-"), known);
    let (distance, nearest) = known
        .map(|known| (distance(&known.replace('_', "-")), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= nearest.len() / 3).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new(Path::new("a.toml"), "\u{e4}b\ncd");
        assert_eq!(source.at(0), "a.toml:1:1");
        assert_eq!(source.at(2), "a.toml:1:2");
        assert_eq!(source.at(4), "a.toml:2:1");
        assert_eq!(source.at(99), "a.toml:2:3");
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        let known = || ["max-inflight", "pin", "acl_file"].into_iter();
        assert_eq!(nearest("max_inflght", known()), Some("max-inflight"));
        assert_eq!(nearest("PIN", known()), Some("pin"));
        assert_eq!(nearest("aclfile", known()), Some("acl_file"));
        assert_eq!(nearest("nonsense", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
