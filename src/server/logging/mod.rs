//! Log lines, written to the standard error by a thread of their own.

mod journald;
mod line;
mod output;
mod sink;
mod tail;

pub(super) use journald::reads as is_read_by_journald;
pub(super) use line::{Field, line, time};
pub(super) use sink::Guard;
pub(super) use tail::Tail;

use crate::broker::TOLD;
use crate::options::{LogDestination, LogFormat, LogLevel, Options};
use output::{Form, Output};
use sink::Sink;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The handle that changes the log's level, and knows its last lines.
#[derive(Clone)]
pub(super) struct Log {
    set_level: Arc<dyn Fn(LevelFilter) + Send + Sync>,
    sink: Sink,
    tail: Tail,
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Log")
    }
}

impl Log {
    /// Logs lines of at least this importance from now on.
    pub(super) fn set_level(&self, level: LogLevel) {
        (self.set_level)(filter(level));
    }

    /// Goes on in a new file, where the old one was moved away.
    pub(super) fn reopen(&self) {
        self.sink.reopen();
    }

    /// The last lines.
    pub(super) fn tail(&self) -> Tail {
        self.tail.clone()
    }
}

/// Writes lines about an error that do not come through the log: it is not there yet, or nobody
/// would write them any more.
pub(super) fn write_error(lines: &str) {
    let text = match journald::reads(io::stderr()) {
        true => &*journald::error(lines),
        false => lines,
    };
    // Whoever does not read the standard error gets the exit status.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Starts to log; the waiting lines are written when the guard is dropped.
///
/// # Errors
/// A file cannot be opened, or the system gives no thread.
pub(super) fn start(options: &Options) -> Result<(Log, Guard), String> {
    let (level, format) = (options.log_level, options.log_format);
    let (outputs, has_colours) = outputs(options)?;
    let notice = move |count| {
        let fields = [("left_out", Field::Number(count))];
        line(format, Level::WARN, "Log lines are left out: the log is read too slowly", &fields)
    };
    let tail = Tail::default();
    let started = Sink::start((outputs, format), has_colours, notice, tail.clone());
    let (sink, guard) = started.map_err(|error| error.to_string())?;
    let (level, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(level);
    let lines = || {
        let writer = sink.clone();
        tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_ansi(has_colours)
            .with_target(false)
    };
    match format {
        LogFormat::Text => {
            // What has its fields in its words already does not say them twice.
            let words = debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{value:?}"),
                _ => Ok(()),
            });
            let told = lines().fmt_fields(words).with_filter(filter_fn(|of| of.target() == TOLD));
            let others = lines().with_filter(filter_fn(|of| of.target() != TOLD));
            registry.with(told.and_then(others)).init();
        }
        LogFormat::Json => {
            let lines = lines().json().flatten_event(true);
            registry.with(lines.with_current_span(false).with_span_list(false)).init();
        }
    }
    // It fails only when the registry is gone, which is not while anything runs.
    let set_level = Arc::new(move |level| handle.reload(level).unwrap_or_default());
    Ok((Log { set_level, sink, tail }, guard))
}

/// The places that the options name, and whether lines may have colours.
fn outputs(options: &Options) -> Result<(Vec<Output>, bool), String> {
    let LogDestination { has_stderr, file, syslog, .. } = &options.log_destination;
    let plain = if options.log_timestamp { Form::Plain } else { Form::Untimed };
    let mut outputs = Vec::new();
    let is_alone = file.is_none() && syslog.is_none() && plain == Form::Plain;
    let has_colours =
        is_alone && options.log_format == LogFormat::Text && io::stderr().is_terminal();
    if *has_stderr {
        let form = match has_colours {
            _ if journald::reads(io::stderr()) => Form::Journald,
            true => Form::Terminal,
            false => plain,
        };
        outputs.push(Output::new(io::stderr(), form));
    }
    if let Some(path) = file {
        outputs.push(Output::file(path, plain).map_err(|error| {
            let path = path.display();
            format!("cannot open the file {path}: {error}; make its folder writable for this user")
        })?);
    }
    outputs.extend(syslog.map(Output::syslog));
    Ok((outputs, has_colours))
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
