//! Workers whose neighbours are as a test wants: rings that are full, clocks that differ.

mod support;

use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::broker::{Homes, Input, LinkId, Output, Shard};
use ringmq::limits::{DEFERRED_RESPONSES_MAX, MESH_BURST_MAX};
use ringmq::options::Options;
use ringmq::testing::{census, open_policy};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::peer::{packet, text};

const SEED: u64 = 1;

/// Worker 0 of some, whose messages to the others go nowhere.
struct Alone {
    shard: Shard,
    now: Time,
    workers: usize,
    opened: u32,
    /// Messages to other workers.
    sent: usize,
    is_told: bool,
}

impl Alone {
    fn new(workers: usize) -> Self {
        let policies = Arc::new([open_policy()]);
        let shard = Shard::new(Arc::new(Options::default()), policies, WorkerId(0), workers, SEED);
        Self { shard, now: Time::ZERO, workers, opened: 0, sent: 0, is_told: false }
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.drain();
    }

    /// Carries out what there is; once the rings are full every message makes them so.
    fn drain(&mut self) {
        while let Some(output) = self.shard.next_output() {
            match output {
                Output::Mesh { to, .. } => {
                    self.sent += 1;
                    if self.is_told {
                        self.shard.handle(self.now, Input::MeshFull { to });
                    }
                }
                Output::Close { link } => self.shard.handle(self.now, Input::Closed { link }),
                _ => {}
            }
        }
        while let Some(link) = self.shard.outbox().next_dirty() {
            self.shard.outbox().sent(link);
        }
        self.shard.outbox().reset();
    }

    fn open(&mut self) -> LinkId {
        self.opened += 1;
        let link = LinkId { slot: self.opened - 1, generation: self.opened };
        self.shard.open(self.now, link, SocketAddr::from(([192, 0, 2, 1], 1)));
        link
    }

    /// A client whose session lives here.
    fn connected(&mut self, clean_start: bool, expiry_s: u8) -> LinkId {
        let link = self.open();
        let packet = self.connect(&format!("c{}", self.opened), clean_start, expiry_s);
        self.input(Input::Received { link, bytes: &packet });
        link
    }

    fn connect(&self, name: &str, clean_start: bool, expiry_s: u8) -> Vec<u8> {
        let homes = Homes::new(self.workers, SEED);
        let mut ids = (0..).map(|number| format!("{name}-{number}"));
        let id = ids.find(|id| homes.of(id) == WorkerId(0)).unwrap();
        let flags = u8::from(clean_start) << 1;
        let properties = [5, 0x11, 0, 0, 0, expiry_s];
        let head = [&text("MQTT")[..], &[5, flags, 0, 0], &properties].concat();
        packet(0x10, &[head, text(&id)].concat())
    }

    fn fill_rings(&mut self) {
        for to in WorkerId::all(self.workers).skip(1) {
            self.shard.handle(self.now, Input::MeshFull { to });
        }
        self.is_told = true;
        self.sent = 0;
    }
}

fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 7, 0][..], &text(filter), &[1]].concat())
}

#[test]
fn nothing_that_a_client_sends_adds_to_a_full_ring() {
    for workers in [2, 4] {
        let mut alone = Alone::new(workers);
        let links: Vec<_> = (0..100).map(|_| alone.connected(true, 100)).collect();
        for &link in &links {
            for filter in ["#", "$share/g/#"] {
                alone.input(Input::Received { link, bytes: &subscribe(filter) });
            }
        }
        alone.fill_rings();
        let floods: [fn(u32) -> Vec<u8>; 4] = [
            |number| subscribe(&format!("s/{number}")),
            |number| subscribe(&format!("$share/h/s/{number}")),
            |_| packet(0xA2, &[&[0, 8, 0][..], &text("$share/g/#")].concat()),
            |_| packet(0x33, &[&text("retained")[..], &[0, 9, 0], b"payload"].concat()),
        ];
        for (place, &link) in links.iter().enumerate() {
            for number in 0..1000 {
                let bytes = floods[place % floods.len()](number);
                alone.input(Input::Received { link, bytes: &bytes });
            }
            alone.input(Input::Received { link, bytes: &[0xE0, 0] });
        }
        for number in 0..1000 {
            let link = alone.open();
            let connect = alone.connect(&format!("c{}", number % 100 + 1), true, 0);
            alone.input(Input::Received { link, bytes: &connect });
        }
        assert_eq!(alone.sent, 0, "{workers} workers");
    }
}

