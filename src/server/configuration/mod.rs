//! The sources of options: the command line, the environment, a configuration file.

mod example;
mod mosquitto;
mod source;
mod toml_file;

pub(super) use example::example;
pub(super) use mosquitto::mosquitto_names;

use super::failure::Failure;
use crate::options::{Given, LogFormat, Wrong};
use std::path::{Path, PathBuf};

/// The sources that the process was started with. The file is read again on each use.
#[derive(Debug)]
pub(super) struct Configuration {
    /// Flags and environment variables, which win over the file.
    pub(super) given: Given,
    /// The file, if any.
    pub(super) file: Option<PathBuf>,
}

/// The content of a configuration file, with its faults and warnings in the file's order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) given: Given,
    /// The faults that make the file unusable.
    pub(super) wrong: Vec<Wrong>,
    /// Settings whose effect may surprise the author.
    pub(super) warnings: Vec<Wrong>,
}

impl Configuration {
    /// Reads all sources, and logs the file's warnings.
    pub(super) fn read(&self) -> Result<Given, Failure> {
        self.load().map(Contents::log)
    }

    /// Reads all sources; the warnings are not logged yet.
    pub(super) fn load(&self) -> Result<Contents, Failure> {
        let Some(file) = &self.file else {
            return Ok(Contents { given: self.given.clone(), ..Contents::default() });
        };
        let mut contents = Contents::read(file);
        if let [first, others @ ..] = &*contents.wrong {
            let more = match others.len() {
                0 => String::new(),
                count => format!(" ({count} more: ringmq check {})", file.display()),
            };
            let format = self.given.log_format().or_else(|| contents.given.log_format());
            let failure = Failure::usage(format!("{first}{more}"));
            return Err(failure.in_format(format.unwrap_or(LogFormat::Text)));
        }
        contents.given = self.given.clone().or(contents.given);
        Ok(contents)
    }
}

impl Contents {
    /// Reads a file: Mosquitto's format when its name ends in `.conf`, otherwise TOML.
    pub(super) fn read(path: &Path) -> Self {
        let is_mosquitto = path.extension().is_some_and(|extension| extension == "conf");
        match source::read(path) {
            Err(wrong) => Self { wrong: vec![wrong], ..Self::default() },
            Ok(text) if is_mosquitto => mosquitto::read(path, &text),
            Ok(text) => toml_file::read(path, &text),
        }
    }

    /// Logs the warnings and returns the given values.
    pub(super) fn log(self) -> Given {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        self.given
    }
}
