//! The workloads. Each starts with an empty folder and ends by checking what the store holds.

use crate::flags::Flags;
use crate::meter::{Latencies, Meter, disk_bytes, load_average, now_ns, settle};
use crate::report::Row;
use crate::store::{Acknowledgement, Batch, Contents, Kind, Publish, Result, Store};
use std::path::Path;

const TOPIC: &[u8] = b"plant/7/line/12/temp";
const SAMPLES: usize = 1024;

/// Messages that differ, made beforehand.
#[derive(Debug)]
pub(crate) struct Samples(Vec<Vec<u8>>);

impl Samples {
    pub(crate) fn new(payload_bytes: usize) -> Self {
        let mut state = 1_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let mut sample = || {
            let mut message = vec![TOPIC.len() as u8];
            message.extend_from_slice(TOPIC);
            message.extend((0..payload_bytes).map(|_| byte()));
            message
        };
        Self((0..SAMPLES).map(|_| sample()).collect())
    }

    fn publish<'a>(&'a self, number: u64, recipients: &'a [u32]) -> Publish<'a> {
        Publish { number, message: &self.0[number as usize % SAMPLES], recipients }
    }

    /// Publishes of consecutive numbers, all to the same recipients.
    fn batch<'a>(&'a self, first: u64, count: u64, recipients: &'a [u32]) -> Batch<'a> {
        let publishes = (first..first + count).map(|number| self.publish(number, recipients));
        Batch { publishes: publishes.collect(), acknowledgements: Vec::new() }
    }
}

/// Where a store is measured, and with what.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) flags: &'a Flags,
    pub(crate) samples: &'a Samples,
    /// Empty when a workload begins.
    pub(crate) folder: &'a Path,
    pub(crate) kind: Kind,
}

