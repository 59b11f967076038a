//! The broker lives in a control group with little memory while clients do their worst: it must not
//! be killed, and must keep everything that it acknowledged.

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::client::{Client, Heard};
use super::findings::{Findings, Goal, mib};
use super::group::Group;
use super::packets::{
    DISCONNECT, VERSION, connect, connect_stored, packet_id_of, publish, retain, subscribe,
};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::stamp::Stamp;
use crate::wire::{RawFrame, delivery, packet_id};
use clap::{Args, ValueEnum};
use ringmq_mqtt::{Frame, PacketType, QoS, SubAck};

/// Sessions that must be there in the end, with their subscriptions.
const KEPT: u32 = 50;

/// Absent sessions whose queues are filled.
const AWAY: u32 = 200;

/// Bytes of a retained message, and of one for a queue.
const RETAINED_BYTES: usize = 100_000;
const QUEUED_BYTES: usize = 20_000;

/// Filters of a SUBSCRIBE.
const FILTERS: u32 = 200;

/// Publishes under way at once.
const WINDOW: u32 = 16;

/// Refusals after which there is no more to see.
const REFUSALS_MAX: u32 = 300;

/// Seconds without an answer after which a client that publishes gives up.
const SILENCE_S: f64 = 3.0;

/// Seconds for the broker to have room again for one message, and to send everything retained.
const ROOM_S: f64 = 20.0;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// The group's memory in MiB [200 and 2000; small: 200]
    #[arg(long, value_delimiter = ',')]
    limits: Vec<u64>,
    /// Clients do this [all, each against a broker of its own]
    #[arg(long, value_enum)]
    flood: Option<Flood>,
    /// Seconds of each flood at most [60; small: 6]
    #[arg(long)]
    seconds: Option<f64>,
}

/// The packets that clients send too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flood {
    Retained,
    Queues,
    Subscriptions,
}

/// Runs the test with each limit and flood.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let limits = match (&sizes.limits[..], bench.common.small) {
        ([], true) => vec![200],
        ([], false) => vec![200, 2000],
        (limits, _) => limits.to_vec(),
    };
    let seconds = bench.size(sizes.seconds, 6.0, 60.0);
    let words = format!("control groups of {limits:?} MiB, floods of {seconds} s at most");
    let mut findings = bench.findings("memory", words);
    for limit in limits {
        for (flood, name) in [
            (Flood::Retained, "retained"),
            (Flood::Queues, "queues"),
            (Flood::Subscriptions, "subscriptions"),
        ] {
            if sizes.flood.is_some_and(|only| only != flood) {
                continue;
            }
            match Group::new(limit << 20) {
                Ok(group) => {
                    let name = format!("{limit} MiB, {name}");
                    Squeeze::new(bench, group, limit << 20, seconds)?.run(
                        flood,
                        &mut findings,
                        &name,
                    )?;
                }
                Err(failure) => findings.skip(format!("{limit} MiB, {name}: {failure}")),
            }
        }
    }
    Ok(findings)
}

struct Squeeze {
    // The broker is named first, so that it has ended when its group goes.
    broker: Broker,
    group: Group,
    /// The group's limit in bytes.
    limit: u64,
    seconds: f64,
}

/// The state that a flood was told to be kept.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Topics of retained messages.
    retained: Vec<u32>,
    /// The client that subscribed, with its last filter that was granted.
    subscriber: Option<(Client, String)>,
    /// Publishes or subscriptions that were granted, and refused.
    granted: u64,
    refused: u64,
}

impl Squeeze {
    fn new(bench: &Bench, group: Group, limit: u64, seconds: f64) -> Result<Self> {
        let arguments = vec!["--log-level".to_owned(), "warn".to_owned()];
        let setup = Setup { arguments, group: Some(group.path()), ..Setup::default() };
        let broker = bench.start(&setup)?;
        Ok(Self { broker, group, limit, seconds })
    }

