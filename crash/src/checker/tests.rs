//! Hand-made histories: each mistake is found, and a history without one passes.

use super::Checker;
use super::violation::Kind;
use crate::stamp::Stamp;
use ringmq_mqtt::{Publish, QoS};
use std::collections::BTreeMap;

const TOPICS: [&str; 3] = ["t/a", "r/a", "s/a"];
const PLAIN: u16 = 0;
const REGISTER: u16 = 1;
const SHARED: u16 = 2;
const SUBSCRIBER: usize = 0;
const PUBLISHER: u32 = 0;

/// A durable session with a subscription, both acknowledged.
fn subscribed(qos: QoS) -> Checker {
    let mut checker = Checker::new(TOPICS.map(String::from).to_vec(), 1, 1);
    connect(&mut checker, false);
    checker.subscribing(SUBSCRIBER, "t/+", qos);
    checker.subscribed(SUBSCRIBER, "t/+");
    checker
}

fn connect(checker: &mut Checker, is_present: bool) {
    checker.connecting(SUBSCRIBER, false);
    checker.connected(SUBSCRIBER, is_present, true);
}

/// A publish that is acknowledged in full.
fn acknowledged(checker: &mut Checker, qos: QoS) -> u64 {
    acknowledged_on(checker, PLAIN, qos)
}

fn acknowledged_on(checker: &mut Checker, topic: u16, qos: QoS) -> u64 {
    let sequence = checker.sent(PUBLISHER, topic, qos, false);
    checker.acknowledged(PUBLISHER, sequence);
    checker.completed(PUBLISHER, sequence);
    sequence
}

fn deliver(checker: &mut Checker, sequence: u64, qos: QoS) {
    deliver_on(checker, SUBSCRIBER, PLAIN, sequence, qos, false);
}

fn deliver_on(
    checker: &mut Checker,
    client: usize,
    topic: u16,
    sequence: u64,
    qos: QoS,
    retain: bool,
) {
    let stamp = Stamp { publisher: PUBLISHER, sequence, topic, length: 50 };
    let (topic, payload) = (TOPICS[usize::from(topic)], &*stamp.payload());
    checker.delivered(client, &Publish { qos, retain, topic, payload, ..Publish::default() });
}

/// Nothing was wrong but so many of this kind.
fn found(checker: &Checker, kind: Kind, count: u64) {
    let violations = &checker.violations;
    assert_eq!((violations.count(kind), violations.total()), (count, count), "{violations:?}");
}

#[test]
fn a_history_without_mistakes_passes() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut checker = subscribed(qos);
        let first = acknowledged(&mut checker, qos);
        let second = acknowledged(&mut checker, qos);
        deliver(&mut checker, first, qos);
        connect(&mut checker, true);
        assert_eq!(checker.missing(), 1);
        deliver(&mut checker, second, qos);
        assert!(checker.judge().is_empty());
        found(&checker, Kind::Lost, 0);
    }
}

#[test]
fn an_acknowledged_message_that_never_comes_is_lost() {
    let mut checker = subscribed(QoS::ExactlyOnce);
    let first = acknowledged(&mut checker, QoS::AtLeastOnce);
    acknowledged(&mut checker, QoS::ExactlyOnce);
    deliver(&mut checker, first, QoS::AtLeastOnce);
    checker.judge();
    found(&checker, Kind::Lost, 1);
    checker.judge();
    found(&checker, Kind::Lost, 1);
}

#[test]
fn what_was_not_acknowledged_may_come_or_not() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let [first, _] = [0; 2].map(|_| checker.sent(PUBLISHER, PLAIN, QoS::AtLeastOnce, false));
    deliver(&mut checker, first, QoS::AtLeastOnce);
    checker.abandoned(PUBLISHER, first);
    checker.judge();
    found(&checker, Kind::Lost, 0);
}

#[test]
fn a_message_that_came_before_the_suback_is_not_owed() {
    let mut checker = Checker::new(TOPICS.map(String::from).to_vec(), 1, 1);
    connect(&mut checker, false);
    checker.subscribing(SUBSCRIBER, "t/a", QoS::AtLeastOnce);
    let sequence = acknowledged(&mut checker, QoS::AtLeastOnce);
    checker.subscribed(SUBSCRIBER, "t/a");
    deliver(&mut checker, sequence, QoS::AtLeastOnce);
    acknowledged(&mut checker, QoS::AtMostOnce);
    checker.unsubscribing(SUBSCRIBER, "t/a");
    acknowledged(&mut checker, QoS::AtLeastOnce);
    checker.judge();
    found(&checker, Kind::Lost, 0);
}

