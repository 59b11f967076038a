//! Records, commits, what is gathered and what it comes to: by properties, and case by case.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/workload.rs"]
mod workload;

use proptest::prelude::*;
use ringmq::base::ids::{
    DeliveryName, DeliveryNumber, MessageId, PartNumber, RecordName, SessionNumber, WorkerId,
};
use ringmq::mqtt::{Properties, QoS};
use ringmq::store::record::{Numbers, Owed, Record, StoredDelivery, Subscription};
use ringmq::store::{
    Batch, CommitBuilder, CommitWriter, Entry, Epoch, Message, Part, Piece, PublishEntry,
    Recipients, SEGMENT_HEADER, SegmentHeader, Stamp, State, Submission, Traits, Way, pieces,
};
use std::borrow::Cow;
use std::sync::Arc;
use workload::{Payloads, Workload, canonical, encoded, payloads};

const STAMP: Stamp = Stamp { salt: 7, number: 1 };

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn records_decode_to_what_was_encoded(seed in any::<u64>()) {
        let mut workload = Workload::new(seed, Payloads::new());
        for number in 1..6 {
            workload.step(Stamp { salt: 7, number });
        }
        for payload in workload.commits.iter().flatten() {
            let record = Record::decode(payload).unwrap();
            prop_assert_eq!(&encoded(&record), payload);
            // No record is the beginning of another one, nor its end.
            let longer = [&payload[..], &[0]].concat();
            prop_assert!(Record::decode(&longer).is_err());
            prop_assert!(Record::decode(&payload[..payload.len() - 1]).is_err());
        }
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
        let _ = pieces(&bytes, 7, 1);
        let _ = SegmentHeader::decode(&bytes);
    }

    #[test]
    fn numbers_come_back(numbers in prop::collection::vec(any::<u64>(), 0..50)) {
        let way = Way { qos: 1, retain: false, packet_id: 0 };
        let mut recipients = Recipients::default();
        numbers.iter().for_each(|&number| recipients.add(SessionNumber(number), way));
        let publish = publish(message(1, 1, b"x"), recipients, 0);
        let record = publish.record(Epoch(0), true);
        let bytes = encoded(&record);
        let Record::Published(published) = Record::decode(&bytes).unwrap() else { panic!() };
        let groups = published.groups.iter();
        let found: Vec<u64> = groups.flat_map(|g| g.sessions.0.iter().map(|s| s.0)).collect();
        prop_assert_eq!(found, numbers);
    }

    #[test]
    fn a_commit_holds_its_records(salt in any::<u64>(), number in 1_u64.., count in 1_u64..20) {
        let stamp = Stamp { salt, number };
        let mut writer = CommitWriter::new(stamp, Vec::new());
        let session = |i: u64| SessionNumber((i * i) << i);
        let records: Vec<_> = (0..count).map(|i| Record::Ended { session: session(i) }).collect();
        records.iter().for_each(|record| writer.write(record));
        let bytes = [vec![0; SEGMENT_HEADER], writer.finish()].concat();
        let read = |salt| -> Vec<Vec<u8>> {
            pieces(&bytes, salt, number).iter().filter_map(|piece| match piece {
                Piece::Record { payload, commit, .. } => {
                    assert_eq!(*commit, number);
                    Some(payload.to_vec())
                }
                Piece::Gap { .. } => None,
            }).collect()
        };
        prop_assert_eq!(read(salt), records.iter().map(encoded).collect::<Vec<_>>());
        prop_assert!(read(salt ^ 1).is_empty(), "another journal's salt reads nothing");
    }

    #[test]
    fn records_anew_come_to_the_same(seed in any::<u64>()) {
        let mut workload = Workload::new(seed, Payloads::new());
        for number in 1..25 {
            workload.step(Stamp { salt: 7, number });
        }
        let state = workload.state_after(workload.commits.len());
        let mut again = State::new(Epoch(0));
        let anew: Payloads = state.records().map(|record| encoded(&record)).collect();
        // Twice, since every record can be applied twice.
        anew.iter().chain(&anew).for_each(|bytes| again.apply(Record::decode(bytes).unwrap()));
        again.finish();
        prop_assert_eq!(canonical(&again), canonical(&state));
    }

    /// Whatever is missing before a whole rewrite makes no difference after it.
    #[test]
    fn a_suffix_with_a_whole_rewrite_is_enough(seed in any::<u64>(), before in 5_usize..25) {
        let mut workload = Workload::new(seed, Payloads::new());
        let mut number = 0;
        let mut step = |workload: &mut Workload| {
            number += 1;
            workload.step(Stamp { salt: 7, number });
        };
        (0..before).for_each(|_| step(&mut workload));
        let begun = workload.commits.len();
        workload.begin_rewrite(2);
        (0..400).for_each(|_| if workload.has_rewrite() { step(&mut workload) });
        (0..6).for_each(|_| step(&mut workload));
        if !workload.has_rewrite() {
            let all = canonical(&workload.state_after(workload.commits.len()));
            for from in 0..=begun {
                let mut state = State::new(Epoch(0));
                let payloads = workload.commits[from..].iter().flatten();
                payloads.for_each(|bytes| state.apply(Record::decode(bytes).unwrap()));
                state.finish();
                prop_assert!(canonical(&state) == all, "from commit {} of {}", from, begun);
            }
        }
    }
}

