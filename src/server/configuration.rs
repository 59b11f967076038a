//! Where the options come from: the command line, the environment, a configuration file.
#![forbid(unsafe_code)]

use super::failure::Failure;
use crate::options::{Given, Options};
use std::path::PathBuf;

/// What the process was started with. The file is read anew each time.
#[derive(Debug)]
pub(super) struct Configuration {
    /// Flags and environment variables, which win over the file.
    pub(super) given: Given,
    /// The file, if any.
    pub(super) file: Option<PathBuf>,
}

impl Configuration {
    /// Everything that is given now.
    pub(super) fn read(&self) -> Result<Given, Failure> {
        Ok(self.given.clone())
    }

    /// The options as they are now.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        Options::build(&self.read()?).map_err(Failure::usage)
    }
}