#[test]
fn a_second_delivery_is_a_duplicate_but_at_qos_1() {
    for (qos, count) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 0), (QoS::ExactlyOnce, 1)] {
        let mut checker = subscribed(QoS::ExactlyOnce);
        let sequence = acknowledged(&mut checker, qos);
        deliver(&mut checker, sequence, qos);
        deliver(&mut checker, sequence, qos);
        found(&checker, Kind::Duplicated, count);
        assert_eq!(checker.counts.repeated, u64::from(qos == QoS::AtLeastOnce));
    }
}

#[test]
fn a_delivery_after_everything_had_come_is_a_duplicate() {
    let mut checker = subscribed(QoS::ExactlyOnce);
    let sequence = acknowledged(&mut checker, QoS::ExactlyOnce);
    deliver(&mut checker, sequence, QoS::ExactlyOnce);
    checker.judge();
    deliver(&mut checker, sequence, QoS::ExactlyOnce);
    found(&checker, Kind::Duplicated, 1);
}

#[test]
fn first_deliveries_are_in_order_and_repetitions_need_not_be() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let sent = [0; 3].map(|_| acknowledged(&mut checker, QoS::AtLeastOnce));
    for place in [0, 1, 0, 1, 2] {
        deliver(&mut checker, sent[place], QoS::AtLeastOnce);
    }
    found(&checker, Kind::Reordered, 0);
    let sent = [0; 2].map(|_| acknowledged(&mut checker, QoS::AtLeastOnce));
    deliver(&mut checker, sent[1], QoS::AtLeastOnce);
    deliver(&mut checker, sent[0], QoS::AtLeastOnce);
    found(&checker, Kind::Reordered, 1);
}

/// The session that the next CONNECT finds may be one without subscriptions.
#[track_caller]
fn nothing_is_owed(mut checker: Checker) {
    connect(&mut checker, true);
    acknowledged(&mut checker, QoS::AtLeastOnce);
    checker.judge();
    found(&checker, Kind::Lost, 0);
}

#[test]
fn after_an_unanswered_clean_start_nothing_is_certain() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    checker.connecting(SUBSCRIBER, true);
    checker.connecting(SUBSCRIBER, false);
    nothing_is_owed(checker);
}

#[test]
fn an_unanswered_connect_may_have_made_another_session() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    checker.connecting(SUBSCRIBER, true);
    checker.connected(SUBSCRIBER, false, false);
    checker.subscribing(SUBSCRIBER, "t/+", QoS::AtLeastOnce);
    checker.subscribed(SUBSCRIBER, "t/+");
    // That session ends with its connection; the next CONNECT makes one, and then comes a kill.
    checker.connecting(SUBSCRIBER, false);
    nothing_is_owed(checker);
}

#[test]
fn what_was_sent_before_the_subscription_may_come_late() {
    let mut checker = Checker::new(TOPICS.map(String::from).to_vec(), 1, 1);
    connect(&mut checker, false);
    let early = checker.sent(PUBLISHER, PLAIN, QoS::AtLeastOnce, false);
    checker.subscribing(SUBSCRIBER, "t/+", QoS::AtLeastOnce);
    checker.subscribed(SUBSCRIBER, "t/+");
    let late = acknowledged(&mut checker, QoS::AtLeastOnce);
    deliver(&mut checker, late, QoS::AtLeastOnce);
    deliver(&mut checker, early, QoS::AtLeastOnce);
    found(&checker, Kind::Reordered, 0);
}

#[test]
fn what_was_sent_between_two_subscriptions_may_come_late() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    checker.unsubscribing(SUBSCRIBER, "t/+");
    checker.unsubscribed(SUBSCRIBER, "t/+");
    let early = checker.sent(PUBLISHER, PLAIN, QoS::AtLeastOnce, false);
    checker.subscribing(SUBSCRIBER, "t/+", QoS::AtLeastOnce);
    checker.subscribed(SUBSCRIBER, "t/+");
    let late = acknowledged(&mut checker, QoS::AtLeastOnce);
    deliver(&mut checker, late, QoS::AtLeastOnce);
    deliver(&mut checker, early, QoS::AtLeastOnce);
    found(&checker, Kind::Reordered, 0);
}