fn message(id: u64, version: u64, payload: &[u8]) -> Arc<Message> {
    let traits = Traits {
        qos: QoS::AtLeastOnce,
        retain: true,
        expires: None,
        publisher: SessionNumber(0),
        received: ringmq::base::time::Time::ZERO,
        id: MessageId(id),
    };
    let message = Message::new("t", &Properties::from_bytes(&[]), payload, traits, None);
    message.set_version(version);
    Arc::new(message)
}

fn name(session: u64, number: u64) -> DeliveryName {
    DeliveryName { session: SessionNumber(session), number: DeliveryNumber(number) }
}

fn to(sessions: &[u64]) -> Recipients {
    let mut recipients = Recipients::default();
    let way = Way { qos: 1, retain: false, packet_id: 0 };
    sessions.iter().for_each(|&session| recipients.add(SessionNumber(session), way));
    recipients
}

fn publish(message: Arc<Message>, recipients: Recipients, parts: u32) -> PublishEntry {
    PublishEntry {
        is_new: message.note_stored(1),
        record: message.id.into(),
        message,
        retained: None,
        received: None,
        taken: None,
        recipients,
        parts,
    }
}

fn batch(publish: PublishEntry) -> Submission {
    let entries = vec![Entry::Publish(Box::new(publish))];
    Submission::Batch(Batch { entries, ..Batch::default() })
}

fn part(number: u64, record: u64, sessions: &[u64], more: u32) -> Submission {
    Submission::Parts(vec![Part {
        number: PartNumber(number),
        record: RecordName(record),
        recipients: to(sessions),
        retained: None,
        more,
    }])
}

fn deliveries(state: &State, session: u64) -> Vec<u64> {
    state.sessions[&SessionNumber(session)]
        .deliveries()
        .iter()
        .map(|(message, _)| message.0)
        .collect()
}

#[test]
fn parts_may_come_before_the_record_or_after_it() {
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
        let mut gatherer = CommitBuilder::new(3, Epoch(0));
        for (place, step) in order.into_iter().enumerate() {
            match step {
                0 => gatherer.take(WorkerId(0), batch(publish(message(5, 1, b"x"), to(&[1]), 1))),
                // The first part asks for another one.
                1 => gatherer.take(WorkerId(1), part(11, 5, &[2], 1)),
                _ => gatherer.take(WorkerId(2), part(12, 5, &[3], 0)),
            }
            let commit = gatherer.next(STAMP);
            assert_eq!(commit.is_some(), place == 2, "{order:?}");
            let Some(commit) = commit else { continue };
            assert!(commit.heard[WorkerId(0)].has_batch && !commit.heard[WorkerId(1)].has_batch);
            let parts = [&commit.heard[WorkerId(1)].parts, &commit.heard[WorkerId(2)].parts];
            assert_eq!(parts, [&vec![PartNumber(11)], &vec![PartNumber(12)]]);
            let list = payloads(&commit.bytes);
            let Record::Published(record) = Record::decode(&list[0]).unwrap() else { panic!() };
            let mut sessions: Vec<_> =
                record.groups.iter().flat_map(|g| g.sessions.0.iter().map(|s| s.0)).collect();
            sessions.sort_unstable();
            assert_eq!((list.len(), sessions), (1, vec![1, 2, 3]));
        }
    }
}