    fn run(mut self, flood: Flood, findings: &mut Findings, name: &str) -> Result<()> {
        for number in 0..KEPT {
            self.begin_session(&format!("kept-{number}"), &format!("kept/{number}"))?;
        }
        self.begin_session("archive", "r/#")?;
        let bystander = Bystander::start(self.broker.plain, None)?;
        let acknowledged = match flood {
            Flood::Retained => self.flood_retained()?,
            Flood::Queues => self.flood_queues()?,
            Flood::Subscriptions => self.flood_subscriptions()?,
        };
        let worst_ms = bystander.worst_ms();
        let is_alive = self.broker.ended()?;
        findings.note(format!("{name}: granted"), acknowledged.granted as f64, "");
        findings.note(format!("{name}: refused"), acknowledged.refused as f64, "");
        findings.note(format!("{name}: memory of the group"), mib(self.group.most()), "MiB");
        if !self.is_squeezed(&acknowledged) {
            findings.skip(format!("{name}: the flood ended before the memory was short"));
        }
        findings.mistakes(format!("{name}: killed by the kernel"), self.group.kills());
        let what = format!("{name}: ends of the broker");
        findings.mistakes(what, u64::from(is_alive.is_some()));
        if let Some(ended) = is_alive {
            findings.skip(format!("{name}: the rest, since {}", ended.words()));
            return Ok(());
        }
        if flood == Flood::Queues {
            self.end_sessions()?;
        }
        let lost = self.lost_sessions()?;
        findings.mistakes(format!("{name}: sessions or subscriptions lost"), lost);
        if flood == Flood::Retained {
            let lost = self.lost_retained(&acknowledged.retained)?;
            findings.mistakes(format!("{name}: acknowledged retained topics lost"), lost);
        }
        if let Some((client, filter)) = acknowledged.subscriber {
            let arrives = self.arrives(client, &filter)?;
            let what = format!("{name}: granted subscriptions lost");
            findings.mistakes(what, u64::from(!arrives));
        }
        let goal = Goal::AtMost(100.0);
        findings.judge_time(format!("{name}: worst ping of a bystander"), worst_ms, "ms", goal);
        findings.mistakes(format!("{name}: pings without an answer"), bystander.failures());
        drop(bystander);
        self.broker.stop().map(drop)
    }

    /// Whether the broker had to defend its memory: something was refused, or much was in use.
    fn is_squeezed(&self, acknowledged: &Acknowledged) -> bool {
        acknowledged.refused > 0 || self.group.most() > self.limit / 2
    }

