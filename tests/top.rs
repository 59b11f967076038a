//! `ringmq top` in a terminal of its own, with a running broker.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use support::peer::{Peer, connect};
use support::server::{Server, eventually, run};

const COLUMNS: u16 = 80;
const LINES: u16 = 24;

/// The program in a pseudo-terminal, whose output is kept. Ends when it is dropped.
struct Screen {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// The terminal's own end, which keeps its modes.
    terminal: OwnedFd,
    /// How the terminal was before the program began.
    modes: libc::tcflag_t,
}

impl Screen {
    fn start(arguments: &[&str]) -> Self {
        let (mut outer, mut inner) = (0, 0);
        let size = libc::winsize { ws_row: LINES, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both places are writable, the size is readable, the rest may be null.
        let opened = unsafe {
            libc::openpty(&mut outer, &mut inner, std::ptr::null_mut(), std::ptr::null(), &size)
        };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptors have just been opened, and nobody else has them.
        let (keys, terminal) = unsafe { (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) };
        let modes = modes(&terminal);
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .arg("top")
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut output, sink) = (keys.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keys, shown, terminal, modes }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The lines that stand in the terminal after all output so far. Only changed cells are drawn,
    /// behind a sequence that says where.
    fn lines(&self) -> String {
        let mut lines = vec![vec![' '; usize::from(COLUMNS)]; usize::from(LINES)];
        let (mut line, mut column) = (0, 0);
        let text = self.text();
        let mut pieces = text.split('\u{1b}');
        pieces.next();
        for piece in pieces {
            let end =
                piece.find(|it: char| it.is_ascii_alphabetic()).map_or(piece.len(), |it| it + 1);
            let (sequence, drawn) = piece.split_at(end);
            if let Some(place) = sequence.strip_prefix('[').and_then(|it| it.strip_suffix('H')) {
                let place = place.split_once(';').unwrap_or(("1", "1"));
                (line, column) =
                    (place.0.parse().unwrap_or(1) - 1, place.1.parse().unwrap_or(1) - 1);
            }
            for letter in drawn.chars().filter(|_| sequence.starts_with('[')) {
                lines[line][column] = letter;
                column = (column + 1).min(usize::from(COLUMNS) - 1);
            }
        }
        lines.iter().map(|line| line.iter().collect::<String>() + "\n").collect()
    }

    /// Waits until a text stands in the terminal.
    #[track_caller]
    fn shows(&self, text: &str) {
        assert!(eventually(|| self.lines().contains(text)), "{text:?}:\n{}", self.lines());
    }

    /// Waits for the end, with which the terminal is as it was before.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.expect("the program ends");
        assert_eq!(status.signal(), None);
        assert!(eventually(|| self.text().contains("\u{1b}[?1049l")), "{:?}", self.text());
        assert_eq!(modes(&self.terminal), self.modes);
        status.code()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the terminal echoes, waits for whole lines, and so on.
fn modes(terminal: &OwnedFd) -> libc::tcflag_t {
    // SAFETY: all bytes of the struct may be zero.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the struct is writable.
    assert_eq!(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut modes) }, 0);
    modes.c_lflag
}

fn start() -> (Server, String, String) {
    let server =
        Server::start(&["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let (address, token) = server.dashboard();
    (server, address, token)
}

fn connected(server: &Server, client_id: &str) -> Peer {
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect(client_id, None)), Some(0));
    peer
}

#[test]
fn a_client_is_shown_looked_into_and_disconnected() {
    let (server, address, token) = start();
    let mut peer = connected(&server, "sensor-7");
    let folder = support::folder::Folder::new();
    let file = folder.write("token", &token);
    let mut screen = Screen::start(&["--admin", &address, "--token-file", file.to_str().unwrap()]);
    screen.shows("sensor-7");
    screen.press("\r");
    screen.shows("keep_alive_s");
    screen.press("\u{1b}");
    screen.shows("Enter look");
    screen.press("K");
    screen.shows("disconnect sensor-7? y/n");
    screen.press("y");
    assert_eq!(peer.packet().map(|(kind, body)| (kind, body[0])), Some((0xE0, 0x98)));
    screen.shows("is disconnected");
    screen.press("q");
    assert_eq!(screen.ends(), Some(0));
}

#[test]
fn a_refusal_and_a_broker_that_goes_are_said() {
    let (server, address, _) = start();
    let _peer = connected(&server, "sensor-7");
    let mut screen = Screen::start(&["--admin", &address]);
    screen.shows("sensor-7");
    screen.press("Ky");
    screen.shows("token is needed");
    drop(server);
    screen.shows("Asked again every 2 s");
    // SAFETY: the process is this test's own child and not yet waited for.
    unsafe { libc::kill(screen.child.id() as i32, libc::SIGTERM) };
    assert_eq!(screen.ends(), Some(0));
}

#[test]
fn without_a_terminal_there_is_one_line() {
    let (status, text) = run(Command::new(env!("CARGO_BIN_EXE_ringmq")).arg("top"));
    assert_eq!((status, text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("terminal"), "{text}");
}
