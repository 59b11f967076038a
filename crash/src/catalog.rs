//! Who there is, and the topics between them.
//!
//! ```text
//! t/GROUP/NUMBER           what stable subscriptions are for
//! c/SUBSCRIBER/NUMBER      what each subscriber subscribes to and unsubscribes from
//! r/PUBLISHER/NUMBER       retained registers with one writer each
//! w/SUBSCRIBER             wills
//! ```
//!
//! The filters of one subscriber never overlap, so a message is due to it once.

use ringmq::mqtt::{QoS, Version};

/// Clients that publish by themselves.
pub(crate) const PUBLISHERS: usize = 4;
/// The client that asks whether subscriptions have survived.
pub(crate) const PROBER: usize = PUBLISHERS;
/// The first of the clients that subscribe.
pub(crate) const FIRST_SUBSCRIBER: usize = PROBER + 1;
/// Clients that subscribe.
pub(crate) const SUBSCRIBERS: usize = 6;
/// All clients with sessions.
pub(crate) const CLIENTS: usize = FIRST_SUBSCRIBER + SUBSCRIBERS;

const GROUPS: usize = 4;
const NUMBERS: usize = 3;
/// Registers of each publisher: the first is written at QoS 1, the second at QoS 2.
const REGISTERS: usize = 2;

/// Publishers for the checker: clients that publish, then the wills of subscribers.
pub(crate) const AUTHORS: usize = FIRST_SUBSCRIBER + SUBSCRIBERS;

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

fn families() -> [(char, usize, usize); 3] {
    [('t', GROUPS, NUMBERS), ('c', SUBSCRIBERS, NUMBERS), ('r', PUBLISHERS, REGISTERS)]
}

/// Topics that anybody publishes to: the first of the table.
pub(crate) const PLAIN_TOPICS: usize = (GROUPS + SUBSCRIBERS) * NUMBERS;

/// A register of a publisher, and the QoS of its writes.
pub(crate) fn register(publisher: usize, number: usize) -> (u16, QoS) {
    let qos = if number == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    ((PLAIN_TOPICS + publisher * REGISTERS + number) as u16, qos)
}

/// How many registers a publisher has.
pub(crate) const fn registers() -> u64 {
    REGISTERS as u64
}

/// The topic of a subscriber's will.
pub(crate) fn will_topic(client: usize) -> u16 {
    (PLAIN_TOPICS + PUBLISHERS * REGISTERS + client - FIRST_SUBSCRIBER) as u16
}

/// The version that a client speaks.
pub(crate) fn version(client: usize) -> Version {
    if client.is_multiple_of(2) { Version::V5 } else { Version::V311 }
}

/// What a subscriber does besides receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Stays.
    Steady,
    /// Acknowledges late.
    Late,
    /// Goes, with and without a word, and comes back.
    Restless,
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
        Some(_) => Manner::Phoenix,
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
    let stable: &[(&str, QoS)] = match subscriber {
        0 => &[("t/#", QoS::ExactlyOnce), ("w/#", QoS::ExactlyOnce)],
        1 => &[("t/+/1", QoS::ExactlyOnce), ("t/+/2", QoS::AtLeastOnce)],
        2 => &[("t/0/+", QoS::ExactlyOnce), ("t/3/1", QoS::ExactlyOnce)],
        3 => &[("t/1/+", QoS::AtLeastOnce), ("t/2/#", QoS::ExactlyOnce)],
        4 => &[("t/+/0", QoS::ExactlyOnce)],
        _ => &[("t/3/+", QoS::AtLeastOnce)],
    };
    let stable = stable.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect();
    let qos = |number| if number == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let churning = (0..NUMBERS).map(|number| (format!("c/{subscriber}/{number}"), qos(number)));
    (stable, churning.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq::mqtt::matches;

    #[test]
    fn filters_of_a_client_do_not_overlap() {
        for client in 0..CLIENTS {
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
        assert_eq!(topics[PLAIN_TOPICS - 1], "c/5/2");
        assert_eq!(topics[usize::from(register(3, 1).0)], "r/3/1");
        assert_eq!(topics[usize::from(will_topic(FIRST_SUBSCRIBER + 2))], "w/2");
    }
}
