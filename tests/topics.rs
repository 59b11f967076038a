//! The subscription tree and the retained store against something simpler: a list of filters and
//! the naive matcher.

mod support;

use proptest::prelude::*;
use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::mqtt::{self, SubscriptionOptions, TopicFilter};
use ringmq::testing::{node_count, retained_count};
use ringmq::topics::{
    Extras, Interest, Matches, Retained, RetainedMessage, Subscriber, Subscriptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LEVELS_MAX: usize = 16;

/// Few levels, so that filters and topics meet often.
fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        3 => Just("a"), 2 => Just("b"), 1 => Just(""), 1 => Just("$x"), 3 => Just("+"),
    ];
    (proptest::collection::vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, is_open)| {
        if is_open {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn topic() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just(""), 1 => Just("$x")];
    proptest::collection::vec(level, 1..6).prop_map(|levels| levels.join("/"))
}

#[derive(Debug, Clone)]
enum Change {
    Subscribe(u32, String),
    Unsubscribe(u32, String),
    Learn(WorkerId, String, bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..40u32, filter()).prop_map(|(session, filter)| Change::Subscribe(session, filter)),
        2 => (0..40u32, filter()).prop_map(|(session, f)| Change::Unsubscribe(session, f)),
        1 => (1..5u16, filter(), any::<bool>())
            .prop_map(|(worker, filter, on)| Change::Learn(WorkerId(worker), filter, on)),
    ]
}

#[derive(Default)]
struct Naive {
    subscriptions: BTreeSet<(u32, String)>,
    interest: BTreeSet<(WorkerId, String)>,
}

fn parse(filter: &str) -> Option<TopicFilter<'_>> {
    TopicFilter::parse(filter, LEVELS_MAX).ok()
}

fn apply(change: &Change, tree: &mut Subscriptions, naive: &mut Naive) {
    match change {
        Change::Subscribe(session, text) => {
            let Some(filter) = parse(text) else { return };
            let options = SubscriptionOptions::default();
            let subscriber = Subscriber { session: *session, extras: Extras::default(), options };
            let done = tree.subscribe(filter, subscriber);
            assert_eq!(&*tree.filter(done.place), text);
            assert_eq!(tree.subscriber(*session, done.place), Some(&subscriber));
            assert_eq!(done.existed, !naive.subscriptions.insert((*session, text.clone())));
        }
        Change::Unsubscribe(session, text) => {
            let Some(filter) = parse(text) else { return };
            let gone = tree.unsubscribe(*session, filter);
            assert_eq!(gone.is_some(), naive.subscriptions.remove(&(*session, text.clone())));
            let others_stay = naive.subscriptions.iter().any(|(_, known)| known == text);
            if let Some(gone) = gone {
                assert_eq!(
                    gone.news.is_none(),
                    others_stay,
                    "the other workers are told of the last"
                );
            }
        }
        Change::Learn(worker, text, is_wanted) => {
            let Some(filter) = parse(text) else { return };
            let members = u32::from(*is_wanted);
            tree.learn(filter, Interest { worker: *worker, members, online: 0 });
            match is_wanted {
                true => naive.interest.insert((*worker, text.clone())),
                false => naive.interest.remove(&(*worker, text.clone())),
            };
        }
    }
}

