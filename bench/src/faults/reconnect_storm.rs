//! All sessions lose their connections at once, messages are published meanwhile, and all clients
//! come back at once: each must find its session and its messages, soon.

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::client::Client;
use super::crowd::{Crowd, Event};
use super::findings::{Findings, Goal};
use super::packets::{
    VERSION, connect, connect_stored, encode, log_in, packet_id_of, publish, subscribe,
};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::stamp::Stamp;
use crate::track::Tracker;
use crate::wire::{RawFrame, delivery};
use clap::{Args, ValueEnum};
use ringmq_mqtt::{AckType, PacketType, QoS, ReasonCode, encode_ack};
use std::time::Duration;

/// Connections on their way at once while the sessions begin.
const AT_ONCE: usize = 64;

/// Connections that are opened in a row when all come back.
const IN_A_ROW: usize = 200;

/// Publishes under way at once.
const WINDOW: u32 = 500;

/// The time after which a client that was not let in tries again.
const RETRY_NS: u64 = 1_000_000_000;

/// The goal for all to be back, in seconds.
const BACK_S: f64 = 30.0;

/// The time after which those that are not back are counted as lost, in seconds.
const GIVE_UP_S: f64 = 120.0;

/// Seconds that the first login of a user may take: one hash, many times over for a busy machine.
const LOGIN_S: f64 = 0.2;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// Sessions [10000; small: 300]
    #[arg(long)]
    sessions: Option<u32>,
    /// Messages for each while it is away, at QoS 1 (3)
    #[arg(long, default_value_t = 3)]
    messages: u32,
    /// The protocol below MQTT
    #[arg(long, value_enum, default_value_t = Over::Both)]
    over: Over,
    /// Logins: none, or a password of each client's own
    #[arg(long, value_enum, default_value_t = Logins::Both)]
    logins: Logins,
    /// The broker's --login-cache-s: the storm is within it of the first logins, or not
    #[arg(long, default_value_t = 3600)]
    login_cache: u32,
}

/// The protocols below MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Over {
    Tcp,
    Tls,
    Both,
}

/// How clients show who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Logins {
    None,
    Passwords,
    Both,
}

/// Runs the test over each protocol and with each kind of login.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let sessions = bench.size(sizes.sessions, 300, 10_000);
    if sessions == 0 || sizes.messages == 0 {
        return Err(Failure::new("--sessions and --messages are above 0"));
    }
    bench.make_room(sessions)?;
    let words = format!("{sessions} sessions, {} messages each while away", sizes.messages);
    let mut findings = bench.findings("reconnect-storm", words);
    for (below, over, name) in [(Below::Tcp, Over::Tcp, "plain"), (Below::Tls, Over::Tls, "TLS")] {
        for (logins, with) in [(Logins::None, ""), (Logins::Passwords, ", passwords")] {
            let is_wanted = [over, Over::Both].contains(&sizes.over)
                && [logins, Logins::Both].contains(&sizes.logins);
            if is_wanted {
                let has_users = logins == Logins::Passwords;
                let storm = Storm::new(bench, sizes, sessions, below, has_users)?;
                storm.run(&mut findings, &format!("{name}{with}"))?;
            }
        }
    }
    Ok(findings)
}

struct Storm {
    broker: Broker,
    crowd: Crowd,
    bystander: Bystander,
    has_users: bool,
    sessions: Vec<Session>,
    messages: u32,
    /// Clients that are connected, subscribed if they were to.
    ready: usize,
    /// Sessions that the broker had forgotten.
    forgotten: u64,
    /// Connections that were refused or closed before the client was let in.
    refused: u64,
    duplicates: u64,
    /// Distinct messages that came.
    arrived: u64,
    /// Places to connect again, and when.
    retries: Vec<(u64, usize)>,
}

#[derive(Debug, Default)]
struct Session {
    is_ready: bool,
    messages: Tracker,
}