#[test]
fn two_workers_that_wait_for_each_other_both_get_what_they_wait_for() {
    let mut gatherer = CommitBuilder::new(2, Epoch(0));
    gatherer.take(WorkerId(0), batch(publish(message(4, 1, b"x"), to(&[]), 1)));
    gatherer.take(WorkerId(1), batch(publish(message(5, 2, b"y"), to(&[]), 1)));
    assert!(gatherer.next(STAMP).is_none());
    gatherer.take(WorkerId(0), part(1, 5, &[8], 0));
    gatherer.take(WorkerId(1), part(1, 4, &[9], 0));
    let commit = gatherer.next(STAMP).unwrap();
    assert!(commit.heard.values().all(|heard| heard.has_batch && heard.parts == [PartNumber(1)]));
    assert_eq!(payloads(&commit.bytes).len(), 2);
}

#[test]
fn parts_are_found_by_the_records_name_and_not_by_the_messages() {
    let mut gatherer = CommitBuilder::new(2, Epoch(0));
    // A share that goes on to another worker: the message keeps its id, the record has a new name.
    let handed_over =
        PublishEntry { record: RecordName(77), ..publish(message(5, 1, b"x"), to(&[]), 1) };
    gatherer.take(WorkerId(0), batch(handed_over));
    gatherer.take(WorkerId(1), part(1, 77, &[2], 0));
    let commit = gatherer.next(STAMP).expect("all parts are there");
    assert_eq!(commit.heard[WorkerId(1)].parts, [PartNumber(1)]);
    let list = payloads(&commit.bytes);
    let Record::Published(record) = Record::decode(&list[0]).unwrap() else { panic!() };
    assert_eq!(record.groups.len(), 1);
}

#[test]
fn a_message_for_nobody_leaves_no_record_but_whoever_counts_on_its_bytes_gets_them() {
    for is_wanted in [false, true] {
        let mut gatherer = CommitBuilder::new(2, Epoch(0));
        let void = message(5, 1, b"x");
        gatherer.take(WorkerId(0), batch(publish(void.clone(), to(&[]), 1)));
        if is_wanted {
            assert!(!void.note_stored(1), "somebody has said that it is to be written");
        }
        gatherer.take(WorkerId(1), part(3, 5, &[], 0));
        let commit = gatherer.next(STAMP).unwrap();
        assert!(
            commit.heard[WorkerId(0)].has_batch
                && commit.heard[WorkerId(1)].parts == [PartNumber(3)]
        );
        assert_eq!(commit.bytes.is_empty(), !is_wanted);
        assert_eq!(void.note_stored(1), !is_wanted);
    }
}

#[test]
fn a_record_without_its_bytes_does_not_claim_to_have_them() {
    let mut gatherer = CommitBuilder::new(2, Epoch(0));
    let unwanted = message(5, 1, b"x");
    let received = PublishEntry {
        received: Some((SessionNumber(1), 9)),
        ..publish(unwanted.clone(), to(&[]), 1)
    };
    gatherer.take(WorkerId(0), batch(received));
    gatherer.take(WorkerId(1), part(3, 5, &[], 0));
    let list = payloads(&gatherer.next(STAMP).unwrap().bytes);
    let Record::Published(record) = Record::decode(&list[0]).unwrap() else { panic!() };
    assert!(record.body.is_none());
    assert!(unwanted.note_stored(1), "who needs them later has to write them");
}

