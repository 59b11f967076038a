//! What a bare shard tells the audit log: of wills, of packets that are done in pieces, and nothing
//! without a trail.

mod support;

use ringmq::audit::{Entry, Trail};
use ringmq::broker::LinkId;
use ringmq::mqtt::{Connect, Version, Will};
use ringmq::options::Options;
use ringmq::testing;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect, packet, text};

/// A shard with an audit log, under these rules.
struct World {
    broker: Bare,
    noted: Arc<Mutex<Vec<Entry>>>,
}

impl World {
    fn new(rules: Option<&str>) -> Self {
        let policy = testing::policy(true, None, rules).unwrap();
        let mut broker = Bare::with_policies(Options::default(), Arc::new([policy]));
        let noted = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&noted);
        broker.shard.keep_audit(Trail::new(move |entry| sink.lock().unwrap().push(entry.clone())));
        Self { broker, noted }
    }

    fn enter(&mut self, connect: &Connect<'_>) -> LinkId {
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        self.broker.connected(&bytes)
    }

    /// What was noted of an event, as JSON.
    fn noted(&self, event: &str) -> Vec<Value> {
        let all = self.noted.lock().unwrap();
        let all = all.iter().map(|entry| format!("{{{}}}", entry.fields()));
        let all = all.map(|json| serde_json::from_str::<Value>(&json).unwrap());
        all.filter(|entry| entry["event"] == event).collect()
    }
}

#[test]
fn a_will_that_clears_a_topic_or_may_not_be_published_any_more_is_told() {
    let mut world = World::new(Some("topic readwrite #\n"));
    let will = |topic| Will { topic, retain: true, delay_s: 10, ..Will::default() };
    for (id, topic) in [("one", "clears"), ("two", "closed")] {
        let mut connect = Connect::new(Version::V5, id);
        (connect.will, connect.session_expiry_s) = (Some(will(topic)), 60);
        let link = world.enter(&connect);
        world.broker.drop_link(link);
    }
    let rules = testing::policy(true, None, Some("topic readwrite clears\n")).unwrap();
    world.broker.reload(Options::default(), Arc::new([rules]));
    world.broker.wait(Duration::from_secs(20));
    let [cleared] = &world.noted("retained_deleted")[..] else { panic!("{:?}", world.noted) };
    assert_eq!((&cleared["topic"], &cleared["is_will"]), (&"clears".into(), &true.into()));
    assert_eq!(cleared["client_id"], "one");
    let [denied] = &world.noted("publish_denied")[..] else { panic!("{:?}", world.noted) };
    assert_eq!((&denied["topic"], &denied["client_id"]), (&"closed".into(), &"two".into()));
}

#[test]
fn a_subscribe_in_pieces_is_one_line_also_when_its_client_goes_amid_it() {
    for goes in [false, true] {
        let mut world = World::new(None);
        let link = world.broker.connected(&connect("many", None));
        world.broker.shard.limit_turns(3000);
        let filters = (0..5000).flat_map(|number| [text(&format!("f/{number}")), vec![1]].concat());
        let body: Vec<u8> = [0, 1, 0].into_iter().chain(filters).collect();
        world.broker.send(link, &packet(0x82, &body));
        assert!(world.noted("subscribe").is_empty());
        if goes {
            world.broker.drop_link(link);
        }
        world.broker.wait(Duration::from_secs(1));
        let [line] = &world.noted("subscribe")[..] else { panic!("{:?}", world.noted) };
        let count = line["count"].as_u64().unwrap();
        assert!(if goes { (20..5000).contains(&count) } else { count == 5000 }, "{line}");
        assert_eq!(line["filters"].as_array().unwrap().len(), 20);
        assert_eq!(world.noted("disconnect").len(), usize::from(goes));
    }
}
