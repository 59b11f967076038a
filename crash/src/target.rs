//! The brokers that can be tested: their settings, and how they are started.

use clap::ValueEnum;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// ringmq with a data directory
    Ringmq,
    /// ringmq without one: it must lose everything
    RingmqMemory,
    /// Mosquitto with persistence and its default of saving every 1800 s
    Mosquitto,
    /// Mosquitto that saves every second
    MosquittoAutosave,
}

/// The inputs of a broker's start.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) target: Target,
    /// ringmq's binary.
    pub(crate) binary: PathBuf,
    pub(crate) workers: u32,
    /// More arguments for ringmq.
    pub(crate) arguments: Vec<String>,
}

impl Start {
    /// The command, and the address unless the broker chooses it and says so.
    pub(crate) fn command(&self, folder: &Path) -> io::Result<(Command, Option<SocketAddr>)> {
        match self.target {
            Target::Ringmq => Ok((self.ringmq(Some(&folder.join("data"))), None)),
            Target::RingmqMemory => Ok((self.ringmq(None), None)),
            Target::Mosquitto => mosquitto(folder, 1800),
            Target::MosquittoAutosave => mosquitto(folder, 1),
        }
    }

    fn ringmq(&self, data: Option<&Path>) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("RINGMQ_ADMIN_LISTEN", "none").env("RINGMQ_ADMIN_SOCKET", "none");
        command.args(["--listen", "mqtt://127.0.0.1:0", "--log-level", "warn", "--pin", "none"]);
        command.args(["--max-queued-messages", "1000000", "--max-queued-bytes", "1000000000"]);
        command.arg("--workers").arg(self.workers.to_string());
        if let Some(data) = data {
            command.arg("--data-dir").arg(data);
        }
        command.args(&self.arguments);
        command
    }
}

fn mosquitto(folder: &Path, autosave_s: u32) -> io::Result<(Command, Option<SocketAddr>)> {
    // Freed at once, and nobody else asks for it.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    // With its default of 20 in flight, 2.0.11 loses and reorders some messages without any crash.
    let settings = format!(
        "user root\n\
         listener {} 127.0.0.1\n\
         allow_anonymous true\n\
         persistence true\n\
         persistence_location {}/\n\
         autosave_interval {autosave_s}\n\
         max_queued_messages 0\n\
         max_inflight_messages 1000\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n",
        address.port(),
        folder.join("data").display(),
    );
    let file = folder.join("mosquitto.conf");
    std::fs::write(&file, settings)?;
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file);
    Ok((command, Some(address)))
}