/// A state with the session 1.
fn state() -> State {
    let mut workload = Workload::new(1, Payloads::new());
    let mut state = State::new(Epoch(0));
    let mut number = 0;
    while workload.state_after(workload.commits.len()).sessions.is_empty() {
        number += 1;
        workload.step(Stamp { salt: 7, number });
    }
    let attributes = workload.state_after(workload.commits.len());
    let (_, session) = attributes.sessions.into_iter().next().unwrap();
    let mut attributes = session.attributes;
    attributes.session = SessionNumber(1);
    state.apply(Record::Session(attributes));
    state
}

fn apply(state: &mut State, publish: &PublishEntry) {
    state.apply(publish.record(Epoch(0), true));
}

#[test]
fn a_share_may_be_taken_before_it_is_there() {
    let mut state = state();
    let taken =
        PublishEntry { taken: Some(name(1, 5)), ..publish(message(5, 1, b"x"), to(&[]), 0) };
    apply(&mut state, &taken);
    apply(&mut state, &publish(message(5, 1, b"x"), to(&[1]), 0));
    apply(&mut state, &publish(message(6, 2, b"x"), to(&[1]), 0));
    assert_eq!(deliveries(&state, 1), [6]);
    apply(&mut state, &taken);
    // The share comes back: another delivery, which what ended the first one does not end.
    let mut back = Recipients::default();
    back.add_other(
        SessionNumber(1),
        StoredDelivery { number: DeliveryNumber(9), qos: 1, ..Default::default() },
    );
    apply(&mut state, &publish(message(5, 1, b"x"), back, 0));
    state.apply(Record::Done(vec![name(1, 5)]));
    state.finish();
    assert_eq!(deliveries(&state, 1), [6, 5]);
}

#[test]
fn a_member_that_is_given_back_its_own_message_keeps_it() {
    let mut state = state();
    apply(&mut state, &publish(message(5, 1, b"x"), to(&[1]), 0));
    let mut back = Recipients::default();
    back.add_other(
        SessionNumber(1),
        StoredDelivery { number: DeliveryNumber(9), qos: 1, ..Default::default() },
    );
    let given_back =
        PublishEntry { taken: Some(name(1, 5)), ..publish(message(5, 1, b"x"), back, 0) };
    for _ in 0..2 {
        apply(&mut state, &given_back);
        assert_eq!(state.sessions[&SessionNumber(1)].deliveries().len(), 1);
    }
    state.apply(Record::Done(vec![name(1, 9)]));
    assert!(deliveries(&state, 1).is_empty());
}

#[test]
fn every_copy_of_a_message_has_an_end_of_its_own() {
    let mut state = state();
    let mut copies = to(&[1]);
    for number in [8, 9] {
        copies.add_other(
            SessionNumber(1),
            StoredDelivery { number: DeliveryNumber(number), qos: 2, ..Default::default() },
        );
    }
    apply(&mut state, &publish(message(5, 1, b"x"), copies, 0));
    assert_eq!(deliveries(&state, 1), [5, 5, 5]);
    state.apply(Record::Done(vec![name(1, 8)]));
    state.apply(Record::Released { session: SessionNumber(1), delivery: DeliveryNumber(9) });
    let ways = state.sessions[&SessionNumber(1)].deliveries();
    let ways: Vec<_> = ways.iter().map(|(_, way)| (way.number.0, way.is_released)).collect();
    assert_eq!(ways, [(0, false), (9, true)]);
}