#[test]
fn another_payload_or_topic_is_altered() {
    let mut checker = subscribed(QoS::AtMostOnce);
    let sequence = acknowledged(&mut checker, QoS::AtMostOnce);
    let stamp = Stamp { publisher: PUBLISHER, sequence, topic: PLAIN, length: 50 };
    let mut payload = stamp.payload();
    let publish = Publish { topic: "t/b", payload: &payload, ..Publish::default() };
    checker.delivered(SUBSCRIBER, &publish);
    found(&checker, Kind::Altered, 1);
    payload[40] ^= 1;
    checker
        .delivered(SUBSCRIBER, &Publish { topic: "t/a", payload: &payload, ..Publish::default() });
    found(&checker, Kind::Altered, 2);
    deliver(&mut checker, sequence + 1, QoS::AtMostOnce);
    found(&checker, Kind::Altered, 3);
}

#[test]
fn a_delivery_without_a_subscription_is_stray() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    checker.unsubscribing(SUBSCRIBER, "t/+");
    let between = acknowledged(&mut checker, QoS::AtLeastOnce);
    checker.unsubscribed(SUBSCRIBER, "t/+");
    assert_eq!(checker.missing(), 0);
    deliver(&mut checker, between, QoS::AtLeastOnce);
    found(&checker, Kind::Stray, 0);
    let after = acknowledged(&mut checker, QoS::AtLeastOnce);
    deliver(&mut checker, after, QoS::AtLeastOnce);
    found(&checker, Kind::Stray, 1);
}

#[test]
fn another_qos_is_stray() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let sequence = acknowledged(&mut checker, QoS::ExactlyOnce);
    deliver(&mut checker, sequence, QoS::ExactlyOnce);
    found(&checker, Kind::Stray, 1);
}

#[test]
fn a_lost_session_loses_what_waited() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    acknowledged(&mut checker, QoS::AtLeastOnce);
    acknowledged(&mut checker, QoS::AtMostOnce);
    connect(&mut checker, false);
    let count = |kind| checker.violations.count(kind);
    assert_eq!((count(Kind::SessionLost), count(Kind::Lost)), (1, 1));
    assert_eq!(checker.missing(), 0);
}

#[test]
fn a_clean_start_ends_a_session() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    acknowledged(&mut checker, QoS::AtLeastOnce);
    checker.connecting(SUBSCRIBER, true);
    assert_eq!(checker.missing(), 0);
    // No answer: it is asked for once more.
    checker.connecting(SUBSCRIBER, true);
    checker.connected(SUBSCRIBER, false, true);
    connect(&mut checker, true);
    found(&checker, Kind::SessionReturned, 0);
    checker.connecting(SUBSCRIBER, true);
    checker.connected(SUBSCRIBER, true, true);
    found(&checker, Kind::SessionReturned, 1);
}

#[test]
fn what_an_ended_session_got_does_not_come_to_the_next() {
    let mut checker = subscribed(QoS::ExactlyOnce);
    let sequence = acknowledged(&mut checker, QoS::ExactlyOnce);
    deliver(&mut checker, sequence, QoS::ExactlyOnce);
    checker.connecting(SUBSCRIBER, true);
    checker.connected(SUBSCRIBER, false, true);
    checker.subscribing(SUBSCRIBER, "t/+", QoS::ExactlyOnce);
    deliver(&mut checker, sequence, QoS::ExactlyOnce);
    found(&checker, Kind::SessionReturned, 1);
}

#[test]
fn a_session_of_one_connection_does_not_come_back() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    checker.connecting(SUBSCRIBER, true);
    checker.connected(SUBSCRIBER, false, false);
    connect(&mut checker, true);
    found(&checker, Kind::SessionReturned, 1);
}

#[test]
fn an_unanswered_first_connect_leaves_both_possible() {
    for is_present in [false, true] {
        let mut checker = Checker::new(TOPICS.map(String::from).to_vec(), 1, 1);
        checker.connecting(SUBSCRIBER, false);
        connect(&mut checker, is_present);
        found(&checker, Kind::SessionReturned, 0);
    }
}

