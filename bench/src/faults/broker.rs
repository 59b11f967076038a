//! The broker of a test: started on free ports, looked at from outside, stopped and asked for its
//! counts.

use super::Bench;
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::process::Process;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// The time for a start.
const START_NS: u64 = 20_000_000_000;

/// The time for a stop: longer than the broker's promise, so that a breach is seen.
const STOP_NS: u64 = 20_000_000_000;

/// The time for a broker to come to rest, and the share of a core that it uses then.
const SETTLE_NS: u64 = 60_000_000_000;
const SETTLED: f64 = 0.01;

/// A folder for the broker's files.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    is_temporary: bool,
    /// Brokers that were started here.
    brokers: Cell<u32>,
    /// The end of a broker that was not asked to end, in words.
    crash: Rc<RefCell<Option<String>>>,
}

/// The settings of a broker besides the usual ones.
#[derive(Debug, Default)]
pub(super) struct Setup<'a> {
    pub(super) arguments: Vec<String>,
    pub(super) descriptors: Option<u64>,
    pub(super) group: Option<&'a Path>,
    /// The journal's directory is made and used.
    pub(super) is_durable: bool,
}

/// A running broker.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    pub(super) process: Process,
    /// The address of plain MQTT.
    pub(super) plain: SocketAddr,
    /// The address of MQTT over TLS.
    pub(super) tls: SocketAddr,
    log: PathBuf,
    is_asked_to_end: bool,
    crash: Rc<RefCell<Option<String>>>,
}

/// The end of a broker.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    last_lines: String,
}

