//! No broker: one thread sends a delivery's bytes to bare sockets, another reads them. What a send
//! costs here is what any broker pays for it.

use crate::clock::{now_ns, seconds_ns, thread_cpu_ns};
use crate::failure::Result;
use crate::flags::Flags;
use crate::layer::Below;
use crate::link::Link;
use crate::poller::{Poller, Ready, Waker};
use crate::stamp::Stamp;
use crate::summary::{Part, Summary};
use crate::threads;
use crate::wire::Template;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// Messages in one send.
const BATCHES: [usize; 4] = [1, 4, 16, 64];

/// Rounds over all sockets that are on their way at most.
const ROUNDS: u64 = 2;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// The longest wait of the reader.
const WAIT_NS: u64 = 100_000_000;

/// The state that sender and reader share.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes that were read.
    read: AtomicU64,
    /// The number of bytes read that the sender sleeps for.
    wanted: AtomicU64,
    is_over: AtomicBool,
}

impl Meter {
    /// Sleeps until `wanted` bytes were read, or nobody reads.
    fn wait(&self, wanted: u64) {
        self.wanted.store(wanted, Ordering::Relaxed);
        while self.read.load(Ordering::Acquire) < wanted && !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_nanos(WAIT_NS));
        }
    }

    /// `count` bytes were read; wakes the sender when it has what it sleeps for.
    fn add(&self, count: u64, sender: &Thread) {
        let before = self.read.fetch_add(count, Ordering::AcqRel);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if before < wanted && before + count >= wanted {
            sender.unpark();
        }
    }
}

/// Runs the scenario. The sender is on the first core, the reader on the second.
pub(crate) fn run(flags: &Flags) -> Result<Summary> {
    let mut summary = Summary::new(flags);
    for batch in BATCHES {
        summary.add(one_batch(flags, batch)?);
    }
    Ok(summary)
}

fn one_batch(flags: &Flags, batch: usize) -> Result<Part> {
    let (senders, receivers) = sockets(flags.subscribers())?;
    let cores = &flags.cores()?;
    let meter = &Meter::default();
    let sender = &std::thread::current();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let end = threads::pin(cores, 1).and_then(|()| read(receivers, meter, sender));
            meter.is_over.store(true, Ordering::Relaxed);
            end
        });
        let sent = send(flags, &senders, batch, meter);
        meter.is_over.store(true, Ordering::Relaxed);
        reader.join().expect("no thread panics")?;
        sent
    })
}

/// Connected pairs: where to send, where to read.
fn sockets(count: u32) -> Result<(Vec<TcpStream>, Vec<Link>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let mut pairs = (Vec::new(), Vec::new());
    for _ in 0..count {
        pairs.1.push(Link::connect(address, None, Below::Tcp)?);
        let (sender, _) = listener.accept()?;
        sender.set_nodelay(true)?;
        pairs.0.push(sender);
    }
    Ok(pairs)
}

/// Reads whatever comes.
fn read(mut links: Vec<Link>, meter: &Meter, sender: &Thread) -> Result<()> {
    let mut poller = Poller::new(&Waker::new()?)?;
    for (token, link) in links.iter().enumerate() {
        poller.add(&link.socket, token)?;
    }
    let mut buffer = vec![0; READ_BYTES];
    while !meter.is_over.load(Ordering::Relaxed) {
        let mut count = 0;
        for index in 0..poller.wait(WAIT_NS)? {
            let Ready::Socket { token, readiness } = poller.ready(index) else { continue };
            links[token].read(readiness, &mut buffer, |bytes, _| {
                count += bytes.len() as u64;
                Some(bytes.len())
            });
        }
        meter.add(count, sender);
    }
    Ok(())
}

/// Sends rounds of `batch` messages to each socket, one send for each.
fn send(flags: &Flags, sockets: &[TcpStream], batch: usize, meter: &Meter) -> Result<Part> {
    let template = Template::new(flags.version(), flags.qos(), "bench/0", flags.size);
    let mut bytes = Vec::new();
    for sequence in 0..batch as u32 {
        template.append(1, Stamp { stream: 0, sequence, time_ns: 0 }, &mut bytes);
    }
    let rounds = Rounds {
        round_bytes: (bytes.len() * sockets.len()) as u64,
        ahead: flags.window.map_or(ROUNDS, u64::from),
        bytes,
        sockets,
        meter,
        done: 0,
    };
    rounds.measure(flags, batch)
}

struct Rounds<'a> {
    bytes: Vec<u8>,
    sockets: &'a [TcpStream],
    meter: &'a Meter,
    round_bytes: u64,
    /// Rounds that are on their way at most.
    ahead: u64,
    done: u64,
}

impl Rounds<'_> {
    fn measure(mut self, flags: &Flags, batch: usize) -> Result<Part> {
        self.send_until(now_ns() + seconds_ns(flags.warmup))?;
        let (start_ns, cpu_ns, warm) = (now_ns(), thread_cpu_ns(), self.done);
        self.send_until(start_ns + seconds_ns(flags.duration))?;
        let seconds = (now_ns() - start_ns) as f64 / 1e9;
        let cpu_ns = (thread_cpu_ns() - cpu_ns) as f64;
        let deliveries = ((self.done - warm) * (batch * self.sockets.len()) as u64) as f64;
        let mut part = Part::new(format!("messages a send: {batch}"));
        part.add("deliveries/s", deliveries / seconds);
        part.add("sends/s", deliveries / batch as f64 / seconds);
        part.add("CPU ns per delivery", cpu_ns / deliveries.max(1.0));
        Ok(part)
    }

    fn send_until(&mut self, end_ns: u64) -> Result<()> {
        while now_ns() < end_ns && !self.meter.is_over.load(Ordering::Relaxed) {
            for mut socket in self.sockets {
                socket.write_all(&self.bytes)?;
            }
            self.done += 1;
            self.meter.wait(self.done.saturating_sub(self.ahead - 1) * self.round_bytes);
        }
        Ok(())
    }
}
