//! The example in `docs/STORAGE.md` is what the code writes.

use ringmq::base::ids::{DeliveryName, DeliveryNumber, MessageId, SessionNumber};
use ringmq::store::record::{Body, Numbers, Published, Record, SessionGroup};
use ringmq::store::{CommitWriter, FORMAT, SegmentHeader, Stamp};
use std::path::Path;

const SALT: u64 = 0x0807_0605_0403_0201;

/// A message for two sessions, of which one acknowledges it.
fn example() -> Vec<u8> {
    let header = SegmentHeader { format: FORMAT, number: 1, end_before: 0, salt: SALT };
    let mut commit = CommitWriter::new(Stamp { salt: SALT, number: 1 }, Vec::new());
    commit.write(&Record::Published(Published {
        message: MessageId(300),
        body: Some(Body {
            qos: 1,
            retain: false,
            expires: None,
            owner: None,
            lengths: (3, 0),
            bytes: b"a/bhi"[..].into(),
        }),
        retained: None,
        received: None,
        taken: None,
        groups: vec![SessionGroup {
            qos: 1,
            retain: false,
            packet_id: 0,
            sessions: Numbers([5, 6].map(SessionNumber).to_vec().into()),
        }],
        others: Vec::new(),
    }));
    commit.write(&Record::Done(vec![DeliveryName {
        session: SessionNumber(5),
        number: DeliveryNumber(300),
    }]));
    [header.encode(), commit.finish()].concat()
}

/// The bytes of the lines `0000  52 49 …  what they are`, which give their own places.
fn documented(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let block = text.split("```hex\n").nth(1).expect("an example").split("```").next().unwrap();
    for line in block.lines() {
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let place = usize::from_str_radix(columns.next().unwrap(), 16).unwrap();
        let pairs = columns.next().unwrap().split(' ').filter(|pair| *pair != "…");
        let line_bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap());
        // Zeros may be left out.
        bytes.resize(place, 0);
        bytes.extend(line_bytes);
    }
    bytes
}

#[test]
fn the_example_is_what_the_code_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/STORAGE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let bytes = example();
    let dump: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(documented(&text), bytes, "{}", dump.join(" "));
}