impl Folder {
    /// A folder in `parent`, or a temporary one.
    pub(super) fn new(parent: Option<&Path>) -> Result<Self> {
        let name = format!("ringmq-faults-{}", std::process::id());
        let is_temporary = parent.is_none();
        let path = parent.map_or_else(std::env::temp_dir, Path::to_owned).join(name);
        fs::create_dir_all(&path)
            .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
        Ok(Self { path, is_temporary, brokers: Cell::new(0), crash: Rc::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The end of a broker of this test that was not asked to end.
    pub(super) fn crash(&self) -> Option<String> {
        self.crash.borrow().clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Bench {
    /// Starts a broker, and waits until it listens.
    pub(super) fn start(&self, setup: &Setup<'_>) -> Result<Broker> {
        let number = self.folder.brokers.replace(self.folder.brokers.get() + 1);
        let path = |name: &str| self.folder.path().join(format!("{name}-{number}"));
        let (output, log) = (path("output"), path("log"));
        let (certificate, key) = certificate(self.folder.path())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["faults", "launch", "--parent", &std::process::id().to_string()]);
        if let Some(descriptors) = setup.descriptors {
            command.args(["--descriptors", &descriptors.to_string()]);
        }
        if let Some(group) = setup.group {
            command.arg("--group").arg(group);
        }
        command.arg("--").arg(&self.common.binary);
        command.args(["--listen", "127.0.0.1:0", "--listen", "mqtts://127.0.0.1:0"]);
        command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        command.args(["--workers", &self.common.workers.to_string()]);
        if setup.is_durable {
            command.arg("--data-dir").arg(path("data"));
        }
        command.args(&setup.arguments).stdin(Stdio::null());
        command.stdout(File::create(&output)?).stderr(File::create(&log)?);
        let mut child = command.spawn()?;
        let end_ns = now_ns() + START_NS;
        loop {
            if let Some((plain, tls)) = addresses(&output) {
                let process = Process::new(child.id())?;
                let crash = Rc::clone(&self.folder.crash);
                return Ok(Broker {
                    child,
                    process,
                    plain,
                    tls,
                    log,
                    is_asked_to_end: false,
                    crash,
                });
            }
            if child.try_wait()?.is_some() || now_ns() > end_ns {
                let _ = child.kill();
                let _ = child.wait();
                let lines = last_lines(&log);
                return Err(Failure::new(format_args!("the broker does not start: {lines}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes a password file with users `u0`, `u1`, …, all with the password `secret`.
    pub(super) fn password_file(&self, users: u32) -> Result<PathBuf> {
        let (one, all) = (self.folder.path().join("user"), self.folder.path().join("users"));
        let _ = fs::remove_file(&one);
        let mut command = Command::new(&self.common.binary);
        command.args(["passwd", "--batch", "--create"]).arg(&one).arg("u0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().expect("it is piped").write_all(b"secret\n")?;
        if !child.wait()?.success() {
            return Err(Failure::new("ringmq passwd makes no password file"));
        }
        let line = fs::read_to_string(&one)?;
        let (_, hash) = line.trim_end().split_once(':').unwrap_or_default();
        let lines: String = (0..users).map(|user| format!("u{user}:{hash}\n")).collect();
        // The copy has the first file's mode.
        fs::copy(&one, &all)?;
        fs::write(&all, lines)?;
        Ok(all)
    }
}

impl Broker {
    /// Bytes of memory that no file backs.
    pub(super) fn memory(&self) -> Result<u64> {
        Ok(self.process.memory()?.anonymous_bytes)
    }

    /// The same at rest: the least of some looks, since allocators give memory back a little later.
    pub(super) fn memory_at_rest(&self) -> Result<u64> {
        let mut least = u64::MAX;
        for _ in 0..10 {
            least = least.min(self.memory()?);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(least)
    }

    /// Nanoseconds of CPU time so far.
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        Ok(self.process.usage()?.cpu_ns)
    }

    /// The share of one core that the broker uses in the next seconds.
    pub(super) fn cpu_share(&self, seconds: f64) -> Result<f64> {
        let (cpu_ns, start_ns) = (self.cpu_ns()?, now_ns());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        Ok((self.cpu_ns()? - cpu_ns) as f64 / (now_ns() - start_ns) as f64)
    }

    /// Waits until the broker has nothing to do: a publish is acknowledged by one worker, and the
    /// others may still be at it.
    pub(super) fn settle(&self) -> Result<()> {
        let end_ns = now_ns() + SETTLE_NS;
        while self.cpu_share(0.1)? > SETTLED {
            if now_ns() > end_ns {
                return Err(Failure::new("the broker does not come to rest"));
            }
        }
        Ok(())
    }

    /// Sets the limit of descriptors of the running process.
    pub(super) fn limit_descriptors(&self, descriptors: u64) -> Result<()> {
        let maximum = prlimit_maximum(Pid::from_child(&self.child))?;
        let limit = Rlimit { current: Some(descriptors), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit)?;
        Ok(())
    }

    /// The end of the broker, if it has come.
    pub(super) fn ended(&mut self) -> Result<Option<Ended>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| Ended { status, last_lines: last_lines(&self.log) }))
    }

    /// Fails when the broker does not run any more.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.ended()? {
            Some(ended) => Err(Failure::new(ended.words())),
            None => Ok(()),
        }
    }

    /// Notes an end that was not asked for.
    fn look_for_crash(&mut self) {
        if let Ok(Some(ended)) = self.ended() {
            self.crash.borrow_mut().get_or_insert_with(|| ended.words());
        }
    }

    /// Stops the broker; its log, whose last line has its counts unless `--log-level` hides it.
    pub(super) fn stop(mut self) -> Result<Stopped> {
        self.check()?;
        self.is_asked_to_end = true;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let (start_ns, end_ns) = (now_ns(), now_ns() + STOP_NS);
        while now_ns() < end_ns {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let seconds = (now_ns() - start_ns) as f64 / seconds_ns(1.0) as f64;
                return Ok(Stopped { is_orderly: status.success(), log, seconds });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Failure::new("the broker does not stop"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.is_asked_to_end {
            self.look_for_crash();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The end in words.
    pub(super) fn words(&self) -> String {
        format!("the broker has ended ({}): {}", self.status, self.last_lines)
    }
}

/// A broker that was stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) is_orderly: bool,
    pub(super) seconds: f64,
    log: String,
}

impl Stopped {
    /// A count of the last line of the log, which has those that are not 0.
    pub(super) fn count(&self, name: &str) -> Result<u64> {
        count_in(&self.log, name)
            .ok_or_else(|| Failure::new("the broker's log has no counts at its end"))
    }
}

fn count_in(log: &str, name: &str) -> Option<u64> {
    let line = log.lines().rev().find(|line| line.contains(" Stopped "))?;
    let words = line.split(|c: char| c.is_whitespace() || c == '"');
    let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next().map_or(Some(0), |value| value.parse().ok())
}

fn prlimit_maximum(pid: Pid) -> Result<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    Ok(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()))
}

/// The addresses that a broker printed: plain and TLS.
fn addresses(output: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = fs::read_to_string(output).ok()?;
    let address = |scheme: &str| -> Option<SocketAddr> {
        let (_, rest) = text.split_once(&format!("listening on {scheme}://"))?;
        rest.split_once('\n')?.0.split_whitespace().next()?.parse().ok()
    };
    Some((address("mqtt")?, address("mqtts")?))
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Makes a certificate and its key, once.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    if !certificate.exists() {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "7", "-subj", "/CN=localhost"]);
        command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]);
        command.arg(&key).arg("-out").arg(&certificate).stderr(Stdio::null());
        let status = command.status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(Failure::new("openssl makes no certificate: is it installed?"));
        }
    }
    Ok((certificate, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_the_last_line() {
        let log = "x INFO Stopped counts=\"dropped=1\"\n\
                   x INFO Stopped counts=\"links=7 dropped.more=3 dropped=22\"\nx";
        assert_eq!(count_in(log, "dropped"), Some(22));
        assert_eq!(count_in(log, "links"), Some(7));
        assert_eq!(count_in(log, "dropped.more"), Some(3));
        assert_eq!(count_in(log, "absent"), Some(0));
        assert_eq!(count_in("", "links"), None);
    }
}
