//! Rules: which topics may be read and written.

/// Rules in the order in which they are asked; the first that speaks of a topic decides.
#[derive(Debug, Default)]
pub struct Rules {}
