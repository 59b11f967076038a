//! The price of a publish to queues that are full, against that of one to queues with room.

use super::Bench;
use super::broker::Setup;
use super::client::Client;
use super::findings::{Findings, Goal};
use super::packets::{DISCONNECT, connect, connect_stored, packet_id_of, publish, subscribe};
use crate::failure::Result;
use ringmq_mqtt::{PacketType, QoS};

const TOPIC: &str = "full";

/// Publishes under way at once.
const WINDOW: u32 = 50;

/// Publishes to full queues at most.
const DROPPED_MAX: u32 = 1000;

/// Fills the queues of `sessions` absent clients, and goes on publishing.
pub(super) fn run(bench: &Bench, sessions: u32, queue: u32, findings: &mut Findings) -> Result<()> {
    let arguments = vec!["--max-queued-messages".to_owned(), queue.to_string()];
    let broker = bench.start(&Setup { arguments, ..Setup::default() })?;
    for session in 0..sessions {
        let mut client =
            Client::connect(broker.plain, &connect_stored(&format!("absent-{session}")))?;
        client.send(&subscribe(&[TOPIC], QoS::AtLeastOnce))?;
        client.expect(PacketType::SubAck)?;
        client.send(&DISCONNECT)?;
    }
    let mut publisher = Client::connect(broker.plain, &connect("publisher"))?;
    broker.settle()?;
    let mut price = |count: u32| -> Result<f64> {
        let before_ns = broker.cpu_ns()?;
        publisher.publish_all(count, WINDOW, |number| {
            publish(TOPIC, QoS::AtLeastOnce, packet_id_of(number), b"message")
        })?;
        broker.settle()?;
        Ok((broker.cpu_ns()? - before_ns) as f64 / f64::from(count) / 1e3)
    };
    let (filling, full) = (price(queue)?, price(queue.min(DROPPED_MAX))?);
    findings.note("CPU of a publish while queues have room", filling, "us");
    findings.note("CPU of a publish to full queues", full, "us");
    let ratio = full / filling.max(1e-3);
    findings.judge("full queues, of those with room", ratio, "x", Goal::AtMost(3.0));
    drop(publisher);
    let dropped = broker.stop()?.count("messages_dropped.queue_full")? as f64;
    let due = Goal::Exactly(f64::from(sessions) * f64::from(queue.min(DROPPED_MAX)));
    findings.judge("dropped for absent clients", dropped, "", due);
    Ok(())
}