#[test]
fn sessions_expire_when_the_rings_have_room() {
    let mut alone = Alone::new(2);
    for _ in 0..3 * MESH_BURST_MAX {
        let link = alone.connected(true, 5);
        let filter = format!("s/{}", alone.opened);
        alone.input(Input::Received { link, bytes: &subscribe(&filter) });
        alone.input(Input::Closed { link });
    }
    alone.fill_rings();
    alone.now = alone.now.after(Duration::from_secs(10));
    // More timers are due than a turn has steps for.
    for _ in 0..10 {
        alone.input(Input::Tick);
    }
    assert_eq!(alone.sent, 0);
    assert!(alone.shard.deadline().is_none_or(|due| due > alone.now), "it need not be looked at");
    alone.is_told = false;
    let mut ticks = 0;
    alone.input(Input::MeshOpen { to: WorkerId(1) });
    while alone.shard.deadline() == Some(Time::ZERO) {
        let before = alone.sent;
        alone.input(Input::Tick);
        assert!(alone.sent - before <= MESH_BURST_MAX + 8, "at once {}", alone.sent - before);
        ticks += 1;
    }
    assert!(ticks >= 2);
    assert_eq!(census(&alone.shard).0, 0);
}

#[test]
fn responses_that_wait_are_bounded() {
    let mut alone = Alone::new(2);
    let link = alone.connected(true, 0);
    alone.sent = 0;
    for number in 0..2 * DEFERRED_RESPONSES_MAX {
        alone.input(Input::Received { link, bytes: &subscribe(&format!("s/{number}")) });
    }
    assert!(alone.sent <= DEFERRED_RESPONSES_MAX + 1, "{} were taken", alone.sent);
    assert!(alone.sent >= 1000);
}

#[test]
fn mqtt_3_3_2_6_the_expiry_interval_never_grows() {
    let mut far = Alone::new(2);
    let publisher = far.connected(true, 0);
    let policies = Arc::new([open_policy()]);
    let options = Options::default();
    let mut near = Alone::new(2);
    near.shard = Shard::new(Arc::new(options), policies, WorkerId(1), 2, SEED);
    let homes = Homes::new(2, SEED);
    let id =
        (0..).map(|number| format!("s{number}")).find(|id| homes.of(id) == WorkerId(1)).unwrap();
    let subscriber = near.open();
    let head = [&text("MQTT")[..], &[5, 2, 0, 0, 0]].concat();
    let connect = packet(0x10, &[head, text(&id)].concat());
    let bytes = [connect, subscribe("#")].concat();
    near.shard.handle(near.now, Input::Received { link: subscriber, bytes: &bytes });
    let carry = |from: &mut Alone, to: &mut Alone, index: usize| {
        while let Some(output) = from.shard.next_output() {
            if let Output::Mesh { message, .. } = output {
                to.shard.handle(to.now, Input::Mesh { from: WorkerId::at(index), message });
            }
        }
    };
    carry(&mut near, &mut far, 1);
    carry(&mut far, &mut near, 0);
    near.drain();
    // The publisher's worker is ahead of the subscriber's, by less than a turn or by far more.
    for (ahead_ms, waited_ms, expected) in [(1, 0, 10), (1, 2500, 8), (3000, 0, 10)] {
        far.now = near.now.after(Duration::from_millis(ahead_ms));
        let body = [&text("t")[..], &[5, 2, 0, 0, 0, 10], b"payload"].concat();
        let bytes = packet(0x30, &body);
        far.shard.handle(far.now, Input::Received { link: publisher, bytes: &bytes });
        near.now = near.now.after(Duration::from_millis(waited_ms));
        carry(&mut far, &mut near, 0);
        let sent: Vec<u8> = near.shard.outbox().segments(subscriber).flatten().copied().collect();
        near.drain();
        let at = sent.windows(5).position(|bytes| bytes[..4] == [2, 0, 0, 0]).expect("it came");
        assert_eq!(sent[at + 4], expected, "{ahead_ms} ms ahead, {waited_ms} ms later");
    }
}