#[test]
fn what_was_acknowledged_of_a_record_leaves_other_copies_and_what_it_overtakes() {
    let other = |number, overtakes: Vec<u32>| StoredDelivery {
        number: DeliveryNumber(number),
        qos: 1,
        overtakes,
        ..Default::default()
    };
    let mut recipients = to(&[1, 2]);
    recipients.add_other(SessionNumber(1), other(8, vec![]));
    recipients.add_other(SessionNumber(2), other(0, vec![3]));
    recipients.leave_out(&[SessionNumber(1), SessionNumber(2)], &[]);
    let publish = publish(message(5, 1, b"x"), recipients, 0);
    let Record::Published(left) = publish.record(Epoch(0), true) else { panic!() };
    assert!(left.groups.is_empty());
    let left: Vec<_> = left.others.iter().map(|(s, way)| (s.0, way.number.0, way.qos)).collect();
    assert_eq!(left, [(1, 8, 1), (2, 0, 0)]);
}

/// A subscription of the session 1 that is owed what is retained.
fn owed(state: &mut State, number: u32) {
    let subscription = Subscription {
        filter: "#".into(),
        options: 2,
        subscription_id: 0,
        owed: Some(Owed { number, ..Owed::default() }),
    };
    state.apply(Record::Subscribed { session: SessionNumber(1), subscription });
}

#[test]
fn what_a_replay_has_sent_and_what_went_live_is_not_owed_any_more() {
    let replay =
        StoredDelivery { number: DeliveryNumber(20), qos: 2, replay: 7, ..Default::default() };
    let live = StoredDelivery { qos: 1, overtakes: vec![7], ..Default::default() };
    let to_one = |way: &StoredDelivery<'static>| {
        let mut recipients = Recipients::default();
        recipients.add_other(SessionNumber(1), way.clone());
        recipients
    };
    // Workers are not in step: what went live may be written before the subscription.
    for live_first in [false, true] {
        let mut state = state();
        let retained =
            PublishEntry { retained: Some(9), ..publish(message(6, 9, b"live"), to_one(&live), 0) };
        if live_first {
            apply(&mut state, &retained);
        }
        owed(&mut state, 7);
        apply(&mut state, &publish(message(5, 1, b"x"), to_one(&replay), 0));
        if !live_first {
            apply(&mut state, &retained);
        }
        state.apply(Record::Done(vec![name(1, 20), name(1, 6)]));
        state.finish();
        let owed = state.sessions[&SessionNumber(1)].subscriptions["#"].owed.as_ref().unwrap();
        assert_eq!((&*owed.after, owed.overtaken.as_slice()), ("t", &[MessageId(6)][..]));
    }
}

/// Old directories have lists of all the subscriptions whose filters match.
#[test]
fn a_live_message_is_not_owed_for_any_subscription_before_the_last_that_it_overtakes() {
    for overtakes in [vec![7], vec![7, 5, 4]] {
        for unsubscribed_first in [false, true] {
            let mut state = state();
            let subscribe = |state: &mut State, filter: &'static str, number| {
                let subscription = Subscription {
                    filter: filter.into(),
                    options: 2,
                    subscription_id: 0,
                    owed: Some(Owed { number, ..Owed::default() }),
                };
                state.apply(Record::Subscribed { session: SessionNumber(1), subscription });
            };
            let filters = [("t/#", 4), ("+", 5), ("other", 6), ("#", 7)];
            filters.into_iter().for_each(|(filter, number)| subscribe(&mut state, filter, number));
            let gone = Record::Unsubscribed { session: SessionNumber(1), filter: "#".into() };
            if unsubscribed_first {
                state.apply(gone.clone());
            }
            let live =
                StoredDelivery { qos: 1, overtakes: overtakes.clone(), ..Default::default() };
            let mut to_one = Recipients::default();
            to_one.add_other(SessionNumber(1), live);
            let retained =
                PublishEntry { retained: Some(9), ..publish(message(6, 9, b"live"), to_one, 0) };
            apply(&mut state, &retained);
            // What was subscribed to since is owed the message.
            subscribe(&mut state, "+/#", 8);
            state.apply(gone);
            let check = |state: &State| {
                let subscriptions = &state.sessions[&SessionNumber(1)].subscriptions;
                let owed = subscriptions.values().filter_map(|known| known.owed.as_ref());
                let mut owed: Vec<_> = owed.map(|o| (o.number, o.overtaken.clone())).collect();
                owed.sort_unstable();
                // The greatest number that is left speaks for those below.
                let expected = [(4, vec![]), (5, vec![]), (6, vec![MessageId(6)]), (8, vec![])];
                assert_eq!(owed, expected, "{overtakes:?}");
            };
            let anew: Vec<Vec<u8>> = state.records().map(|record| encoded(&record)).collect();
            state.finish();
            check(&state);
            let mut again = State::new(Epoch(0));
            anew.iter().for_each(|bytes| again.apply(Record::decode(bytes).unwrap()));
            again.finish();
            check(&again);
        }
    }
}

