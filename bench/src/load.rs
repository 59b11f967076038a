//! A thread under load: its connections, and the loop that publishes and receives.

use crate::clock::now_ns;
use crate::connection::{Connection, Role};
use crate::failure::Result;
use crate::flags::Pacing;
use crate::handshake::{Endpoint, Wanted, open_all};
use crate::histogram_files::INTERVAL_S;
use crate::link::End;
use crate::pace::Schedule;
use crate::plan::Plan;
use crate::poller::{Poller, Readiness, Ready};
use crate::publisher::Publisher;
use crate::shared::{Progress, Shared};
use crate::tally::Tally;
use crate::window::Counting;
use ringmq_mqtt::PacketType;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes that are read at once, at least.
const READ_BYTES: usize = 256 * 1024;

/// Handshakes of one thread at once.
const HANDSHAKES: usize = 128;

/// The longest wait: a thread without work still sees that the run ended.
const IDLE_NS: u64 = 100_000_000;

/// One interval of the histogram log.
const INTERVAL_NS: u64 = INTERVAL_S * 1_000_000_000;

/// The time before a publish is due at which the thread stops sleeping.
const SPIN_NS: u64 = 60_000;

/// One thread's connections.
pub(crate) struct Load<'a> {
    shared: &'a Shared,
    progress: &'a Progress,
    thread: usize,
    poller: Poller,
    connections: Vec<Connection>,
    publishers: Vec<Publishing>,
    tally: Tally,
    pace: Pace,
    buffer: Vec<u8>,
    /// When the interval of the measurement ends.
    next_cut_ns: u64,
}

struct Publishing {
    publisher: Publisher,
    /// The publisher's number in the whole run.
    number: u32,
    connection: usize,
    /// Whether the publisher may have room for more.
    is_awake: bool,
}

/// The rule for the times at which this thread publishes.
enum Pace {
    Window { window: u64, awake: Vec<usize> },
    Rate(Schedule),
}

/// The findings of a thread.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Messages sent, by stream.
    pub(crate) sent: Vec<(u32, u32)>,
    /// Publishes that the broker never answered, or refused.
    pub(crate) unanswered: u64,
}

impl<'a> Load<'a> {
    /// Opens the connections of `thread`.
    pub(crate) fn open(shared: &'a Shared, endpoint: &Endpoint, thread: usize) -> Result<Self> {
        let mut poller = Poller::new(&shared.wakers[thread])?;
        let wanted = wanted(&shared.plan, thread);
        let (wanted, roles): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let opened = open_all(&mut poller, endpoint, &wanted, HANDSHAKES, |_| {})?;
        let connections: Vec<_> = opened.into_iter().zip(roles).map(Connection::new).collect();
        let publishers = publishers(&shared.plan, thread);
        let counting = match shared.pacing {
            Pacing::Window(window) => Some(Counting::new(&shared.plan, thread, window)),
            Pacing::Rate(_) => None,
        };
        let packet_bytes = shared.templates.iter().map(|template| template.len()).max();
        Ok(Self {
            shared,
            progress: &shared.progress[thread],
            thread,
            poller,
            connections,
            tally: Tally::new(&shared.plan, thread, counting),
            pace: pace(shared, &publishers),
            publishers,
            next_cut_ns: u64::MAX,
            buffer: vec![0; READ_BYTES.max(4 * packet_bytes.unwrap_or(0))],
        })
    }

