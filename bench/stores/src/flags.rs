//! The command line.

use crate::store::Kind;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Compares stores for the messages of sessions that are away.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// Where the stores are made; on a real disk, since what is measured ends in fdatasync.
    #[arg(long, default_value = "../../target/stores/data")]
    pub(crate) folder: PathBuf,

    /// The stores; they take turns.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values_t = Kind::value_variants().to_vec())]
    pub(crate) stores: Vec<Kind>,

    /// The workloads.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values_t = Workload::value_variants().to_vec())]
    pub(crate) workloads: Vec<Workload>,

    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,

    /// Seconds at most of one run of `fanout` and of `publishers`.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,

    /// Payload bytes of a message; its topic has 20 more.
    #[arg(long, default_value_t = 64)]
    pub(crate) payload: usize,

    /// Sessions that a message of `fanout` is for, and that those of `load` are spread over.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sessions: u32,

    /// Messages that `fanout` commits at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    pub(crate) batches: Vec<u64>,

    /// Messages at most of one run of `fanout`.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) messages: u64,

    /// Publishers of `publishers`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) publishers: u32,

    /// Messages of `drain`; a multiple of the step.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) drain_messages: u64,

    /// Recipients of each message of `drain`.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) drain_recipients: u32,

    /// Messages of `load`; a multiple of the step.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) load_messages: u64,

    /// Messages or acknowledgements that `drain` and `load` commit at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) step: u64,

    /// A run is repeated, at most twice, if everything else used more than this part of one core.
    #[arg(long, default_value_t = 0.3)]
    pub(crate) others: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Publishes to many sessions, some a commit.
    Fanout,
    /// Many publishers of one recipient each that wait for acknowledgements.
    Publishers,
    /// All sessions acknowledge everything.
    Drain,
    /// The store is opened and read.
    Load,
}

impl Flags {
    pub(crate) fn run_ns(&self) -> u64 {
        (self.seconds * 1e9) as u64
    }
}
