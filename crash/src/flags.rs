//! The command line.

use crate::target::{Start, Target};
use clap::Parser;
use std::path::PathBuf;

/// Kills a broker again and again under a mixed load, and checks what it acknowledged.
///
/// Exit status: 0 when nothing was wrong, 1 when something was, 2 when it could not be carried out.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringmq-crash", version)]
pub(crate) struct Flags {
    /// The broker
    #[arg(long, value_enum, default_value_t = Target::Ringmq)]
    pub(crate) target: Target,
    /// Ends after so many kills and stops
    #[arg(long, default_value_t = 100)]
    pub(crate) cycles: u64,
    /// Ends after so many minutes
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// Decides all that is random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// ringmq's workers
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: u32,
    /// ringmq's binary
    #[arg(long, default_value = "target/release/ringmq")]
    pub(crate) binary: PathBuf,
    /// One more argument for ringmq; may be repeated
    #[arg(long = "argument", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
    /// In half of the cycles ringmq kills itself at a named point; needs its feature `faults`
    #[arg(long)]
    pub(crate) points: bool,
    /// Plants this bug; needs ringmq's feature `faults`. The run ends when it is found
    #[arg(long, value_name = "NAME")]
    pub(crate) bug: Option<String>,
    /// Ends the broker with SIGTERM in so many of 100 cycles where it would kill it, and expects it
    /// to go within 5 s, with status 0
    #[arg(long, value_name = "PERCENT", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=100))]
    pub(crate) stops: u64,
    /// Cuts all connections where it would kill the broker: what is found then is no crash's fault
    #[arg(long)]
    pub(crate) spare: bool,
    /// Everything is drained and judged once in so many cycles
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) judge_every: u64,
    /// The load lasts so many milliseconds at most before a kill
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(30..))]
    pub(crate) load_ms: u64,
    /// Messages of a publisher in a cycle at most
    #[arg(long, default_value_t = 400)]
    pub(crate) messages: u64,
    /// Data directories of failing cycles that are kept at most
    #[arg(long, default_value_t = 3)]
    pub(crate) keep: u32,
    /// Where the broker's files are [default: a folder of its own in the system's temporary one]
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Flags {
    /// The way to start the broker.
    pub(crate) fn start(&self) -> Start {
        let Self { target, workers, .. } = *self;
        let arguments = self.arguments.clone();
        Start { target, binary: self.binary.clone(), workers, arguments }
    }

    /// Where the broker's files are.
    pub(crate) fn folder(&self) -> PathBuf {
        let own = || std::env::temp_dir().join(format!("ringmq-crash-{}", std::process::id()));
        self.folder.clone().unwrap_or_else(own)
    }
}
