//! The line that tells what goes on, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// The line that tells what goes on.
#[derive(Debug)]
pub(crate) struct Line(Option<ProgressBar>);

impl Line {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("it is a template");
            ProgressBar::new_spinner().with_style(style)
        });
        Self(bar)
    }

    /// Replaces the line.
    pub(crate) fn show(&self, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(message());
            bar.tick();
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
