//! A broker process of the test's own, on a free port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    /// The start-up summary, line by line.
    pub summary: Vec<String>,
}

impl Broker {
    /// Starts one with these flags besides the address.
    pub fn start(flags: &[&str]) -> Self {
        let mut child = super::ringmq()
            .args(["--listen", "127.0.0.1:0", "--log-level", "warn", "--pin", "none"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut summary = Vec::new();
        let mut address = None;
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, found)) = line.split_once("mqtt://") {
                address = found.split_whitespace().next().unwrap().parse().ok();
            }
            let is_last = line.starts_with("state is in");
            summary.push(line);
            if is_last {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("no address in {summary:?}"));
        Self { child, address, summary }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the broker accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(super::HANGS)).unwrap();
        stream
    }

    /// Sends SIGTERM and waits; the exit status.
    pub fn stop(mut self) -> Option<i32> {
        // SAFETY: the process is this test's own child and not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        self.child.wait().expect("the broker ends").code()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends CONNECT for `client_id` (3.1.1, clean session, keep alive 60) and awaits CONNACK.
pub fn connected(broker: &Broker, client_id: &str) -> TcpStream {
    let mut stream = broker.connect();
    stream.write_all(&connect_packet(client_id)).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK comes");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

pub fn connect_packet(client_id: &str) -> Vec<u8> {
    let length = 12 + client_id.len();
    assert!(length < 128);
    let mut packet = vec![0x10, length as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0];
    packet.push(client_id.len() as u8);
    packet.extend_from_slice(client_id.as_bytes());
    packet
}

/// True when the peer closes within five seconds; whatever it says before is read and dropped.
pub fn closes(mut stream: &TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