#[test]
fn a_subscription_whose_probe_does_not_come_is_lost() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    assert_eq!(checker.certain_topics(), [PLAIN]);
    let probe = checker.sent(PUBLISHER, PLAIN, QoS::AtLeastOnce, true);
    checker.acknowledged(PUBLISHER, probe);
    checker.completed(PUBLISHER, probe);
    acknowledged(&mut checker, QoS::AtLeastOnce);
    assert_eq!(checker.judge(), [(SUBSCRIBER, "t/+".to_string())]);
    found(&checker, Kind::SubscriptionLost, 1);
    // Subscribed once more, it holds again.
    checker.subscribing(SUBSCRIBER, "t/+", QoS::AtLeastOnce);
    checker.subscribed(SUBSCRIBER, "t/+");
    acknowledged(&mut checker, QoS::AtLeastOnce);
    assert_eq!(checker.missing(), 1);
}

#[test]
fn a_probe_that_is_lost_alone_is_a_lost_message() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let probe = checker.sent(PUBLISHER, PLAIN, QoS::AtLeastOnce, true);
    checker.acknowledged(PUBLISHER, probe);
    checker.completed(PUBLISHER, probe);
    let next = acknowledged(&mut checker, QoS::AtLeastOnce);
    deliver(&mut checker, next, QoS::AtLeastOnce);
    assert!(checker.judge().is_empty());
    found(&checker, Kind::Lost, 1);
}

/// Writes a register; its sequence number.
fn write(checker: &mut Checker, is_clearing: bool, is_acknowledged: bool) -> u64 {
    let sequence = checker.sent(PUBLISHER, REGISTER, QoS::AtLeastOnce, false);
    checker.registers.writing(REGISTER, sequence, is_clearing);
    if is_acknowledged {
        checker.acknowledged(PUBLISHER, sequence);
        checker.completed(PUBLISHER, sequence);
    }
    sequence
}

/// The number of mistakes that a reader of this value finds.
fn read(checker: &mut Checker, value: Option<u64>) -> u64 {
    let before = checker.violations.count(Kind::RetainedWrong);
    let floors = checker.registers.floors();
    let values: BTreeMap<u16, u64> = value.map(|value| (REGISTER, value)).into_iter().collect();
    checker.judge_retained(&floors, &values);
    checker.violations.count(Kind::RetainedWrong) - before
}

#[test]
fn a_register_has_the_last_acknowledged_value_or_a_later_one() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let old = write(&mut checker, false, true);
    let acknowledged = write(&mut checker, false, true);
    let later = write(&mut checker, false, false);
    assert_eq!(read(&mut checker, Some(acknowledged)), 0);
    assert_eq!(read(&mut checker, Some(later)), 0);
    assert_eq!(read(&mut checker, Some(old)), 1);
    // It is told once.
    assert_eq!(read(&mut checker, None), 0);
    write(&mut checker, false, true);
    assert_eq!(read(&mut checker, None), 1);
}

#[test]
fn a_register_that_is_cleared_is_empty() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let old = write(&mut checker, false, true);
    write(&mut checker, true, true);
    assert_eq!(read(&mut checker, None), 0);
    assert_eq!(read(&mut checker, Some(old)), 1);
    let value = write(&mut checker, false, true);
    write(&mut checker, true, false);
    assert_eq!(read(&mut checker, None), 0);
    assert_eq!(read(&mut checker, Some(value)), 0);
}

#[test]
fn a_reader_waits_for_what_must_be_there() {
    let mut checker = subscribed(QoS::AtLeastOnce);
    let value = write(&mut checker, false, true);
    let floors = checker.registers.floors();
    assert!(checker.awaits_retained(&floors, &BTreeMap::new()));
    assert!(!checker.awaits_retained(&floors, &BTreeMap::from([(REGISTER, value)])));
    write(&mut checker, true, false);
    assert!(!checker.awaits_retained(&floors, &BTreeMap::new()));
}

