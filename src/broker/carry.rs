//! Received bytes that are still to be handled.

use crate::base::visits::moved;

/// The bytes of a link that are no whole packet yet, or whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Carry(Vec<u8>);

impl Carry {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes that are allocated.
    pub(super) const fn memory(&self) -> usize {
        self.0.capacity()
    }

    /// Adds received bytes behind the rest.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        moved(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// All bytes. [`Self::put_back`] gives back those that were not handled.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// Puts back `bytes`, of which the first `used` were handled.
    pub(super) fn put_back(&mut self, mut bytes: Vec<u8>, used: usize) {
        if used < bytes.len() {
            if used > 0 {
                moved(bytes.len() - used);
            }
            bytes.drain(..used);
            self.0 = bytes;
        }
    }
}
