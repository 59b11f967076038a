//! The command line.
#![allow(rustdoc::broken_intra_doc_links, reason = "help texts name scenarios in brackets")]

use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::stamp::STAMP_BYTES;
use crate::threads::core_list;
use clap::{Parser, ValueEnum};
use ringmq_mqtt::{QoS, Version};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Puts an MQTT broker under load and measures what it does.
///
/// Every message carries its publisher, number and send time. A run in which one is lost,
/// duplicated or out of order fails with exit status 1.
///
/// `ringmq-bench faults --help` tells of tests that start a broker and provoke faults.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringmq-bench", version)]
pub(crate) struct Flags {
    /// The scenario to run
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,

    /// The broker's name or address
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The broker's port
    #[arg(long, default_value_t = 1883)]
    pub(crate) port: u16,
    /// The protocol below MQTT
    #[arg(long, value_enum, default_value_t = Below::Tcp)]
    pub(crate) over: Below,
    /// Version of the protocol
    #[arg(long, value_enum, default_value_t = Protocol::V311)]
    pub(crate) mqtt: Protocol,

    /// Quality of service of publishes and subscriptions
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..3))]
    pub(crate) qos: u8,
    /// Sessions outlive their connections: what a broker with a data directory keeps
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Bytes of each payload
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    /// Publishing connections [fanout: 1, fanin: 200]
    #[arg(long)]
    pub(crate) publishers: Option<u32>,
    /// Subscribing connections [1000; fanin: 1, or --share]
    #[arg(long)]
    pub(crate) subscribers: Option<u32>,
    /// Members of the shared group that subscribes (fanin)
    #[arg(long, value_name = "MEMBERS", conflicts_with = "subscribers")]
    pub(crate) share: Option<u32>,
    /// Topics that publishers go round and subscribers are spread over
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: u32,
    /// Publishers with one subscriber each [pairs: 200, pingpong: 1]
    #[arg(long)]
    pub(crate) pairs: Option<u32>,
    /// Connections to open [connect: 16000, churn: 1000]
    #[arg(long)]
    pub(crate) connections: Option<u32>,
    /// Sessions whose clients are away (store)
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: u32,
    /// Have each session's client come back for its messages in the end (store)
    #[arg(long)]
    pub(crate) check: bool,
    /// Retained messages
    #[arg(long, default_value_t = 100_000)]
    pub(crate) messages: u32,

    /// Closed loop: messages of a publisher that not all of their subscribers have [64; pairs and
    /// fanin: 16, pingpong: 1]
    #[arg(long, conflicts_with = "rate")]
    pub(crate) window: Option<u32>,
    /// Open loop: publishes per second of the whole run
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds before the measurement
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Seconds of the measurement
    #[arg(long, default_value_t = 5.0)]
    pub(crate) duration: f64,

    /// Threads that share the connections
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Cores of the threads, such as 1 or 2,4-7
    #[arg(long)]
    pub(crate) pin: Option<String>,
    /// Sleep so long before each look at the sockets: more arrives per read, and waking this
    /// process costs the broker less [0; fanout and fanin with a window: 50]
    #[arg(long, value_name = "TIME")]
    pub(crate) nap_us: Option<u64>,
    /// The broker's process: adds its CPU time, context switches and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the latencies as HdrHistogram's percentile text
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram V2 log
    #[arg(long, value_name = "FILE")]
    pub(crate) histogram_log: Option<PathBuf>,
}

/// The scenario to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Few publishers, many subscribers
    Fanout,
    /// Many publishers, one subscriber or one shared group
    Fanin,
    /// Publishers with one subscriber each
    Pairs,
    /// The time of a round trip
    Pingpong,
    /// Retained messages: stored, then all sent to a new subscriber
    Retained,
    /// Messages for sessions whose clients are away
    Store,
    /// Idle connections: connects per second, memory of each
    Connect,
    /// Subscribe and unsubscribe, then connect again under the same client identifier
    Churn,
    /// No broker: the same bytes to bare sockets, which is the kernel's own limit
    Floor,
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.0
    #[value(name = "5")]
    V5,
}

impl Protocol {
    /// The version's number.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// The pace of publishers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pacing {
    /// So many messages of a publisher are undelivered at once.
    Window(u32),
    /// So many publishes per second in all.
    Rate(f64),
}

