//! The lines that wait for the thread that writes them. Logging never waits: lines without room are
//! left out while the log is not read, and a notice tells their number.

use super::output::Output;
use super::tail::Tail;
use crate::io::clock::Clock;
use crate::limits::{LOG_BYTES_MAX, LOG_LINE_BYTES, STOP_LOG};
use crate::options::LogFormat;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// The number of bytes written at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The interval between two notices about lines left out.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Takes log lines.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    lines: Sender<Message>,
    waiting: Arc<Waiting>,
    /// Whether lines may have colours.
    has_colours: bool,
}

/// Writes the waiting lines when it is dropped, as far as time allows.
#[derive(Debug)]
pub(in crate::server) struct Guard(Sender<Message>);

/// The lines that are not written yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// The number of lines left out since the last notice, without room or with a failed write.
    left_out: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Files are opened anew, behind all earlier lines.
    Reopen,
    /// The end: all earlier lines are written when the other end of this channel is dropped.
    End(#[expect(dead_code, reason = "that it is dropped is what counts")] Sender<()>),
}

impl Sink {
    /// Starts the thread that writes lines to `output`. `notice` makes the line with the number of
    /// lines left out; all lines are in `tail` as well.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        (outputs, format): (Vec<Output>, LogFormat),
        has_colours: bool,
        notice: impl Fn(u64) -> String + Send + 'static,
        tail: Tail,
    ) -> io::Result<(Self, Guard)> {
        let (lines, received) = unbounded();
        let waiting = Arc::new(Waiting::default());
        let mut writer = Writer {
            lines: received,
            waiting: Arc::clone(&waiting),
            outputs,
            format,
            notice,
            tail,
        };
        let body = move || writer.run(Clock::start());
        std::thread::Builder::new().name("log".into()).spawn(body)?;
        Ok((Self { lines: lines.clone(), waiting, has_colours }, Guard(lines)))
    }

    /// Goes on in new files, where the old ones were moved away.
    pub(super) fn reopen(&self) {
        // As below.
        let _ = self.lines.send(Message::Reopen);
    }

    fn take(&self, line: &[u8]) {
        let cost = line.len() + LOG_LINE_BYTES;
        // Relaxed: the count guards nothing but itself.
        if self.waiting.bytes.fetch_add(cost, Ordering::Relaxed) + cost > LOG_BYTES_MAX {
            self.waiting.bytes.fetch_sub(cost, Ordering::Relaxed);
            self.waiting.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut line = line.to_vec();
        one_line(&mut line, self.has_colours);
        // It fails only when the writer has ended, as the process does.
        let _ = self.lines.send(Message::Line(line));
    }
}

/// Keeps an event's text to one line without control characters, so it cannot control a terminal.
fn one_line(line: &mut [u8], has_colours: bool) {
    let Some((_, text)) = line.split_last_mut() else { return };
    for byte in text {
        if (*byte < b' ' || *byte == 0x7f) && !(has_colours && *byte == 0x1b) {
            *byte = b' ';
        }
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (end, ended) = bounded(0);
        // The writer goes on as long as this exists.
        let _ = self.0.send(Message::End(end));
        // Whoever does not read the log does not keep the process.
        let _ = ended.recv_timeout(STOP_LOG);
    }
}

struct Writer<N> {
    lines: Receiver<Message>,
    waiting: Arc<Waiting>,
    outputs: Vec<Output>,
    format: LogFormat,
    notice: N,
    tail: Tail,
}

impl<N: Fn(u64) -> String> Writer<N> {
    fn run(&mut self, clock: Clock) {
        let mut told = clock.now();
        while let Ok(first) = self.lines.recv() {
            let end = self.write_batch(first);
            let is_time = clock.now().since(told) >= TELL_INTERVAL;
            if is_time || end.is_some() || self.lines.is_empty() {
                self.tell_left_out();
                told = clock.now();
            }
            match end {
                None => {}
                Some(Message::Reopen) => self.reopen(),
                Some(_) => return,
            }
        }
    }

    /// Writes a line and the lines behind it; returns the message behind them that is no line.
    fn write_batch(&mut self, first: Message) -> Option<Message> {
        let (mut next, mut cost, mut count, mut bytes) = (Some(first), 0, 0, 0);
        while let Some(Message::Line(line)) = next {
            cost += line.len() + LOG_LINE_BYTES;
            count += 1;
            bytes += line.len();
            self.put(&line);
            self.tail.add(line);
            next = if bytes < BATCH_BYTES { self.lines.try_recv().ok() } else { None };
        }
        self.tail.tell();
        if !self.write() {
            self.waiting.left_out.fetch_add(count, Ordering::Relaxed);
        }
        self.waiting.bytes.fetch_sub(cost, Ordering::Relaxed);
        next
    }

    fn put(&mut self, line: &[u8]) {
        self.outputs.iter_mut().for_each(|output| output.put(line, self.format));
    }

    /// Writes to all places; false when one of them has failed.
    fn write(&mut self) -> bool {
        let failures = self.outputs.iter_mut().filter_map(|output| output.write().err());
        failures.count() == 0
    }

    fn reopen(&mut self) {
        for output in &mut self.outputs {
            // Lines go on into the old file then.
            let _ = output.reopen();
        }
    }

    fn tell_left_out(&mut self) {
        let count = self.waiting.left_out.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let notice = (self.notice)(count).into_bytes();
        self.put(&notice);
        let is_written = self.write();
        self.tail.add(notice);
        self.tail.tell();
        if !is_written {
            self.waiting.left_out.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Form;
    use super::*;
    use std::sync::Mutex;

    /// An output that takes no bytes until it is opened.
    #[derive(Clone)]
    struct Gate(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn v45_what_a_log_that_nobody_reads_holds_is_bounded_and_the_rest_is_counted() {
        let (opens, gate) = bounded::<()>(0);
        let written = Arc::default();
        let output = Gate(gate, Arc::clone(&written));
        let notice = |count| format!("{count} left out\n");
        let (sink, guard) = Sink::start(
            (vec![Output::new(output, Form::Plain)], LogFormat::Text),
            false,
            notice,
            Tail::default(),
        )
        .unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let sent = 3 * LOG_BYTES_MAX / line.len();
        for _ in 0..sent {
            (&sink).write_all(&line).unwrap();
        }
        assert!(sink.waiting.bytes.load(Ordering::Relaxed) <= LOG_BYTES_MAX);
        drop(opens);
        drop(guard);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let count = written.lines().filter(|line| line.starts_with('x')).count();
        assert!(count > LOG_BYTES_MAX / 2000, "{count} lines are there");
        let told = written.lines().filter_map(|line| line.strip_suffix(" left out"));
        let left_out: usize = told.map(|count| count.parse::<usize>().unwrap()).sum();
        assert_eq!(count + left_out, sent);
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let mut line = *b"a\r\nb\x1b[31m\x7f\n";
        one_line(&mut line, false);
        assert_eq!(&line, b"a  b [31m \n");
    }
}
