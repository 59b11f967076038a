//! The clients, and the topics between them.
//!
//! ```text
//! t/FIELD/NUMBER           for stable subscriptions
//! c/SUBSCRIBER/NUMBER      for the subscriptions that each subscriber makes and ends
//! s/0/NUMBER               for shared groups
//! k/0/NUMBER               for the client that gets three copies
//! r/PUBLISHER/NUMBER       retained registers with one writer each
//! q/0/NUMBER               retained registers that publishers write in turn
//! w/SUBSCRIBER             wills
//! p/NUMBER                 publishes of clients that do not wait; the checker does not judge them
//! ```
//!
//! The filters of one subscriber never overlap, but those of groups and of the client that gets
//! copies; so any other message is due to it once.

use ringmq_mqtt::{QoS, Version};

/// Clients that publish by themselves.
pub(crate) const PUBLISHERS: usize = 4;
/// The client that asks whether subscriptions have survived.
pub(crate) const PROBER: usize = PUBLISHERS;
/// The first of the clients that subscribe.
pub(crate) const FIRST_SUBSCRIBER: usize = PROBER + 1;
/// Clients that subscribe.
pub(crate) const SUBSCRIBERS: usize = 6;
/// The first of the members of shared groups.
const FIRST_MEMBER: usize = FIRST_SUBSCRIBER + SUBSCRIBERS;
const MEMBERS: usize = 4;
/// The client that gets several copies of a message.
const COLLECTOR: usize = FIRST_MEMBER + MEMBERS;
/// The first of the clients that are owed retained messages.
const FIRST_CREDITOR: usize = COLLECTOR + 1;
const CREDITORS: usize = 2;
/// All clients with sessions.
pub(crate) const CLIENTS: usize = FIRST_CREDITOR + CREDITORS;
/// Clients that do not wait for answers.
pub(crate) const PIPELINES: usize = 2;

const FIELDS: usize = 4;
const NUMBERS: usize = 3;
/// Registers of each publisher: the first is written at QoS 1, the second at QoS 2.
const REGISTERS: usize = 2;

/// Registers that publishers write in turn.
pub(crate) const RELAYS: usize = 4;

/// Publishers for the checker: clients that publish, the wills of subscribers, and the registers
/// that are written in turn.
pub(crate) const AUTHORS: usize = CLIENTS + RELAYS;

/// The table of topics.
pub(crate) fn topics() -> Vec<String> {
    let mut topics = Vec::new();
    for (letter, count, numbers) in families() {
        for place in 0..count {
            topics.extend((0..numbers).map(|number| format!("{letter}/{place}/{number}")));
        }
    }
    topics.extend((0..SUBSCRIBERS).map(|subscriber| format!("w/{subscriber}")));
    topics
}

fn families() -> [(char, usize, usize); 6] {
    [
        ('t', FIELDS, NUMBERS),
        ('c', SUBSCRIBERS, NUMBERS),
        ('s', 1, NUMBERS),
        ('k', 1, NUMBERS),
        ('r', PUBLISHERS, REGISTERS),
        ('q', 1, RELAYS),
    ]
}

/// Topics that anybody publishes to: the first of the table.
pub(crate) const PLAIN_TOPICS: usize = (FIELDS + SUBSCRIBERS + 2) * NUMBERS;

/// A register of a publisher, and the QoS of its writes.
pub(crate) fn register(publisher: usize, number: usize) -> (u16, QoS) {
    let qos = if number == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    ((PLAIN_TOPICS + publisher * REGISTERS + number) as u16, qos)
}

/// A register that publishers write in turn: its author, topic and QoS.
pub(crate) fn relay(number: usize) -> (u32, u16, QoS) {
    let qos = if number.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let topic = PLAIN_TOPICS + PUBLISHERS * REGISTERS + number;
    ((CLIENTS + number) as u32, topic as u16, qos)
}

/// The number of registers of a publisher.
pub(crate) const fn registers() -> u64 {
    REGISTERS as u64
}

/// The topic of a subscriber's will.
pub(crate) fn will_topic(client: usize) -> u16 {
    (PLAIN_TOPICS + PUBLISHERS * REGISTERS + RELAYS + client - FIRST_SUBSCRIBER) as u16
}

/// The version that a client speaks.
pub(crate) fn version(client: usize) -> Version {
    let is_v5 = match client.checked_sub(FIRST_MEMBER) {
        None => client.is_multiple_of(2),
        Some(place) => place != MEMBERS - 1,
    };
    if is_v5 { Version::V5 } else { Version::V311 }
}

