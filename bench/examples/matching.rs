//! So many walks through a tree of subscriptions and nothing else, for callgrind and for a clock:
//! `matching SHAPE WALKS`.

use ringmq::base::ids::WorkerId;
use ringmq::topics::{Extras, Matches, Subscriber, Subscriptions};
use ringmq_mqtt::{SubscriptionOptions, TopicFilter};

/// Each shape's name, its filters, and the topic that is matched.
type Shape = (&'static str, fn() -> Vec<String>, fn() -> String);

const SHAPES: &[Shape] = &[
    ("one", || vec!["a/b/c".into()], || "a/b/c".into()),
    ("wide", || (0..100_000).map(|n| format!("site/{n}/heat")).collect(), || "site/77/heat".into()),
    ("wide+", wide_plus, || "site/77/heat".into()),
    ("deep", || vec!["a/".repeat(199) + "a"], || "a/".repeat(199) + "a"),
    ("deep-branched", deep_branched, || "a/".repeat(199) + "a"),
    ("overlapping", || overlapping(14), || "a/".repeat(13) + "a"),
    ("overlapping#", overlapping_open, || "a/".repeat(13) + "a"),
];

/// A subscription to each of many sites, and to all of them at each of many sensors.
fn wide_plus() -> Vec<String> {
    let each = (0..50_000).flat_map(|n| [format!("site/{n}/#"), format!("+/{n}/heat")]);
    each.chain((0..50_000).map(|n| format!("site/+/{n}"))).collect()
}

/// A filter that ends at each level, and one that leaves there.
fn deep_branched() -> Vec<String> {
    (0..200).flat_map(|n| ["a", "b"].map(|last| "a/".repeat(n) + last)).collect()
}

/// All combinations of `+` and `a`.
fn overlapping(levels: u32) -> Vec<String> {
    let filter = |bits: u32| {
        let level = |level| if bits >> level & 1 == 1 { "a" } else { "+" };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    (0..1 << levels).map(filter).collect()
}

/// The same with `#` behind them.
fn overlapping_open() -> Vec<String> {
    overlapping(13).into_iter().map(|filter| filter + "/#").collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let shape = arguments.first().and_then(|name| SHAPES.iter().find(|shape| shape.0 == name));
    let walks = arguments.get(1).and_then(|walks| walks.parse::<usize>().ok());
    let (Some((name, filters, topic)), Some(walks)) = (shape, walks) else {
        let names: Vec<_> = SHAPES.iter().map(|shape| shape.0).collect();
        eprintln!("usage: matching SHAPE WALKS, where SHAPE is one of {}", names.join(", "));
        std::process::exit(2);
    };
    let mut index = Subscriptions::new(WorkerId(0), 1);
    for (session, text) in filters().iter().enumerate() {
        let filter = TopicFilter::parse(text, 1000).expect("a filter");
        let (extras, options) = (Extras::default(), SubscriptionOptions::default());
        index.subscribe(filter, Subscriber { session: session as u32, extras, options });
    }
    let (topic, mut matches, mut found) = (topic(), Matches::default(), 0);
    for _ in 0..walks {
        index.matching(&topic, &mut matches);
        found += matches.nodes.len();
    }
    println!("{name}: {found} matches, {} visits in one walk", matches.visits);
}
