//! The overlap of two filters: how much of one the other matches too.

use super::rules::Level;

/// The share of a filter's topics that a rule's filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// All topics.
    All,
    /// Perhaps some topics.
    Part,
    /// No topic.
    None,
}

/// The share of the topics of `filter` that `rule` matches too.
///
/// The caller makes sure that no topic begins with `$`: for such topics a wildcard in the first
/// level would match less than this function assumes.
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
