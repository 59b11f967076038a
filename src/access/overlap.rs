//! How much of what one filter matches another matches too.

use super::rules::Level;

/// How many of a filter's topics a rule's filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// All of them.
    All,
    /// Perhaps some.
    Part,
    /// None.
    None,
}

/// How many of the topics that `filter` matches `rule` matches too.
///
/// The caller has seen to it that topics with a `$` in front are not in question: there a wildcard
/// in the first level would mean less than it does here.
pub(super) fn overlap<'a>(rule: impl Iterator<Item = Level<'a>>, filter: &str) -> Overlap {
    let mut rule = rule;
    let mut names = filter.split('/');
    let mut overlap = Overlap::All;
    loop {
        match (rule.next(), names.next()) {
            // What is left of the filter is below the rule's `#`, or is its parent.
            (Some(Level::Rest), _) | (None, None) => return overlap,
            // The filter's `#` matches what the rule goes on with, and other topics as well.
            (_, Some("#")) => return Overlap::Part,
            (None, Some(_)) | (Some(_), None) => return Overlap::None,
            (Some(Level::Any), Some(_)) => {}
            (Some(Level::Literal(_)), Some("+")) => overlap = Overlap::Part,
            (Some(Level::Literal(wanted)), Some(name)) if wanted == name => {}
            (Some(Level::Literal(_)), Some(_)) => return Overlap::None,
        }
    }
}
