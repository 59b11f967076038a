//! Durability, planned without I/O: the records that are written, their bytes, and the state that a
//! reader makes of them.
#![forbid(unsafe_code)]

mod batch;
mod clock;
mod commit;
mod commit_builder;
mod compact;
mod decode;
mod log;
mod message;
pub mod record;
mod recovery;
mod state;

pub use batch::{Batch, Entry, Epoch, Part, PublishEntry, Recipients, Way};
pub use clock::Reading;
pub use commit::{
    COMMIT_HEADER, CommitWriter, FORMAT, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, Stamp,
};
pub use commit_builder::{Commit, CommitBuilder, Committed, News, Submission};
pub use compact::compact;
pub use decode::DecodeError;
pub use log::{Disk, Limits, Log, LogCounts, LogEnd, Sealed};
pub use message::{Expiry, Message, Source, Traits, kept_bytes};
pub use recovery::{Fault, Found, Piece, Reader, Recovered, UnknownFormat, Watch, pieces};
pub use state::{State, StoredCopy, StoredSession, VERSION_MIN, qos};
