//! The places that log lines go to.

use super::journald;
use crate::options::LogFormat;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The socket of the system's log.
const SYSLOG: &str = "/dev/log";

/// The form of the lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines as they are.
    Plain,
    /// Lines as they are, for a terminal that shows colours.
    Terminal,
    /// Lines without their time.
    Untimed,
    /// Lines for systemd's journal.
    Journald,
    /// Packets for the system's log, with this facility.
    Syslog(u8),
}

/// One place, and the lines that wait for it.
pub(super) struct Output {
    stream: Stream,
    form: Form,
    batch: Vec<u8>,
}

enum Stream {
    Other(Box<dyn Write + Send>),
    File { path: PathBuf, file: File },
    Syslog(Option<UnixDatagram>),
}

impl Output {
    /// A stream that is open.
    pub(super) fn new(stream: impl Write + Send + 'static, form: Form) -> Self {
        Self { stream: Stream::Other(Box::new(stream)), form, batch: Vec::new() }
    }

    /// A file, to whose end lines are added.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn file(path: &Path, form: Form) -> io::Result<Self> {
        let stream = Stream::File { path: path.to_owned(), file: open(path)? };
        Ok(Self { stream, form, batch: Vec::new() })
    }

    /// The system's log, whose socket is sought with each line as long as it is not there.
    pub(super) const fn syslog(facility: u8) -> Self {
        Self { stream: Stream::Syslog(None), form: Form::Syslog(facility), batch: Vec::new() }
    }

    /// Adds a line to those that wait.
    pub(super) fn put(&mut self, line: &[u8], format: LogFormat) {
        match self.form {
            Form::Untimed if format == LogFormat::Text => {
                let time = line.iter().position(|byte| *byte == b' ').unwrap_or_default();
                self.batch.extend_from_slice(line[time..].trim_ascii_start());
            }
            Form::Plain | Form::Terminal | Form::Untimed => self.batch.extend_from_slice(line),
            Form::Journald => journald::append(line, &mut self.batch),
            Form::Syslog(facility) => journald::append_packet(line, facility, &mut self.batch),
        }
    }

    /// Writes the lines that wait.
    ///
    /// # Errors
    /// The lines are lost.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let written = match &mut self.stream {
            Stream::Other(stream) => stream.write_all(&self.batch).and_then(|()| stream.flush()),
            Stream::File { file, .. } => file.write_all(&self.batch),
            Stream::Syslog(socket) => send(socket, &self.batch),
        };
        self.batch.clear();
        written
    }

    /// Goes on in a new file, where the old one was moved away. A file that cannot be opened leaves
    /// the old one.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Stream::File { path, file } = &mut self.stream {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Sends each line as a packet.
fn send(socket: &mut Option<UnixDatagram>, lines: &[u8]) -> io::Result<()> {
    let mut result = Ok(());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // The system's log may have been started anew meanwhile.
        let sent = send_one(socket, line).or_else(|_| {
            *socket = None;
            send_one(socket, line)
        });
        result = result.and(sent);
    }
    result
}

fn send_one(socket: &mut Option<UnixDatagram>, line: &[u8]) -> io::Result<()> {
    let open = match socket.take() {
        Some(open) => open,
        None => {
            let open = UnixDatagram::unbound()?;
            open.connect(SYSLOG)?;
            open.set_nonblocking(true)?;
            open
        }
    };
    let sent = open.send(line).map(drop);
    *socket = Some(open);
    match sent {
        // Whoever does not read the system's log does not stop the others.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_form_has_its_own_words() {
        let line = b"2026-11-29T12:00:00Z  WARN one\n";
        let pid = std::process::id();
        for (form, expected) in [
            (Form::Plain, "2026-11-29T12:00:00Z  WARN one\n".to_owned()),
            (Form::Untimed, "WARN one\n".to_owned()),
            (Form::Journald, "<4>one\n".to_owned()),
            (Form::Syslog(3), format!("<28>ringmq[{pid}]: one\n")),
            (Form::Syslog(17), format!("<140>ringmq[{pid}]: one\n")),
        ] {
            let written = Written::default();
            let mut output = Output::new(written.clone(), form);
            output.put(line, LogFormat::Text);
            output.write().unwrap();
            let written = written.0.lock().unwrap().clone();
            assert_eq!(String::from_utf8_lossy(&written), expected, "{form:?}");
        }
    }
}