impl Storm {
    fn new(
        bench: &Bench,
        sizes: &Sizes,
        sessions: u32,
        below: Below,
        has_users: bool,
    ) -> Result<Self> {
        let mut arguments = vec!["--log-level".to_owned(), "warn".to_owned()];
        if has_users {
            let file = bench.password_file(sessions)?;
            arguments.extend(["--password-file".to_owned(), file.display().to_string()]);
            arguments.extend(["--login-cache-s".to_owned(), sizes.login_cache.to_string()]);
        }
        let setup = Setup { arguments, is_durable: true, ..Setup::default() };
        let broker = bench.start(&setup)?;
        let address = if below == Below::Tls { broker.tls } else { broker.plain };
        let bystander = Bystander::start(broker.plain, has_users.then_some("u0"))?;
        Ok(Self {
            crowd: Crowd::new(address, below)?,
            broker,
            bystander,
            has_users,
            sessions: (0..sessions).map(|_| Session::default()).collect(),
            messages: sizes.messages,
            ready: 0,
            forgotten: 0,
            refused: 0,
            duplicates: 0,
            arrived: 0,
            retries: Vec::new(),
        })
    }

    fn run(mut self, findings: &mut Findings, name: &str) -> Result<()> {
        self.begin_sessions()?;
        self.crowd.close_all();
        self.publish()?;
        self.bystander.worst_ms();
        let start_ns = now_ns();
        let back_s = self.come_back(start_ns)?;
        let worst_ms = self.bystander.worst_ms();
        self.broker.check()?;
        let count = self.sessions.len();
        let due = count as u64 * u64::from(self.messages);
        let away = count - self.ready;
        findings.mistakes(format!("{name}: clients not back"), away as u64);
        findings.mistakes(format!("{name}: sessions forgotten"), self.forgotten);
        findings.mistakes(format!("{name}: messages lost"), due - self.arrived);
        let what = format!("{name}: all are back after");
        findings.judge_time(what, back_s, "s", Goal::AtMost(BACK_S));
        let what = format!("{name}: worst ping of a bystander");
        findings.judge_time(what, worst_ms, "ms", Goal::AtMost(100.0));
        let failures = self.bystander.failures();
        findings.mistakes(format!("{name}: pings without an answer"), failures);
        findings.note(format!("{name}: refused at first"), self.refused as f64, "");
        findings.note(format!("{name}: messages sent twice"), self.duplicates as f64, "");
        drop((self.bystander, self.crowd));
        let stopped = self.broker.stop()?;
        let is_broken = u64::from(!stopped.is_orderly);
        findings.mistakes(format!("{name}: stops without an orderly end"), is_broken);
        Ok(())
    }

    fn hello(&self, place: usize, is_first: bool) -> Vec<u8> {
        let (client_id, user) = (format!("s{place}"), format!("u{place}"));
        let mut connect = connect_stored(&client_id);
        if self.has_users {
            log_in(&mut connect, &user);
        }
        let mut hello = encode(&connect);
        if is_first {
            hello.extend(subscribe(&[&topic(place as u32)], QoS::AtLeastOnce));
        }
        hello
    }

    fn begin_sessions(&mut self) -> Result<()> {
        let count = self.sessions.len();
        let login_s = if self.has_users { LOGIN_S } else { 0.01 };
        let end_ns = now_ns() + seconds_ns(60.0 + login_s * count as f64);
        let mut opened = 0;
        while self.ready < count {
            while opened < count && opened < self.ready + AT_ONCE {
                let hello = self.hello(opened, true);
                self.crowd.open(opened, &hello)?;
                opened += 1;
            }
            self.turn(10_000_000, true)?;
            if self.refused > 0 || now_ns() > end_ns {
                return Err(Failure::new("the broker does not let all sessions begin"));
            }
        }
        self.sessions.iter_mut().for_each(|session| session.is_ready = false);
        self.ready = 0;
        Ok(())
    }

