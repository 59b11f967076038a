//! Brokers started from a configuration file, and clients that try to come in.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nobody has at the moment, on no address. It lies below those that the kernel gives
/// to clients, else one of them could take it before the broker does.
pub fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    // Processes whose numbers follow each other try ports far apart.
    let start = (std::process::id().wrapping_mul(61) % 12_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
    let next = || 20_000 + (start + COUNT.fetch_add(1, Ordering::Relaxed)) % 12_000;
    std::iter::repeat_with(next).take(1000).find(is_free).expect("a port is free")
}

/// A broker's process; it ends with this.
pub struct Broker {
    child: Child,
    /// What it has written to the standard error.
    log: Arc<Mutex<String>>,
}

impl Broker {
    /// Starts ringmq and waits until it listens on `port`.
    pub fn ringmq(file: &Path, port: u16) -> Self {
        let mut command = ringmq();
        command.args(["--pin", "none", "--workers", "1", "--config"]).arg(file);
        Self::start(command, port)
    }

    /// Starts Mosquitto in the same way; None when it is not installed.
    pub fn mosquitto(file: &Path, port: u16) -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let Some(program) = program.iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        Some(Self::start(command, port))
    }

    fn start(mut command: Command, port: u16) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *copy.lock().unwrap() += &(line + "\n");
            }
        });
        let mut broker = Self { child, log };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        if !eventually(listens) {
            panic!("{:?} does not listen: {}", broker.child.try_wait(), broker.log());
        }
        broker
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Makes it read its files again and waits until it has said `word`.
    pub fn reload(&self, word: &str) {
        let count = |log: String| log.matches(word).count();
        let before = count(self.log());
        // SAFETY: the process is this test's own child and not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGHUP) };
        assert!(eventually(|| count(self.log()) > before), "no {word:?}: {}", self.log());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The program, without what the environment of the test says.
pub fn ringmq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGMQ_") {
            command.env_remove(name);
        }
    }
    // Brokers that run side by side would want the same places for the operator.
    command.env("RINGMQ_ADMIN_LISTEN", "none").env("RINGMQ_ADMIN_SOCKET", "none");
    command
}

/// Runs a command that ends by itself.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");
    if !eventually(|| child.try_wait().unwrap().is_some()) {
        let _ = child.kill();
        panic!("it does not end: {:?}", child.wait_with_output());
    }
    child.wait_with_output().unwrap()
}

/// Runs ringmq with arguments: its status, what it prints, and what it complains of.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = output(ringmq().args(arguments));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Whether a client of Mosquitto's that is started so may publish.
pub fn is_admitted(port: u16, arguments: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    let port = port.to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", "5", "-q", "1", "-t", "t", "-m", "m"]);
    let output = output(command.args(arguments));
    let error = String::from_utf8_lossy(&output.stderr);
    // Neither a broker that is not there nor a client that cannot be started says anything.
    assert!(!error.contains("Connection refused") && !error.contains("Usage"), "{error}");
    output.status.success()
}
