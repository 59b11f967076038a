//! Tokens, which a submission carries and its completion brings back: the operation, the slot and
//! the generation of the slot's occupant.
//!
//! ```text
//! bit 63      60 59                    32 31                     0
//!    ┌──────────┬────────────────────────┬────────────────────────┐
//!    │ operation│          slot          │       generation       │
//!    └──────────┴────────────────────────┴────────────────────────┘
//! ```
#![forbid(unsafe_code)]

use crate::base::ids::LinkId;

/// The kind of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Watching for connections that wait to be accepted.
    Accept,
    /// Receiving on a link.
    Receive,
    /// Sending at once as much as fits; completes only when that fails.
    Send,
    /// Sending the rest, when the socket takes it.
    Backlog,
    /// Cancelling another operation.
    Cancel,
    /// Watching for another thread's wake-up.
    Wake,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Accept, Self::Receive, Self::Send, Self::Backlog, Self::Cancel, Self::Wake];
}

/// An operation on an occupant of a slot, as 64 bits for the kernel to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

const SLOT_BITS: u32 = 28;

impl Token {
    /// The token of `operation` on `link`.
    ///
    /// # Panics
    /// The slot is 2²⁸ or higher: no process has that many descriptors.
    #[must_use]
    pub(super) const fn new(operation: Operation, link: LinkId) -> Self {
        assert!(link.slot < 1 << SLOT_BITS);
        let high = ((operation as u64) << SLOT_BITS) | link.slot as u64;
        Self((high << 32) | link.generation as u64)
    }

    /// The token of watching for wake-ups, of which a ring has one.
    pub(super) const WAKE: Self = Self::new(Operation::Wake, LinkId::new(0, 0));

    /// The token of watching for connections to accept, which a ring does once at a time.
    pub(super) const ACCEPT: Self = Self::new(Operation::Accept, LinkId::new(0, 0));

    /// The bits for a submission.
    #[must_use]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// The token of a completion.
    #[must_use]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The operation; `None` for bits that [`Token::new`] never made.
    #[must_use]
    pub(super) fn operation(self) -> Option<Operation> {
        Operation::ALL.get((self.0 >> (32 + SLOT_BITS)) as usize).copied()
    }

    /// The link that the operation was submitted for.
    #[must_use]
    pub(super) const fn link(self) -> LinkId {
        let slot = (self.0 >> 32) as u32 & ((1 << SLOT_BITS) - 1);
        LinkId::new(slot, self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_extreme_id_survives_the_round_trip() {
        for operation in Operation::ALL {
            for slot in [0, 1, (1 << SLOT_BITS) - 1] {
                for generation in [0, 1, u32::MAX] {
                    let id = LinkId { slot, generation };
                    let token = Token::from_bits(Token::new(operation, id).bits());
                    assert_eq!((token.operation(), token.link()), (Some(operation), id));
                }
            }
        }
    }

    #[test]
    fn foreign_bits_are_no_operation() {
        assert_eq!(Token::from_bits(u64::MAX).operation(), None);
    }
}