/// The number of messages that a client takes at a time, if it says so: queues build up behind it.
pub(crate) fn receive_maximum(client: usize) -> Option<u16> {
    let few = [2, 3, 2, 2, 4, 1, 2];
    few.get(client.checked_sub(FIRST_MEMBER)?).copied()
}

/// Seconds for which a client's session outlives its connections: for some as long as a wrong clock
/// may be.
pub(crate) fn session_expiry_s(client: usize) -> u32 {
    if client.is_multiple_of(4) { u32::MAX } else { 3_600 }
}

/// The manner of a subscriber, besides receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The subscriber stays.
    Steady,
    /// The subscriber acknowledges late.
    Late,
    /// The subscriber goes, with and without a word, and comes back.
    Restless,
    /// The subscriber goes and comes back, and acknowledges late.
    Wayward,
    /// Subscribes and unsubscribes, and always acknowledges late: it is owed retained messages.
    Owed,
    /// Connects anew over its own connection.
    Twin,
    /// Begins anew by a clean start.
    Phoenix,
}

/// The manner of a client.
pub(crate) fn manner(client: usize) -> Manner {
    match client.checked_sub(FIRST_SUBSCRIBER) {
        None | Some(0) => Manner::Steady,
        Some(1) => Manner::Late,
        Some(2) => Manner::Restless,
        Some(3) => Manner::Twin,
        Some(4 | 5) => Manner::Phoenix,
        // The members of groups.
        Some(6) => Manner::Steady,
        Some(7) => Manner::Late,
        Some(8 | 9) => Manner::Restless,
        Some(10) => Manner::Wayward,
        Some(_) => Manner::Owed,
    }
}

/// The delay of a subscriber's will in seconds, if it has one.
pub(crate) fn will_delay_s(client: usize) -> Option<u32> {
    match client.checked_sub(FIRST_SUBSCRIBER)? {
        2 => Some(0),
        3 => Some(1),
        _ => None,
    }
}

/// Filters and the QoS that is asked for.
pub(crate) type Filters = Vec<(String, QoS)>;

/// The subscriptions that a client has from the first, and those that come and go.
pub(crate) fn filters(client: usize) -> (Filters, Filters) {
    let Some(subscriber) = client.checked_sub(FIRST_SUBSCRIBER) else { return Default::default() };
    if let Some(place) = client.checked_sub(FIRST_CREDITOR) {
        let qos = if place == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        return (Vec::new(), ["r/#", "q/#"].map(|filter| (filter.into(), qos)).into());
    }
    let stable: &[(&str, QoS)] = match subscriber {
        0 => &[("t/#", QoS::ExactlyOnce), ("w/#", QoS::ExactlyOnce)],
        1 => &[("t/+/1", QoS::ExactlyOnce), ("t/+/2", QoS::AtLeastOnce)],
        2 => &[("t/0/+", QoS::ExactlyOnce), ("t/3/1", QoS::ExactlyOnce)],
        3 => &[("t/1/+", QoS::AtLeastOnce), ("t/2/#", QoS::ExactlyOnce)],
        4 => &[("t/+/0", QoS::ExactlyOnce)],
        5 => &[("t/3/+", QoS::AtLeastOnce)],
        7 | 8 => &[("$share/g/s/#", QoS::ExactlyOnce)],
        6 | 9 => &[("$share/g/s/#", QoS::ExactlyOnce), ("$share/f/s/+/1", QoS::ExactlyOnce)],
        _ => &[
            ("k/#", QoS::ExactlyOnce),
            ("$share/h/k/#", QoS::ExactlyOnce),
            ("$share/i/k/#", QoS::ExactlyOnce),
        ],
    };
    let stable = stable.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect();
    let qos = |number| if number == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let numbers = if subscriber < SUBSCRIBERS { NUMBERS } else { 0 };
    let churning = (0..numbers).map(|number| (format!("c/{subscriber}/{number}"), qos(number)));
    (stable, churning.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_mqtt::matches;

    #[test]
    fn filters_of_a_client_do_not_overlap() {
        for client in 0..COLLECTOR {
            let (stable, churning) = filters(client);
            for topic in topics() {
                let fits = stable.iter().chain(&churning).filter(|(f, _)| matches(f, &topic));
                assert!(fits.count() <= 1, "{client} {topic}");
            }
        }
    }

    #[test]
    fn places_of_topics() {
        let topics = topics();
        assert_eq!(topics[PLAIN_TOPICS - 1], "k/0/2");
        assert_eq!(topics[usize::from(register(3, 1).0)], "r/3/1");
        assert_eq!(topics[usize::from(relay(3).1)], "q/0/3");
        assert_eq!(topics[usize::from(will_topic(FIRST_SUBSCRIBER + 2))], "w/2");
    }
}