/// Durable sessions with these subscriptions at QoS 2, all acknowledged.
fn sessions(filters: &[&[&str]]) -> Checker {
    let mut checker = Checker::new(TOPICS.map(String::from).to_vec(), filters.len(), 1);
    for (client, filters) in filters.iter().enumerate() {
        checker.connecting(client, false);
        checker.connected(client, false, true);
        for filter in *filters {
            checker.subscribing(client, filter, QoS::ExactlyOnce);
            checker.subscribed(client, filter);
        }
    }
    checker
}

fn members() -> Checker {
    sessions(&[&["$share/g/s/#"], &["$share/g/s/#"]])
}

fn collector() -> Checker {
    sessions(&[&["s/#", "$share/h/s/#", "$share/i/s/#"]])
}

#[test]
fn a_group_gets_each_message_by_one_member() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut checker = members();
        for client in [1, 0] {
            let sequence = acknowledged_on(&mut checker, SHARED, qos);
            assert_eq!(checker.missing(), 1);
            deliver_on(&mut checker, client, SHARED, sequence, qos, false);
        }
        assert!(checker.judge().is_empty());
        found(&checker, Kind::Lost, 0);
    }
}

#[test]
fn a_message_that_no_member_gets_is_lost_once() {
    let mut checker = members();
    acknowledged_on(&mut checker, SHARED, QoS::AtLeastOnce);
    acknowledged_on(&mut checker, SHARED, QoS::ExactlyOnce);
    acknowledged_on(&mut checker, SHARED, QoS::AtMostOnce);
    checker.sent(PUBLISHER, SHARED, QoS::ExactlyOnce, false);
    checker.judge();
    found(&checker, Kind::Lost, 2);
}

#[test]
fn a_message_that_two_members_get_is_a_duplicate_but_at_qos_1() {
    for (qos, count) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 0), (QoS::ExactlyOnce, 1)] {
        let mut checker = members();
        let sequence = acknowledged_on(&mut checker, SHARED, qos);
        deliver_on(&mut checker, 0, SHARED, sequence, qos, false);
        deliver_on(&mut checker, 1, SHARED, sequence, qos, false);
        checker.judge();
        found(&checker, Kind::Duplicated, count);
    }
}

#[test]
fn members_need_no_order() {
    let mut checker = members();
    let sent = [0; 2].map(|_| acknowledged_on(&mut checker, SHARED, QoS::ExactlyOnce));
    for sequence in [sent[1], sent[0]] {
        deliver_on(&mut checker, 0, SHARED, sequence, QoS::ExactlyOnce, false);
    }
    checker.judge();
    found(&checker, Kind::Reordered, 0);
}

#[test]
fn a_session_gets_a_copy_for_itself_and_each_of_its_groups() {
    for (qos, copies, kind, count) in [
        (QoS::ExactlyOnce, 2, Kind::Lost, 1),
        (QoS::ExactlyOnce, 3, Kind::Lost, 0),
        (QoS::ExactlyOnce, 4, Kind::Duplicated, 1),
        (QoS::AtLeastOnce, 2, Kind::Lost, 1),
        (QoS::AtLeastOnce, 4, Kind::Duplicated, 0),
    ] {
        let mut checker = collector();
        let sequence = acknowledged_on(&mut checker, SHARED, qos);
        for _ in 0..copies {
            deliver_on(&mut checker, SUBSCRIBER, SHARED, sequence, qos, false);
        }
        checker.judge();
        found(&checker, kind, count);
    }
}

#[test]
fn a_copy_after_all_had_come_is_a_duplicate() {
    let mut checker = collector();
    let sequence = acknowledged_on(&mut checker, SHARED, QoS::ExactlyOnce);
    for _ in 0..3 {
        deliver_on(&mut checker, SUBSCRIBER, SHARED, sequence, QoS::ExactlyOnce, false);
    }
    checker.judge();
    deliver_on(&mut checker, SUBSCRIBER, SHARED, sequence, QoS::ExactlyOnce, false);
    found(&checker, Kind::Duplicated, 1);
}

/// A session that subscribes to registers, and the number of a write that was there before.
fn creditor() -> (Checker, u64) {
    let mut checker = sessions(&[&[]]);
    let value = write(&mut checker, false, true);
    checker.subscribing(SUBSCRIBER, "r/#", QoS::ExactlyOnce);
    checker.subscribed(SUBSCRIBER, "r/#");
    (checker, value)
}

