//! The hash of all events, and the last of them in words.

use std::collections::VecDeque;

/// Lines that a trace keeps.
const LINES_MAX: usize = 400;

/// The trace of all that happened so far.
#[derive(Debug)]
pub(super) struct Log {
    hash: u64,
    is_traced: bool,
    lines: VecDeque<String>,
}

impl Log {
    pub(super) const fn new(seed: u64, is_traced: bool) -> Self {
        Self { hash: seed, is_traced, lines: VecDeque::new() }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Mixes a number into the hash.
    pub(super) const fn mix(&mut self, number: u64) {
        let mixed = (self.hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.hash = mixed ^ (mixed >> 29);
    }

    /// Mixes bytes into the hash.
    pub(super) fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Adds a line to the trace, if there is one.
    pub(super) fn line(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(line());
        }
    }

    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}
