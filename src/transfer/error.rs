//! The errors of an import: the cause, and the place in the file.

use std::error::Error;
use std::fmt;
use std::io;

/// A file that cannot be imported.
#[derive(Debug)]
pub enum ImportError {
    /// The file cannot be read.
    Io(io::Error),
    /// The file has no bytes.
    Empty,
    /// The file begins as none does that is known.
    Foreign,
    /// The file is Mosquitto's, of a format that is not read.
    UnknownFormat(u32),
    /// The bytes from this offset on are wrong.
    At {
        /// The offset of the chunk's first byte.
        offset: u64,
        /// The fault of the chunk.
        cause: String,
    },
    /// A line of an export is wrong.
    Line {
        /// The number of the line, from 1.
        number: u64,
        /// The fault of the line.
        cause: String,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => out.write_str("cannot be read"),
            Self::Empty => out.write_str("byte 0: the file is empty"),
            Self::Foreign => out.write_str(
                "byte 0: the file is neither a database of Mosquitto's nor an export of ringmq's",
            ),
            Self::UnknownFormat(format) => write!(
                out,
                "byte 19: the file is a database of Mosquitto's in format {format}, and formats 5 \
                 and 6 are read: start Mosquitto 1.6 or a later one with the file once, and stop it"
            ),
            Self::At { offset, cause } => write!(out, "byte {offset}: {cause}"),
            Self::Line { number, cause } => write!(out, "line {number}: {cause}"),
        }
    }
}

impl Error for ImportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