    /// A session that waits for its client, with a subscription at QoS 1.
    fn begin_session(&self, client_id: &str, filter: &str) -> Result<()> {
        let mut client = Client::connect(self.broker.plain, &connect_stored(client_id))?;
        // At QoS 1 retained messages would wait for the absent client.
        let qos = if filter == "r/#" { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        client.send(&subscribe(&[filter], qos))?;
        client.expect(PacketType::SubAck)?;
        client.send(&DISCONNECT)
    }

    fn flood_retained(&self) -> Result<Acknowledged> {
        let mut acknowledged = Acknowledged::default();
        let packet = |number: u32| {
            let payload = payload(number, RETAINED_BYTES);
            retain(&format!("r/{number}"), QoS::AtLeastOnce, packet_id_of(number), &payload)
        };
        let granted = self.flood(packet, &mut acknowledged)?;
        acknowledged.retained = granted;
        Ok(acknowledged)
    }

    fn flood_queues(&self) -> Result<Acknowledged> {
        for number in 0..AWAY {
            self.begin_session(&format!("away-{number}"), &format!("away/{number}"))?;
        }
        let mut acknowledged = Acknowledged::default();
        let packet = |number: u32| {
            let payload = payload(number, QUEUED_BYTES);
            let topic = format!("away/{}", number % AWAY);
            publish(&topic, QoS::AtLeastOnce, packet_id_of(number), &payload)
        };
        self.flood(packet, &mut acknowledged)?;
        Ok(acknowledged)
    }

    /// Publishes until the time is over, nobody answers or all is refused; the numbers of the
    /// messages that were acknowledged.
    fn flood(
        &self,
        packet: impl Fn(u32) -> Vec<u8>,
        acknowledged: &mut Acknowledged,
    ) -> Result<Vec<u32>> {
        let mut client = Client::connect(self.broker.plain, &connect("flood"))?;
        let end_ns = now_ns() + seconds_ns(self.seconds);
        let (mut sent, mut answered, mut refused) = (0_u32, 0, 0);
        let mut granted = Vec::new();
        while now_ns() < end_ns && refused < REFUSALS_MAX {
            while sent < answered + WINDOW {
                // A broker that takes nothing more ends the flood.
                if client.send(&packet(sent)).is_err() {
                    return Ok(granted);
                }
                sent += 1;
            }
            let Heard::Packet(answer) = client.hear(SILENCE_S) else { break };
            if answer.kind() != Some(PacketType::PubAck) {
                continue;
            }
            // Publishes are answered in order; the identifier shows that it is so.
            if packet_id(&answer.body) != Some(packet_id_of(answered)) {
                return Err(Failure::new("the broker answers publishes out of order"));
            }
            if answer.body.get(2).is_some_and(|code| *code >= 0x80) {
                (refused, acknowledged.refused) = (refused + 1, acknowledged.refused + 1);
            } else {
                granted.push(answered);
                refused = 0;
                acknowledged.granted += 1;
            }
            answered += 1;
        }
        Ok(granted)
    }

    fn flood_subscriptions(&self) -> Result<Acknowledged> {
        let mut client = Client::connect(self.broker.plain, &connect("subscriber"))?;
        let mut acknowledged = Acknowledged::default();
        let end_ns = now_ns() + seconds_ns(self.seconds);
        let mut last = None;
        for round in 0_u32.. {
            let names = (0..FILTERS).map(|number| format!("many/{round}/{number}/+/filter"));
            let names: Vec<_> = names.collect();
            let filters: Vec<_> = names.iter().map(String::as_str).collect();
            client.send(&subscribe(&filters, QoS::AtLeastOnce))?;
            let packet = client.expect(PacketType::SubAck)?;
            let frame = Frame { first: packet.first, body: &packet.body, length: 0 };
            let suback = SubAck::decode(&frame, VERSION).map_err(Failure::new)?;
            let granted = suback.codes.iter().filter(|code| **code < 0x80).count();
            acknowledged.granted += granted as u64;
            acknowledged.refused += (suback.codes.len() - granted) as u64;
            let is_granted = |(code, _): &(&u8, &String)| **code < 0x80;
            let newest = suback.codes.iter().zip(&names).rfind(is_granted);
            last = newest.map(|(_, name)| name.clone()).or(last);
            if granted < suback.codes.len() || now_ns() > end_ns {
                break;
            }
        }
        let name = last.ok_or_else(|| Failure::new("the broker grants no subscription at all"))?;
        acknowledged.subscriber = Some((client, name));
        Ok(acknowledged)
    }

    /// Ends the sessions whose queues are full.
    fn end_sessions(&self) -> Result<()> {
        for number in 0..AWAY {
            let client_id = format!("away-{number}");
            Client::connect(self.broker.plain, &connect(&client_id))?.send(&DISCONNECT)?;
        }
        Ok(())
    }

    /// Sessions that are not there any more, or get nothing through their subscription.
    fn lost_sessions(&self) -> Result<u64> {
        let mut lost = 0;
        for number in 0..KEPT {
            let client_id = format!("kept-{number}");
            let (client, answer) = Client::ask(self.broker.plain, &connect_stored(&client_id))?;
            let is_there = answer.code == 0 && answer.has_session;
            lost += u64::from(!is_there || !self.arrives(client, &format!("kept/{number}"))?);
        }
        Ok(lost)
    }

    /// Whether a publish to the filter arrives at the client.
    fn arrives(&self, mut client: Client, filter: &str) -> Result<bool> {
        let mut publisher = Client::connect(self.broker.plain, &connect("checker"))?;
        let topic = filter.replace('+', "x");
        publisher.send(&publish(&topic, QoS::AtLeastOnce, 1, b"check"))?;
        loop {
            match client.hear(ROOM_S) {
                Heard::Packet(packet) if packet.kind() == Some(PacketType::Publish) => {
                    return Ok(packet.body.ends_with(b"check"));
                }
                Heard::Packet(_) => {}
                Heard::Silence | Heard::Closed => return Ok(false),
            }
        }
    }

    /// Topics among `acknowledged` of which nothing is sent to one who asks for all.
    fn lost_retained(&self, acknowledged: &[u32]) -> Result<u64> {
        let (mut client, _) = Client::ask(self.broker.plain, &connect_stored("archive"))?;
        // The subscription is known, so that it takes no memory; what is retained is sent again.
        client.send(&subscribe(&["r/#"], QoS::AtMostOnce))?;
        let mut is_missing =
            vec![false; acknowledged.iter().max().map_or(0, |most| most + 1) as usize];
        acknowledged.iter().for_each(|number| is_missing[*number as usize] = true);
        let mut missing = acknowledged.len() as u64;
        while missing > 0
            && let Heard::Packet(packet) = client.hear(ROOM_S)
        {
            if packet.kind() != Some(PacketType::Publish) {
                continue;
            }
            let frame = RawFrame { first: packet.first, body: &packet.body, length: 0 };
            let delivery = delivery(&frame, VERSION.is_v5());
            let stamp = delivery.and_then(|delivery| Stamp::read(delivery.payload));
            let Some(stamp) = stamp else { continue };
            if let Some(is_missing) = is_missing.get_mut(stamp.stream as usize) {
                missing -= u64::from(std::mem::take(is_missing));
            }
        }
        Ok(missing)
    }
}

fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = Stamp { stream: number, sequence: 0, time_ns: 0 }.bytes().to_vec();
    payload.resize(bytes, b'p');
    payload
}