fn replay(checker: &mut Checker, sequence: u64, qos: QoS) {
    deliver_on(checker, SUBSCRIBER, REGISTER, sequence, qos, true);
}

#[test]
fn a_retained_message_comes_once_for_each_subscribe() {
    let (mut checker, value) = creditor();
    assert_eq!(checker.missing(), 1);
    replay(&mut checker, value, QoS::ExactlyOnce);
    checker.subscribing(SUBSCRIBER, "r/#", QoS::ExactlyOnce);
    replay(&mut checker, value, QoS::ExactlyOnce);
    assert_eq!(checker.missing(), 0);
    found(&checker, Kind::Duplicated, 0);
    replay(&mut checker, value, QoS::ExactlyOnce);
    found(&checker, Kind::Duplicated, 1);
}

#[test]
fn a_retained_message_that_comes_again_after_all_was_quiet_is_a_duplicate_but_at_qos_1() {
    for (qos, count) in [(QoS::AtLeastOnce, 0), (QoS::ExactlyOnce, 1)] {
        let (mut checker, value) = creditor();
        replay(&mut checker, value, qos);
        checker.judge();
        replay(&mut checker, value, qos);
        found(&checker, Kind::Duplicated, count);
    }
}

#[test]
fn a_subscription_that_was_over_before_the_write_is_no_reason_for_it() {
    let (mut checker, value) = creditor();
    replay(&mut checker, value, QoS::ExactlyOnce);
    checker.unsubscribing(SUBSCRIBER, "r/#");
    checker.unsubscribed(SUBSCRIBER, "r/#");
    let later = write(&mut checker, false, true);
    replay(&mut checker, later, QoS::ExactlyOnce);
    found(&checker, Kind::Duplicated, 1);
}

#[test]
fn a_retained_message_that_is_owed_and_never_comes_is_missed_once() {
    let (mut checker, _) = creditor();
    checker.judge();
    found(&checker, Kind::RetainedWrong, 1);
    checker.judge();
    found(&checker, Kind::RetainedWrong, 1);
}

#[test]
fn a_write_comes_once_as_it_is_written() {
    let (mut checker, value) = creditor();
    replay(&mut checker, value, QoS::ExactlyOnce);
    let sequence = checker.sent(PUBLISHER, REGISTER, QoS::ExactlyOnce, false);
    checker.writing(PUBLISHER, sequence, false);
    checker.acknowledged(PUBLISHER, sequence);
    checker.completed(PUBLISHER, sequence);
    let live = |checker: &mut Checker| {
        deliver_on(checker, SUBSCRIBER, REGISTER, sequence, QoS::ExactlyOnce, false);
    };
    assert_eq!(checker.missing(), 1);
    live(&mut checker);
    checker.judge();
    found(&checker, Kind::Duplicated, 0);
    live(&mut checker);
    found(&checker, Kind::Duplicated, 1);
}

#[test]
fn a_write_that_clears_a_register_has_no_name_and_is_not_missed() {
    let (mut checker, value) = creditor();
    replay(&mut checker, value, QoS::ExactlyOnce);
    let sequence = checker.sent(PUBLISHER, REGISTER, QoS::ExactlyOnce, false);
    checker.writing(PUBLISHER, sequence, true);
    checker.acknowledged(PUBLISHER, sequence);
    checker.completed(PUBLISHER, sequence);
    let publish = Publish { topic: TOPICS[usize::from(REGISTER)], ..Publish::default() };
    assert_eq!(checker.delivered(SUBSCRIBER, &publish), None);
    checker.judge();
    found(&checker, Kind::Lost, 0);
}

#[test]
fn writes_in_turn_need_no_order_between_clients_but_a_register_goes_by_it() {
    let (mut checker, value) = creditor();
    checker.publishers[PUBLISHER as usize].is_relay = true;
    replay(&mut checker, value, QoS::AtLeastOnce);
    let sent = [0; 2].map(|_| write(&mut checker, false, true));
    for sequence in [sent[1], sent[0]] {
        deliver_on(&mut checker, SUBSCRIBER, REGISTER, sequence, QoS::AtLeastOnce, false);
    }
    checker.judge();
    found(&checker, Kind::Reordered, 0);
    assert_eq!(read(&mut checker, Some(sent[0])), 1);
}