    /// Publishes the messages for clients that are away, and waits for all acknowledgements.
    fn publish(&self) -> Result<()> {
        let mut connect = connect("publisher");
        if self.has_users {
            log_in(&mut connect, "u0");
        }
        let mut publisher = Client::connect(self.broker.plain, &connect)?;
        let count = self.sessions.len() as u32;
        publisher.publish_all(count * self.messages, WINDOW, |number| {
            let stamp = Stamp { stream: number % count, sequence: number / count, time_ns: 0 };
            let packet_id = packet_id_of(number);
            publish(&topic(stamp.stream), QoS::AtLeastOnce, packet_id, &stamp.bytes())
        })
    }

    /// Connects all clients at once, and again those that are refused; the seconds until the last
    /// is back.
    fn come_back(&mut self, start_ns: u64) -> Result<f64> {
        let count = self.sessions.len();
        let due = count as u64 * u64::from(self.messages);
        let end_ns = start_ns + seconds_ns(GIVE_UP_S);
        let (mut opened, mut back_ns) = (0, None);
        while now_ns() < end_ns && (self.ready < count || self.arrived < due) {
            for place in opened..count.min(opened + IN_A_ROW) {
                let hello = self.hello(place, false);
                self.crowd.open(place, &hello)?;
            }
            opened = count.min(opened + IN_A_ROW);
            let now_ns = now_ns();
            let retries = self.retries.extract_if(.., |(due_ns, _)| *due_ns <= now_ns);
            for (_, place) in retries.collect::<Vec<_>>() {
                let hello = self.hello(place, false);
                self.crowd.open(place, &hello)?;
            }
            self.turn(if opened < count { 0 } else { 10_000_000 }, false)?;
            if self.ready == count && back_ns.is_none() {
                back_ns = Some(crate::clock::now_ns());
            }
        }
        // A message that comes twice comes soon.
        let grace_ns = now_ns() + seconds_ns(0.5);
        while now_ns() < grace_ns {
            self.turn(100_000_000, false)?;
        }
        Ok(Duration::from_nanos(back_ns.unwrap_or(end_ns) - start_ns).as_secs_f64())
    }

    fn turn(&mut self, timeout_ns: u64, is_first: bool) -> Result<()> {
        let Self { crowd, sessions, ready, forgotten, refused, duplicates, arrived, .. } = self;
        let retries = &mut self.retries;
        let mut on_packet = |place: usize, frame: &RawFrame<'_>, out: &mut Vec<u8>| {
            let session = &mut sessions[place];
            match PacketType::from_first(frame.first) {
                Some(PacketType::ConnAck) if is_first => {}
                Some(PacketType::ConnAck) if frame.body.get(1) == Some(&0) && !session.is_ready => {
                    session.is_ready = true;
                    *ready += 1;
                    *forgotten += u64::from(frame.body[0] & 1 == 0);
                }
                Some(PacketType::SubAck) if !session.is_ready => {
                    session.is_ready = true;
                    *ready += 1;
                }
                Some(PacketType::Publish) => {
                    let Some(delivery) = delivery(frame, VERSION.is_v5()) else { return };
                    if let Some((AckType::PubAck, packet_id)) = delivery.answer {
                        let code = ReasonCode::Success;
                        encode_ack(AckType::PubAck, VERSION, packet_id, code, out);
                    }
                    let stamp = Stamp::read(delivery.payload);
                    if let Some(stamp) = stamp.filter(|stamp| stamp.stream as usize == place) {
                        let arrival = session.messages.accept(stamp.sequence, 1);
                        *arrived += u64::from(arrival.fresh);
                        *duplicates += u64::from(arrival.duplicates);
                    }
                }
                _ => {}
            }
        };
        let mut gone = Vec::new();
        crowd.turn(timeout_ns, |place, event, out| match event {
            Event::Packet(frame) => on_packet(place, &frame, out),
            Event::Gone => gone.push(place),
        })?;
        for place in gone {
            if std::mem::take(&mut sessions[place].is_ready) {
                *ready -= 1;
            }
            *refused += 1;
            retries.push((now_ns() + RETRY_NS, place));
        }
        Ok(())
    }
}

fn topic(session: u32) -> String {
    format!("storm/{session}")
}