/// Else an earlier note, which has a greater number, would be about a later replay.
#[test]
fn the_numbers_of_replays_go_on_behind_all_that_any_record_names() {
    let begun = |state: &State| state.sessions[&SessionNumber(1)].replays_begun;
    let mut state = state();
    owed(&mut state, 3);
    assert_eq!(begun(&state), 3);
    state.apply(Record::Replayed { session: SessionNumber(1), filter: "#".into() });
    let mut to_one = Recipients::default();
    let live = StoredDelivery { qos: 1, overtakes: vec![7], ..Default::default() };
    to_one.add_other(SessionNumber(1), live);
    let whole = state.records().find(|record| matches!(record, Record::Whole(_))).unwrap();
    let whole = encoded(&whole);
    apply(&mut state, &publish(message(6, 9, b"live"), to_one, 0));
    state.apply(Record::decode(&whole).unwrap());
    state.finish();
    assert_eq!(begun(&state), 7);
}

#[test]
fn what_was_done_says_nothing_of_what_comes_later() {
    let mut state = state();
    state.apply(Record::Done(vec![name(1, 5)]));
    apply(&mut state, &publish(message(5, 1, b"x"), to(&[1]), 0));
    state.finish();
    assert_eq!(deliveries(&state, 1), [5]);
}

#[test]
fn an_older_version_loses_and_an_empty_payload_clears() {
    let retain = |state: &mut State, id, version, payload: &[u8]| {
        let publish = publish(message(id, version, payload), to(&[]), 0);
        apply(state, &PublishEntry { retained: Some(version), ..publish });
    };
    let retained = |state: &State| state.retained().map(|message| message.id.0).collect::<Vec<_>>();
    let mut state = state();
    retain(&mut state, 5, 10, b"new");
    retain(&mut state, 6, 9, b"old");
    assert_eq!(retained(&state), [5]);
    retain(&mut state, 7, 11, b"");
    assert!(retained(&state).is_empty());
    retain(&mut state, 8, 10, b"too late");
    assert!(retained(&state).is_empty());
    retain(&mut state, 9, 12, b"newest");
    state.finish();
    assert_eq!(retained(&state), [9]);
    assert_eq!((state.messages.len(), state.version_max), (1, 12));
}

#[test]
fn every_number_that_was_ever_used_counts() {
    let way = StoredDelivery { qos: 2, is_released: true, packet_id: 3, ..Default::default() };
    let mut with_delivery = state();
    let bytes = with_delivery.records().map(|record| encoded(&record)).next().unwrap();
    let Record::Whole(mut whole) = Record::decode(&bytes).unwrap() else { panic!() };
    whole.deliveries.push((MessageId(900), way));
    with_delivery.apply(Record::Whole(whole));
    assert_eq!(with_delivery.number_max, 900, "of which only PUBREL is left");
    let mut done = state();
    done.apply(Record::Done(vec![name(1, 901)]));
    assert_eq!(done.number_max, 901);
}

#[test]
fn numbers_that_follow_each_other_take_a_byte_each() {
    let list: Vec<u64> = (1_000_000..1_000_100).collect();
    let published = publish(message(1, 1, b""), to(&list), 0);
    assert!(encoded(&published.record(Epoch(0), false)).len() < 115);
    let list: Vec<_> = list.into_iter().map(SessionNumber).collect();
    assert_eq!(Numbers(Cow::Borrowed(&list)).0.len(), 100);
}
