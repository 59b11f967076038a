//! Where the options come from: the command line, the environment, a configuration file.

mod example;
mod mosquitto;
mod source;
mod toml_file;

pub(super) use example::example;

use super::failure::Failure;
use crate::options::{Given, LogFormat, Wrong};
use std::path::{Path, PathBuf};

/// What the process was started with. The file is read anew each time.
#[derive(Debug)]
pub(super) struct Configuration {
    /// Flags and environment variables, which win over the file.
    pub(super) given: Given,
    /// The file, if any.
    pub(super) file: Option<PathBuf>,
}

/// What a configuration file holds, and all that is to be said of it, in its order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) given: Given,
    /// Why it cannot be used.
    pub(super) wrong: Vec<Wrong>,
    /// What is not as its author may think.
    pub(super) warnings: Vec<Wrong>,
}

impl Configuration {
    /// Everything that is given now. What the file is to be warned of is logged.
    pub(super) fn read(&self) -> Result<Given, Failure> {
        self.load().map(Contents::log)
    }

    /// Everything that is given now, the warnings still to be logged.
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

    /// Logs the warnings and gives what is there.
    pub(super) fn log(self) -> Given {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        self.given
    }
}