    /// Publishes and receives until the run is over.
    pub(crate) fn run(mut self) -> Result<Outcome> {
        let times = self.shared.times();
        self.tally.measure(times.measured.clone());
        if self.shared.has_intervals {
            self.next_cut_ns = times.measured.start + INTERVAL_NS;
        }
        if let Pace::Rate(schedule) = &mut self.pace {
            schedule.start(times.start_ns);
        }
        self.wake_all();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            self.publish(times.measured.end);
            if self.shared.nap > Duration::ZERO {
                std::thread::sleep(self.shared.nap);
            }
            let count = self.poller.wait(self.timeout_ns(times.measured.end))?;
            for index in 0..count {
                match self.poller.ready(index) {
                    Ready::Woken => self.wake_all(),
                    Ready::Socket { token, readiness } => self.on_ready(token, readiness),
                }
            }
            self.hand_on_completions();
            self.progress.delivered.store(self.tally.fresh, Ordering::Release);
        }
        Ok(self.finish())
    }

    fn on_ready(&mut self, token: usize, readiness: Readiness) {
        let connection = &mut self.connections[token];
        let echoed = connection.echoed;
        let end = connection.read(readiness, &mut self.buffer, &mut self.tally, self.shared);
        if end == End::Closed && !matches!(connection.role, Role::Closed) {
            connection.role = Role::Closed;
            Progress::add(&self.progress.closed, 1);
        }
        Progress::add(&self.progress.expected, u64::from(connection.echoed - echoed));
        match (connection.role, &self.pace) {
            (Role::Closed, _) => {}
            // Its answers leave with its next publishes.
            (Role::Publisher(place), Pace::Window { .. }) => self.wake(place),
            _ => _ = connection.link.flush(),
        }
    }

    /// Lets publishers go on whose messages are complete, also those of other threads.
    fn hand_on_completions(&mut self) {
        let mut completed = std::mem::take(&mut self.tally.completed);
        let mut others = Vec::new();
        let threads = self.shared.progress.len();
        for publisher in completed.drain(..) {
            let plan = &self.shared.plan.publishers[publisher as usize];
            if plan.thread == self.thread {
                // Publisher `n` is on thread `n % threads`.
                self.wake(publisher as usize / threads);
            } else if !others.contains(&plan.thread) {
                others.push(plan.thread);
            }
        }
        self.tally.completed = completed;
        others.into_iter().for_each(|thread| self.shared.wakers[thread].wake());
    }

    fn wake_all(&mut self) {
        (0..self.publishers.len()).for_each(|place| self.wake(place));
    }

    fn wake(&mut self, place: usize) {
        let Pace::Window { awake, .. } = &mut self.pace else { return };
        if !std::mem::replace(&mut self.publishers[place].is_awake, true) {
            awake.push(place);
        }
    }

    /// Publishes what is due or has room, one write for each connection.
    fn publish(&mut self, end_ns: u64) {
        let now_ns = now_ns();
        let is_open = now_ns < end_ns;
        while now_ns >= self.next_cut_ns && self.next_cut_ns < end_ns {
            self.tally.cut();
            self.next_cut_ns += INTERVAL_NS;
        }
        match &mut self.pace {
            Pace::Window { window, awake } => {
                let window = if is_open { *window } else { 0 };
                let mut places = std::mem::take(awake);
                for place in places.drain(..) {
                    self.refill(place, window, now_ns);
                }
                let Pace::Window { awake, .. } = &mut self.pace else { return };
                *awake = places;
            }
            Pace::Rate(_) if is_open => self.publish_due(now_ns),
            Pace::Rate(_) => {}
        }
    }

    fn refill(&mut self, place: usize, window: u64, now_ns: u64) {
        let publishing = &mut self.publishers[place];
        publishing.is_awake = false;
        let complete = self.shared.completions.of(publishing.number);
        let room = window.saturating_sub(publishing.publisher.sent.saturating_sub(complete));
        let connection = &mut self.connections[publishing.connection];
        for _ in 0..room {
            if !connection.has_room() {
                break;
            }
            publishing.publish(connection, self.shared, self.progress, now_ns);
        }
        connection.link.flush();
    }

    fn publish_due(&mut self, now_ns: u64) {
        let Pace::Rate(schedule) = &mut self.pace else { return };
        let mut last: Option<usize> = None;
        while let Some((place, due_ns)) = schedule.due(now_ns) {
            let publishing = &mut self.publishers[place];
            let connection = &mut self.connections[publishing.connection];
            // The schedule waits: what is late counts from when it was due.
            if !connection.has_room() {
                break;
            }
            schedule.advance();
            publishing.publish(connection, self.shared, self.progress, due_ns);
            if let Some(last) = last.filter(|last| *last != publishing.connection) {
                self.connections[last].link.flush();
            }
            last = Some(publishing.connection);
        }
        if let Some(last) = last {
            self.connections[last].link.flush();
        }
    }

    fn timeout_ns(&self, end_ns: u64) -> u64 {
        let Pace::Rate(schedule) = &self.pace else { return IDLE_NS };
        let Some(next_ns) = schedule.next_ns().filter(|next_ns| *next_ns < end_ns) else {
            return IDLE_NS;
        };
        next_ns.saturating_sub(now_ns()).saturating_sub(SPIN_NS).min(IDLE_NS)
    }

    fn finish(mut self) -> Outcome {
        let mut unanswered = 0;
        let mut sent = Vec::new();
        for publishing in &self.publishers {
            sent.extend(publishing.publisher.sent_by_stream());
        }
        for connection in &mut self.connections {
            if let Role::Echo { stream, .. } = connection.role {
                sent.push((stream, connection.echoed));
            }
            unanswered += u64::from(!connection.unanswered.is_empty());
            connection.link.out.extend_from_slice(&[PacketType::Disconnect.first_byte(), 0]);
            connection.link.flush();
        }
        Outcome { sent, tally: self.tally, unanswered }
    }
}

