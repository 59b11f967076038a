//! Log lines: to the standard error, by a thread of their own.
#![forbid(unsafe_code)]

use crate::options::{LogFormat, LogLevel};
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Changes what is logged.
#[derive(Clone)]
pub(super) struct Log(Arc<dyn Fn(LevelFilter) + Send + Sync>);

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Log")
    }
}

impl Log {
    /// Logs what is at least this important, from now on.
    pub(super) fn set_level(&self, level: LogLevel) {
        (self.0)(filter(level));
    }
}

/// Starts to log; what was logged is written when the guard is dropped.
pub(super) fn start(level: LogLevel, format: LogFormat) -> (Log, WorkerGuard) {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let (level, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(level);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    // It fails only when the registry is gone, which is not while anything runs.
    let log = Log(Arc::new(move |level| handle.reload(level).unwrap_or_default()));
    (log, guard)
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
