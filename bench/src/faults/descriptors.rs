//! The broker runs out of descriptors: it must live, rest, and accept again when there are some.

use super::Bench;
use super::broker::{Broker, Setup};
use super::crowd::{Crowd, Event};
use super::findings::{Findings, Goal};
use super::packets::{connect, encode};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::layer::Below;
use clap::Args;
use ringmq_mqtt::PacketType;

/// The share of a core that a broker may use that can only wait.
const CPU_MAX: f64 = 0.2;

/// Seconds after which accepting again is late, and after which it is given up.
const AGAIN_S: f64 = 1.0;
const GIVE_UP_S: f64 = 15.0;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// The broker's limit of descriptors
    #[arg(long, default_value_t = 300)]
    descriptors: u64,
    /// Clients, more than the limit lets in
    #[arg(long, default_value_t = 600)]
    clients: u32,
    /// Seconds of looking at a broker that is full [10; small: 3]
    #[arg(long)]
    seconds: Option<f64>,
}

/// Runs the test.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let seconds = bench.size(sizes.seconds, 3.0, 10.0);
    if sizes.clients < 200 {
        return Err(Failure::new("--clients are at least 200"));
    }
    bench.make_room(sizes.clients)?;
    let words = format!("{} descriptors, {} clients", sizes.descriptors, sizes.clients);
    let mut findings = bench.findings("descriptors", words);
    let arguments = ["--log-level", "warn", "--connect-timeout", "300"];
    let setup = |descriptors| Setup {
        arguments: arguments.map(str::to_owned).to_vec(),
        descriptors,
        ..Setup::default()
    };
    // The limit is known at the start: the broker turns away before it runs out.
    let broker = bench.start(&setup(Some(sizes.descriptors)))?;
    Full::new(broker, sizes, seconds)?.run(&mut findings, "limit at the start", Relief::Clients)?;
    // The limit falls beneath a running broker, which learns of it by an error.
    for (name, relief) in
        [("limit falls, clients go", Relief::Clients), ("limit falls and rises", Relief::Limit)]
    {
        let broker = bench.start(&setup(None))?;
        let now = broker.process.descriptors()? as u64;
        broker.limit_descriptors(now + 100)?;
        Full::new(broker, sizes, seconds)?.run(&mut findings, name, relief)?;
    }
    Ok(findings)
}

/// The way in which descriptors come free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relief {
    Clients,
    Limit,
}

struct Full {
    broker: Broker,
    crowd: Crowd,
    clients: usize,
    seconds: f64,
    /// By place; the last is that of a client that comes when descriptors are free again.
    let_in: Vec<bool>,
    refused: u64,
    closed: u64,
}

impl Full {
    fn new(broker: Broker, sizes: &Sizes, seconds: f64) -> Result<Self> {
        let clients = sizes.clients as usize;
        let crowd = Crowd::new(broker.plain, Below::Tcp)?;
        let let_in = vec![false; clients + 1];
        Ok(Self { broker, crowd, clients, seconds, let_in, refused: 0, closed: 0 })
    }

    fn run(mut self, findings: &mut Findings, name: &str, relief: Relief) -> Result<()> {
        for place in 0..self.clients {
            self.crowd.open(place, &encode(&connect(&format!("c{place}"))))?;
            self.turn(0)?;
        }
        self.listen(2.0)?;
        let cpu = self.broker.cpu_share(self.seconds)?;
        self.listen(0.1)?;
        self.broker.check()?;
        let in_all = self.in_all();
        findings.note(format!("{name}: clients let in"), in_all as f64, "");
        findings.note(format!("{name}: refused with a reason"), self.refused as f64, "");
        findings.note(format!("{name}: closed"), self.closed as f64, "");
        let some = Goal::AtLeast(20.0);
        findings.judge(format!("{name}: clients let in and not"), self.rest(in_all), "", some);
        let what = format!("{name}: CPU while full");
        findings.judge(what, cpu, "cores", Goal::AtMost(CPU_MAX));
        match relief {
            Relief::Clients => self.leave(in_all / 2),
            Relief::Limit => self.broker.limit_descriptors(10_000)?,
        }
        let again_s = self.comes_in()?;
        self.broker.check()?;
        let what = format!("{name}: accepts again");
        findings.judge(what, f64::from(u8::from(again_s.is_some())), "", Goal::Exactly(1.0));
        if let Some(again_s) = again_s {
            let what = format!("{name}: accepts again after");
            findings.judge_time(what, again_s, "s", Goal::AtMost(AGAIN_S));
        }
        self.listen(0.5)?;
        let mut lost = 0;
        for place in 0..self.clients {
            lost += u64::from(self.let_in[place] && !self.crowd.is_open(place));
        }
        findings.mistakes(format!("{name}: clients let in and closed"), lost);
        drop(self.crowd);
        self.broker.stop().map(drop)
    }

    /// Clients that make the test one: both those that are let in, and those that are not.
    fn rest(&self, in_all: usize) -> f64 {
        in_all.min(self.clients - in_all) as f64
    }

    /// Some of those that are in go.
    fn leave(&mut self, count: usize) {
        let places: Vec<_> = (0..self.clients).filter(|&place| self.let_in[place]).collect();
        for place in places.into_iter().take(count) {
            self.crowd.close(place);
            self.let_in[place] = false;
        }
    }

    /// The seconds until any client is let in: one of those that wait, or a new one.
    fn comes_in(&mut self) -> Result<Option<f64>> {
        let (start_ns, in_before) = (now_ns(), self.in_all());
        while now_ns() < start_ns + seconds_ns(GIVE_UP_S) {
            if !self.crowd.is_open(self.clients) {
                self.crowd.open(self.clients, &encode(&connect("again")))?;
            }
            self.turn(20_000_000)?;
            if self.in_all() > in_before {
                return Ok(Some((now_ns() - start_ns) as f64 / 1e9));
            }
        }
        Ok(None)
    }

    fn in_all(&self) -> usize {
        self.let_in.iter().filter(|is_in| **is_in).count()
    }

    fn listen(&mut self, seconds: f64) -> Result<()> {
        let end_ns = now_ns() + seconds_ns(seconds);
        while now_ns() < end_ns {
            self.turn(20_000_000)?;
        }
        Ok(())
    }

    fn turn(&mut self, timeout_ns: u64) -> Result<()> {
        let Self { crowd, let_in, refused, closed, .. } = self;
        crowd.turn(timeout_ns, |place, event, _| match event {
            Event::Packet(frame) => {
                let is_connack = PacketType::from_first(frame.first) == Some(PacketType::ConnAck);
                match frame.body.get(1) {
                    Some(0) if is_connack => let_in[place] = true,
                    Some(_) if is_connack => *refused += 1,
                    _ => {}
                }
            }
            Event::Gone => *closed += 1,
        })
    }
}