impl Flags {
    /// Checks what clap cannot.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |sentence: &str| Err(Failure::new(sentence));
        if self.size < STAMP_BYTES {
            return Err(Failure::new(format_args!("--size is at least {STAMP_BYTES}")));
        }
        let counts = [self.window, self.publishers, self.subscribers, self.share, self.pairs];
        let has_none = counts.contains(&Some(0)) || self.connections == Some(0);
        if has_none || self.threads == 0 || self.topics == 0 || self.messages == 0 {
            return wrong("what is counted is at least 1");
        }
        if self.scenario == Scenario::Store && (self.qos == 0 || self.sessions == 0) {
            return wrong("store has --sessions, and --qos 1 or 2");
        }
        if self.share.is_some() && self.scenario != Scenario::Fanin {
            return wrong("--share goes with fanin");
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
            return wrong("--rate is above 0");
        }
        if !(self.duration > 0.0 && self.duration < 1e6 && (0.0..1e6).contains(&self.warmup)) {
            return wrong("--duration is above 0 and --warmup not below");
        }
        self.cores().map(drop)
    }

    /// The version as the codec has it.
    pub(crate) fn version(&self) -> Version {
        match self.mqtt {
            Protocol::V311 => Version::V311,
            Protocol::V5 => Version::V5,
        }
    }

    /// The quality of service as the codec has it.
    pub(crate) fn qos(&self) -> QoS {
        QoS::from_bits(self.qos).expect("the command line allows 0 to 2")
    }

    /// The broker's address.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let unknown = || Failure::new(format_args!("{}: no such host", self.host));
        let mut addresses =
            (self.host.as_str(), self.port).to_socket_addrs().map_err(|_| unknown())?;
        addresses.next().ok_or_else(unknown)
    }

    /// The cores to use, in turn; empty for wherever the kernel puts the threads.
    pub(crate) fn cores(&self) -> Result<Vec<usize>> {
        let Some(list) = &self.pin else { return Ok(Vec::new()) };
        core_list(list).ok_or_else(|| Failure::new("--pin is a list of cores such as 0,2,4-7"))
    }

    /// The time for which threads sleep before they look at their sockets.
    pub(crate) fn nap_us(&self) -> u64 {
        let is_fan = matches!(self.scenario, Scenario::Fanout | Scenario::Fanin);
        self.nap_us.unwrap_or(if is_fan && self.rate.is_none() { 50 } else { 0 })
    }

    /// Publishing connections.
    pub(crate) fn publishers(&self) -> u32 {
        let usual = if self.scenario == Scenario::Fanin { 200 } else { 1 };
        self.publishers.unwrap_or(usual)
    }

    /// Subscribing connections.
    pub(crate) fn subscribers(&self) -> u32 {
        let usual = if self.scenario == Scenario::Fanin { 1 } else { 1000 };
        self.share.or(self.subscribers).unwrap_or(usual)
    }

    /// Publishers with a subscriber each.
    pub(crate) fn pairs(&self) -> u32 {
        let usual = if self.scenario == Scenario::Pingpong { 1 } else { 200 };
        self.pairs.unwrap_or(usual)
    }

    /// Connections to open.
    pub(crate) fn connections(&self) -> u32 {
        let usual = if self.scenario == Scenario::Churn { 1000 } else { 16_000 };
        self.connections.unwrap_or(usual)
    }

    /// Descriptors that connections take.
    pub(crate) fn descriptors(&self) -> u64 {
        let count = |connections: u32| u64::from(connections);
        match self.scenario {
            Scenario::Pairs => 2 * count(self.pairs()),
            Scenario::Pingpong => 3 * count(self.pairs()),
            Scenario::Connect => count(self.connections()),
            Scenario::Churn => 2 * count(self.connections()),
            Scenario::Store => count(self.sessions.max(self.publishers())),
            Scenario::Floor => 2 * count(self.subscribers()),
            Scenario::Fanout | Scenario::Fanin | Scenario::Retained => {
                count(self.publishers()) + count(self.subscribers())
            }
        }
    }

    /// The publishers and subscribers of the scenario, in words.
    pub(crate) fn shape(&self) -> String {
        let (publishers, subscribers) = (self.publishers(), self.subscribers());
        let topics = match self.topics {
            1 => String::new(),
            topics => format!(" over {topics} topics"),
        };
        match self.scenario {
            Scenario::Fanout => format!("fan-out {publishers} to {subscribers}{topics}"),
            Scenario::Fanin if self.share.is_some() => {
                format!("fan-in {publishers} to a group of {subscribers}{topics}")
            }
            Scenario::Fanin => format!("fan-in {publishers} to {subscribers}{topics}"),
            Scenario::Pairs => format!("{} pairs", self.pairs()),
            Scenario::Pingpong => format!("ping-pong of {} pairs", self.pairs()),
            Scenario::Retained => format!("{} retained messages", self.messages),
            Scenario::Store => {
                format!("storing, {publishers} to {} absent sessions{topics}", self.sessions)
            }
            Scenario::Connect => format!("{} idle connections", self.connections()),
            Scenario::Churn => format!("churn of {} connections", self.connections()),
            Scenario::Floor => format!("floor of {subscribers} sockets"),
        }
    }

    /// The shape and what else decides the numbers, in words.
    pub(crate) fn title(&self) -> String {
        let Self { qos, size, .. } = self;
        let (version, over) = (self.mqtt.name(), self.over.name());
        let persistent = if self.persistent { ", persistent sessions" } else { "" };
        format!("{}, MQTT {version}{over}, QoS {qos}, {size} bytes{persistent}", self.shape())
    }

    /// The pace of publishers.
    pub(crate) fn pacing(&self) -> Pacing {
        let usual = match self.scenario {
            Scenario::Pairs | Scenario::Fanin => 16,
            Scenario::Pingpong => 1,
            _ => 64,
        };
        match self.rate {
            Some(rate) => Pacing::Rate(rate),
            None => Pacing::Window(self.window.unwrap_or(usual)),
        }
    }
}