impl Publishing {
    #[inline]
    fn publish(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        progress: &Progress,
        time_ns: u64,
    ) {
        let packet_id = if shared.is_answered { connection.unanswered.open() } else { 0 };
        let out = &mut connection.link.out;
        let stream = self.publisher.publish(&shared.templates, packet_id, time_ns, out);
        let fan = u64::from(shared.plan.streams[stream as usize].fan);
        Progress::add(&progress.published, 1);
        Progress::add(&progress.expected, fan);
    }
}

fn wanted(plan: &Plan, thread: usize) -> Vec<(Wanted, Role)> {
    let process = std::process::id();
    let receivers = plan.receivers.iter().enumerate();
    let publishers = plan.publishers.iter().enumerate();
    let receivers = receivers.filter(|(_, receiver)| receiver.thread == thread).enumerate().map(
        |(place, (number, receiver))| {
            let wanted = Wanted {
                index: number as u32,
                client_id: format!("bench-{process}-s{number}"),
                filter: Some(receiver.filter.clone()),
            };
            let role = match receiver.echo {
                Some(stream) => Role::Echo { receiver: place, stream },
                None => Role::Receiver(place),
            };
            (wanted, role)
        },
    );
    let publishers = publishers
        .filter(|(_, publisher)| publisher.thread == thread)
        .enumerate()
        .map(|(place, (number, _))| {
            let wanted = Wanted {
                index: (plan.receivers.len() + number) as u32,
                client_id: format!("bench-{process}-p{number}"),
                filter: None,
            };
            (wanted, Role::Publisher(place))
        });
    receivers.chain(publishers).collect()
}

fn publishers(plan: &Plan, thread: usize) -> Vec<Publishing> {
    let receivers = plan.receivers.iter().filter(|receiver| receiver.thread == thread).count();
    let here = plan.publishers.iter().enumerate().filter(|(_, plan)| plan.thread == thread);
    let publishing = |(place, (number, plan))| Publishing {
        publisher: Publisher::new(plan),
        number: number as u32,
        connection: receivers + place,
        is_awake: false,
    };
    here.enumerate().map(publishing).collect()
}

fn pace(shared: &Shared, publishers: &[Publishing]) -> Pace {
    match shared.pacing {
        Pacing::Window(window) => Pace::Window { window: u64::from(window), awake: Vec::new() },
        Pacing::Rate(rate) => {
            let own = publishers.iter().map(|each| u64::from(each.number)).collect();
            Pace::Rate(Schedule::new(rate, shared.plan.publishers.len(), own))
        }
    }
}
