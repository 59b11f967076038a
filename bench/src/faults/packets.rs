//! The packets that the tests send.

use ringmq_mqtt::{
    Connect, Publish, QoS, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Version,
};

pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// All tests speak MQTT 5, which tells reasons, unless they say otherwise.
pub(super) const VERSION: Version = Version::V5;

/// Seconds for which sessions outlive their connections.
const SESSION_EXPIRY_S: u32 = 7200;

/// A CONNECT to be changed before it is encoded: a clean start, and no keep-alive.
pub(super) fn connect(client_id: &str) -> Connect<'_> {
    Connect::new(VERSION, client_id)
}

/// A CONNECT of a session that outlives its connection.
pub(super) fn connect_stored(client_id: &str) -> Connect<'_> {
    let mut connect = connect(client_id);
    connect.clean_start = false;
    connect.session_expiry_s = SESSION_EXPIRY_S;
    connect
}

/// Gives a CONNECT a user's name, and the password that all users of a test have.
pub(super) fn log_in<'a>(connect: &mut Connect<'a>, user: &'a str) {
    connect.user_name = Some(user);
    connect.password = Some(b"secret");
}

/// The bytes of a CONNECT.
pub(super) fn encode(connect: &Connect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    bytes
}

pub(super) fn subscribe(filters: &[&str], qos: QoS) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let mut bytes = Vec::new();
    Subscribe { packet_id: 1, filters, ..Subscribe::default() }.encode(VERSION, &mut bytes);
    bytes
}

pub(super) fn unsubscribe(filters: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let filters = filters.iter().copied().collect();
    Unsubscribe { packet_id: 2, filters, ..Unsubscribe::default() }.encode(VERSION, &mut bytes);
    bytes
}

/// A PUBLISH; `packet_id` counts above QoS 0 only.
pub(super) fn publish(topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Publish { topic, qos, packet_id, payload, ..Publish::default() }.encode(VERSION, &mut bytes);
    bytes
}

/// The same, to be retained.
pub(super) fn retain(topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = publish(topic, qos, packet_id, payload);
    bytes[0] |= 1;
    bytes
}

/// The packet identifier for the publish with this number: never 0.
pub(super) fn packet_id_of(number: u32) -> u16 {
    (number % 60_000 + 1) as u16
}
