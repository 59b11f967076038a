//! A broker process of the test's own with any listeners, whose log is read.

use super::{NO_ADMIN, PATIENCE};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Ends when it is dropped.
pub struct Server {
    child: Child,
    /// Where it listens, in the order of the flags, as the start-up summary tells it.
    pub listeners: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads the log until its end.
    reader: Option<JoinHandle<()>>,
    summary: Vec<String>,
}

impl Server {
    /// Starts a broker with these flags, and two workers unless they say otherwise; `--listen` is
    /// among them.
    pub fn start<T: AsRef<str>>(flags: &[T]) -> Self {
        Self::start_under(&["env"], flags)
    }

    /// As [`Self::start`], by a program that becomes the one that its arguments name.
    pub fn start_under<T: AsRef<str>>(program: &[&str], flags: &[T]) -> Self {
        let has_workers = flags.iter().any(|flag| flag.as_ref() == "--workers");
        let workers: &[&str] = if has_workers { &[] } else { &["--workers", "2"] };
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .arg(env!("CARGO_BIN_EXE_ringmq"))
            .envs(NO_ADMIN)
            .args(["--pin", "none"])
            .args(workers)
            .args(flags.iter().map(AsRef::as_ref))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let sink = Arc::clone(&log);
        let reader = thread::spawn(move || {
            errors.map_while(Result::ok).for_each(|line| sink.lock().unwrap().push(line));
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (listeners, summary, reader) = (Vec::new(), Vec::new(), Some(reader));
        let mut server = Self { child, listeners, log, reader, summary };
        let mut is_up = false;
        while !is_up && let Some(Ok(line)) = lines.next() {
            server.listeners.extend(listener(&line).map(str::to_owned));
            is_up = line.contains("state is in");
            server.summary.push(line);
        }
        if !is_up {
            let status = server.ends();
            panic!("the broker does not start: {status:?}\n{}", server.log());
        }
        thread::spawn(move || lines.for_each(drop));
        server
    }

    /// A broker that finds so many megabytes of room in a folder, in a file system which only it
    /// and `/proc` see; and the folder as others see it.
    pub fn start_on_small_disk<T: AsRef<str>>(
        megabytes: u8,
        mount: &Path,
        flags: &[T],
    ) -> (Self, PathBuf) {
        let mount = mount.display();
        let script =
            format!("mount -t tmpfs -o size={megabytes}m tmpfs {mount} && exec \"$0\" \"$@\"");
        let server = Self::start_under(&["unshare", "--mount", "sh", "-c", &script], flags);
        let disk = PathBuf::from(format!("/proc/{}/root{mount}", server.pid()));
        (server, disk)
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The port of the listener that was given in this place.
    pub fn port(&self, index: usize) -> u16 {
        let (_, rest) = self.listeners[index].rsplit_once(':').unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }

    /// What it has said at the start.
    pub fn summary(&self) -> String {
        self.summary.join("\n")
    }

    /// The address of the metrics.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let summary = self.summary();
        let address = summary.lines().find_map(|line| line.strip_prefix("metrics at http://"));
        let address = address.and_then(|line| line.strip_suffix("/metrics"));
        address.unwrap_or_else(|| panic!("{summary}")).to_owned()
    }

    /// The dashboard's address, and the token that stands behind it.
    #[track_caller]
    pub fn dashboard(&self) -> (String, String) {
        let summary = self.summary();
        let in_json = |line: &'_ str| {
            let (_, address) = line.split_once("\"message\":\"dashboard\",\"address\":\"")?;
            Some(address.trim_end_matches("\"}").to_owned())
        };
        let line = summary.lines().find_map(|line| {
            line.strip_prefix("dashboard at ").map(str::to_owned).or_else(|| in_json(line))
        });
        let line = line.unwrap_or_else(|| panic!("{summary}"));
        let (_, place) = line.split_once("://").unwrap();
        let (address, token) = place.split_once('/').unwrap();
        let token = token.strip_prefix("#token=").unwrap_or_default();
        (address.to_owned(), token.to_owned())
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many lines of the log have this text.
    pub fn count(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until a line of the log has this text.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        let is_there = eventually(|| self.count(text) > 0);
        assert!(is_there, "{text:?} is not in the log:\n{}", self.log());
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is this test's own child and not yet waited for.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Has the files read again; true when the new ones are taken.
    pub fn reload(&self) -> bool {
        let (taken, refused) = ("Reloaded", "Not reloaded");
        let before = (self.count(taken), self.count(refused));
        self.signal(libc::SIGHUP);
        let is_done = eventually(|| (self.count(taken), self.count(refused)) != before);
        assert!(is_done, "SIGHUP is not heeded:\n{}", self.log());
        self.count(taken) > before.0
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The CPU time of all its threads so far, which does not depend on what else runs.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let nanoseconds = threads.map(|thread| {
            let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// The exit status, None by a signal; None as a whole when the process does not end. The log is
    /// whole then.
    pub fn ends(&mut self) -> Option<Option<i32>> {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reader) = self.reader.take_if(|_| status.is_some()) {
            reader.join().unwrap();
        }
        status.map(|status| status.code())
    }

    pub fn is_alive(&self) -> bool {
        // One that has ended and was not waited for has no memory any more.
        let path = format!("/proc/{}/status", self.pid());
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("VmRSS:"))
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

/// The listener that a line of the summary is about.
fn listener(line: &str) -> Option<&str> {
    let in_json = || line.split_once("\"listener\":\"")?.1.strip_suffix("\"}");
    line.strip_prefix("listening on ").or_else(in_json)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds; false when [`PATIENCE`] is over before.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A program with a time limit, ended with the test, and what it has started with it.
pub struct Program(Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{:?}", command.get_program());
        let child = command.process_group(0).spawn();
        Self(child.unwrap_or_else(|error| panic!("{name} does not run: {error}")))
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// The exit status, and what was printed on pipes; None as status when the time was over.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                pipe.into_iter().for_each(|mut pipe| {
                    let _ = pipe.read_to_end(&mut bytes);
                });
                bytes
            })
        };
        let out = read(self.0.stdout.take().map(|pipe| Box::new(pipe) as _));
        let errors = read(self.0.stderr.take().map(|pipe| Box::new(pipe) as _));
        let mut status = None;
        eventually(|| {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        self.end();
        let bytes = [out.join().unwrap(), errors.join().unwrap()].concat();
        (status.and_then(|status| status.code()), String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ends it if it has not ended, with its group.
    fn end(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // SAFETY: the group is that of this test's own child, which is not yet waited for.
            unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
            let _ = self.0.wait();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program; its exit status and everything it printed.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Program::start(command).finish()
}