proptest! {
    #![proptest_config(support::cases(400))]

    #[test]
    fn the_tree_matches_what_the_naive_matcher_matches(
        changes in proptest::collection::vec(change(), 0..200),
        topics in proptest::collection::vec(topic(), 1..20),
    ) {
        let mut tree = Subscriptions::new(WorkerId(0), 7);
        let mut naive = Naive::default();
        for change in &changes {
            apply(change, &mut tree, &mut naive);
        }
        let mut matches = Matches::default();
        for topic in &topics {
            tree.matching(topic, &mut matches);
            let mut found: Vec<u32> = matches
                .nodes
                .iter()
                .flat_map(|&node| tree.subscribers(node).iter().map(|s| s.session))
                .collect();
            found.sort_unstable();
            let is_match = |filter: &String| mqtt::matches(filter, topic);
            let mut expected: Vec<u32> =
                naive.subscriptions.iter().filter(|(_, f)| is_match(f)).map(|(s, _)| *s).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected, "topic {:?}", topic);
            let workers: BTreeSet<WorkerId> = matches.workers.iter().collect();
            let expected: BTreeSet<WorkerId> =
                naive.interest.iter().filter(|(_, f)| is_match(f)).map(|(w, _)| *w).collect();
            prop_assert_eq!(workers, expected, "topic {:?}", topic);
        }
        for (session, text) in std::mem::take(&mut naive.subscriptions) {
            tree.unsubscribe(session, parse(&text).unwrap()).unwrap();
        }
        for (worker, text) in naive.interest {
            let nothing = Interest { worker, members: 0, online: 0 };
            tree.learn(parse(&text).unwrap(), nothing);
        }
        prop_assert_eq!(node_count(&tree), 0, "nodes were left behind");
    }

    #[test]
    fn pages_of_retained_messages_are_what_the_naive_matcher_matches(
        changes in proptest::collection::vec((topic(), 0..50u64, any::<bool>()), 0..100),
        filter in filter(),
        count_max in 1..5usize,
        visits_max in 1..7usize,
    ) {
        let Some(parsed) = parse(&filter) else { return Ok(()) };
        let mut store = Retained::default();
        let mut naive: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        for (topic, version, clears) in changes {
            let message = Arc::new(Message { topic: topic.clone(), version, clears });
            store.store(message.clone());
            if clears && version % 2 == 0 {
                store.forget_cleared(&message);
            }
            naive.insert(topic, (version, clears));
        }
        naive.retain(|_, (_, clears)| !*clears);
        let naive: BTreeMap<_, _> = naive.into_iter().map(|(topic, (v, _))| (topic, v)).collect();
        prop_assert_eq!(retained_count(&store), naive.len());
        let mut found = Vec::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = store.page(parsed.filter, after.as_deref(), count_max, visits_max);
            prop_assert!(page.messages.len() <= count_max);
            found.extend(page.messages.iter().map(|m| (m.topic.clone(), m.version)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> =
            naive.into_iter().filter(|(topic, _)| mqtt::matches(parsed.filter, topic)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[derive(Debug)]
struct Message {
    topic: String,
    version: u64,
    clears: bool,
}

impl RetainedMessage for Message {
    fn payload_len(&self) -> usize {
        1
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    fn clears(&self) -> bool {
        self.clears
    }

    fn expires(&self) -> Option<Time> {
        None
    }
}

/// A replay of one topic that an earlier process has sent is not begun anew.
#[test]
fn a_page_behind_the_only_topic_of_a_filter_is_empty() {
    let mut store = Retained::default();
    store.store(Arc::new(Message { topic: "a".to_owned(), version: 1, clears: false }));
    let count = |after| store.page("a", after, 9, 9).messages.len();
    assert_eq!([None, Some("a"), Some("Z"), Some("b")].map(count), [1, 0, 1, 0]);
}

/// A group is one, wherever its members are, and goes with the last of them.
#[test]
fn groups_live_as_long_as_any_member() {
    let mut tree = Subscriptions::new(WorkerId(0), 7);
    let text = "$share/g/a/+";
    let filter = parse(text).unwrap();
    let options = SubscriptionOptions::default();
    for session in 0..40 {
        tree.subscribe(filter, Subscriber { session, extras: Extras::default(), options });
    }
    tree.learn(filter, Interest { worker: WorkerId(3), members: 2, online: 1 });
    let mut matches = Matches::default();
    tree.matching("a/b", &mut matches);
    let group = tree.group(matches.groups[0]);
    assert_eq!((group.members.as_slice().len(), group.members.online()), (40, 40));
    assert_eq!(
        group.elsewhere.as_slice(),
        [Interest { worker: WorkerId(3), members: 2, online: 1 }]
    );
    for session in 0..40 {
        assert!(tree.unsubscribe(session, filter).is_some());
    }
    tree.matching("a/b", &mut matches);
    assert_eq!(matches.groups.len(), 1, "worker 3 still has members");
    tree.learn(filter, Interest { worker: WorkerId(3), members: 0, online: 0 });
    assert_eq!(node_count(&tree), 0);
}