impl Bench<'_> {
    /// Batches of `size` publishes to all sessions, one after the other.
    pub(crate) fn fanout(&self, size: u64) -> Result<Row> {
        let sessions: Vec<u32> = (0..self.flags.sessions).collect();
        let mut expected = Contents::default();
        let mut latencies = Latencies::new();
        let mut store = self.kind.open(self.folder)?;
        let meter = Meter::start()?;
        let end_ns = now_ns() + self.flags.run_ns();
        let mut first = 0;
        while first < self.flags.messages && now_ns() < end_ns {
            let batch = self.samples.batch(first, size, &sessions);
            commit(&mut *store, &batch, &mut latencies)?;
            first += size;
        }
        let seconds = meter.usage()?.wall_ns as f64 / 1e9;
        drop(store);
        let mut row = self.row(&format!("fanout-{size}"), &meter)?;
        row.add_rates(first, first * sessions.len() as u64, seconds, &latencies);
        for number in 0..first {
            expected.add_publishes(&self.samples.batch(number, 1, &sessions));
        }
        self.check(&expected)?;
        Ok(row)
    }

    /// Publishers of one recipient each that wait for their acknowledgements: while the commit of
    /// one half is in flight, the other half's publishes gather.
    pub(crate) fn publishers(&self) -> Result<Row> {
        let publishers: Vec<u32> = (0..self.flags.publishers).collect();
        let halves = publishers.split_at(publishers.len() / 2);
        let mut expected = Contents::default();
        let mut latencies = Latencies::new();
        let mut commits = Latencies::new();
        let mut store = self.kind.open(self.folder)?;
        let meter = Meter::start()?;
        let end_ns = now_ns() + self.flags.run_ns();
        let mut number = 0;
        let mut ready_ns = [now_ns(); 2];
        let mut turn = 0;
        while now_ns() < end_ns {
            let half = [halves.0, halves.1][turn];
            let to = half.iter().zip(number..);
            let publishes = to.map(|(to, number)| self.samples.publish(number, from_ref(to)));
            let batch = Batch { publishes: publishes.collect(), acknowledgements: Vec::new() };
            commit(&mut *store, &batch, &mut commits)?;
            expected.add_publishes(&batch);
            latencies.add(now_ns() - ready_ns[turn]);
            ready_ns[turn] = now_ns();
            number += half.len() as u64;
            turn = 1 - turn;
        }
        let seconds = meter.usage()?.wall_ns as f64 / 1e9;
        drop(store);
        let mut row = self.row("publishers", &meter)?;
        row.add_rates(number, number, seconds, &commits);
        row.add("ack p50 us", latencies.at(0.5) as f64);
        row.add("ack p99 us", latencies.at(0.99) as f64);
        self.check(&expected)?;
        Ok(row)
    }

    /// Stores messages for a few sessions, then each session acknowledges all of them.
    pub(crate) fn drain(&self) -> Result<Row> {
        let flags = self.flags;
        let sessions: Vec<u32> = (0..flags.drain_recipients).collect();
        let mut commits = Latencies::new();
        let mut store = self.kind.open(self.folder)?;
        for first in (0..flags.drain_messages).step_by(flags.step as usize) {
            let batch = self.samples.batch(first, flags.step, &sessions);
            commit(&mut *store, &batch, &mut commits)?;
        }
        let full_bytes = disk_bytes(self.folder)?;
        let mut commits = Latencies::new();
        let meter = Meter::start()?;
        for &session in &sessions {
            let is_last = session + 1 == flags.drain_recipients;
            for first in (0..flags.drain_messages).step_by(flags.step as usize) {
                let numbers = first..first + flags.step;
                let acknowledge = |number| Acknowledgement { session, number, is_last };
                let acknowledgements = numbers.map(acknowledge).collect();
                let batch = Batch { publishes: Vec::new(), acknowledgements };
                commit(&mut *store, &batch, &mut commits)?;
            }
        }
        let seconds = meter.usage()?.wall_ns as f64 / 1e9;
        drop(store);
        let mut row = self.row("drain", &meter)?;
        let acknowledged = flags.drain_messages * sessions.len() as u64;
        row.add_rates(flags.drain_messages, acknowledged, seconds, &commits);
        row.add("full MB", full_bytes as f64 / 1e6);
        row.add("drained MB", disk_bytes(self.folder)? as f64 / 1e6);
        let compaction = Meter::start()?;
        let mut store = self.kind.open(self.folder)?;
        store.compact()?;
        drop(store);
        row.add("compact s", compaction.usage()?.wall_ns as f64 / 1e9);
        row.add("compacted MB", disk_bytes(self.folder)? as f64 / 1e6);
        self.check(&Contents::default())?;
        Ok(row)
    }

    /// Opens a store that holds many messages of one recipient each, and reads them all.
    pub(crate) fn load(&self) -> Result<Row> {
        let flags = self.flags;
        let sessions: Vec<u32> = (0..flags.sessions).collect();
        let mut expected = Contents::default();
        let mut commits = Latencies::new();
        let mut store = self.kind.open(self.folder)?;
        for first in (0..flags.load_messages).step_by(flags.step as usize) {
            let to = |number: u64| from_ref(&sessions[number as usize % sessions.len()]);
            let publish = |number| self.samples.publish(number, to(number));
            let publishes = (first..first + flags.step).map(publish).collect();
            let batch = Batch { publishes, acknowledgements: Vec::new() };
            commit(&mut *store, &batch, &mut commits)?;
            expected.add_publishes(&batch);
        }
        drop(store);
        settle(self.folder)?;
        let meter = Meter::start()?;
        let store = self.kind.open(self.folder)?;
        let open_ns = meter.usage()?.wall_ns;
        let contents = store.load()?;
        let seconds = meter.usage()?.wall_ns as f64 / 1e9;
        drop(store);
        let mut row = self.row("load", &meter)?;
        row.add("cpu ns/recipient", row.usage.cpu_ns as f64 / contents.recipients as f64);
        row.add("open s", open_ns as f64 / 1e9);
        row.add("open and read s", seconds);
        row.add("disk MB", disk_bytes(self.folder)? as f64 / 1e6);
        expect(&contents, &expected)?;
        Ok(row)
    }

    /// Ends the measurement; the store has been closed, so its threads have ended.
    fn row(&self, workload: &str, meter: &Meter) -> Result<Row> {
        let usage = meter.usage()?;
        let disk_bytes = disk_bytes(self.folder)?;
        let load_average = load_average()?;
        Ok(Row::new(workload, self.kind, usage, disk_bytes, load_average))
    }

    fn check(&self, expected: &Contents) -> Result<()> {
        let store = self.kind.open(self.folder)?;
        expect(&store.load()?, expected)
    }
}

fn from_ref(recipient: &u32) -> &[u32] {
    std::slice::from_ref(recipient)
}

fn commit(store: &mut dyn Store, batch: &Batch, latencies: &mut Latencies) -> Result<()> {
    let start_ns = now_ns();
    store.commit(batch)?;
    latencies.add(now_ns() - start_ns);
    Ok(())
}

fn expect(contents: &Contents, expected: &Contents) -> Result<()> {
    if contents == expected {
        return Ok(());
    }
    Err(format!("the store holds {contents:?} instead of {expected:?}").into())
}
