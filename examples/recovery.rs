//! Writes a journal as large as asked, to measure how long a start takes:
//!
//! ```sh
//! cargo run --release --example recovery -- DIR MESSAGES SESSIONS
//! target/release/ringmq --data-dir DIR --log-level info
//! ```
//!
//! Every session has one subscription and its part of the messages, queued at QoS 1 with payloads
//! of 64 bytes.
use ringmq::base::ids::{ListenerId, MessageId, SessionNumber};
use ringmq::store::record::{
    Attributes, Body, Numbers, Owner, Published, Record, SessionGroup, Subscription, Whole,
};
use ringmq::store::{CommitWriter, FORMAT, SegmentHeader, Stamp};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

const SALT: u64 = 1;
const COMMIT_BYTES: usize = 1024 * 1024;
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, messages, sessions] = arguments.as_slice() else {
        return Err(io::Error::other("usage: recovery DIR MESSAGES SESSIONS"));
    };
    let number = |text: &str| text.parse().map_err(io::Error::other);
    let (messages, sessions): (u64, u64) = (number(messages)?, number(sessions)?);
    std::fs::create_dir_all(directory)?;
    let mut journal = Journal::new(Path::new(directory));
    for session in 1..=sessions {
        journal.write(&whole(session))?;
    }
    for message in 0..messages {
        journal.write(&published(sessions + 1 + message, 1 + message % sessions))?;
    }
    journal.finish()
}

fn whole(session: u64) -> Record<'static> {
    let owner = Owner { user: None, client_id: None, is_superuser: false, listener: ListenerId(0) };
    Record::Whole(Whole {
        attributes: Attributes {
            session: SessionNumber(session),
            client_id: format!("client-{session}").into(),
            owner,
            expiry_s: u32::MAX,
            is_connected: false,
            ends_ms: None,
            will: None,
            will_due_ms: None,
        },
        subscriptions: vec![Subscription {
            filter: format!("devices/{session}/commands").into(),
            options: 1,
            subscription_id: 0,
            owed: None,
        }],
        deliveries: Vec::new(),
        received: Vec::new(),
    })
}

fn published(message: u64, session: u64) -> Record<'static> {
    let topic = format!("devices/{session}/commands");
    let bytes = [topic.as_bytes(), &[b'x'; 64]].concat();
    let sessions = Numbers(Cow::Owned(vec![SessionNumber(session)]));
    Record::Published(Published {
        message: MessageId(message),
        body: Some(Body {
            qos: 1,
            retain: false,
            expires: None,
            owner: None,
            lengths: (topic.len() as u32, 0),
            bytes: bytes.into(),
        }),
        retained: None,
        received: None,
        taken: None,
        groups: vec![SessionGroup { qos: 1, retain: false, packet_id: 0, sessions }],
        others: Vec::new(),
    })
}

struct Journal<'a> {
    directory: &'a Path,
    segment: Option<(File, u64)>,
    segments: u64,
    commits: u64,
    writer: CommitWriter,
}

impl<'a> Journal<'a> {
    fn new(directory: &'a Path) -> Self {
        let writer = CommitWriter::new(Stamp { salt: SALT, number: 1 }, Vec::new());
        Self { directory, segment: None, segments: 0, commits: 1, writer }
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.writer.write(record);
        if self.writer.len() < COMMIT_BYTES { Ok(()) } else { self.commit() }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.commits += 1;
        let next = CommitWriter::new(Stamp { salt: SALT, number: self.commits }, Vec::new());
        let bytes = std::mem::replace(&mut self.writer, next).finish();
        let (mut file, end) = match self.segment.take().filter(|(_, end)| *end < SEGMENT_BYTES) {
            Some(segment) => segment,
            None => self.next_segment()?,
        };
        file.write_all(&bytes)?;
        self.segment = Some((file, end + bytes.len() as u64));
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<(File, u64)> {
        let before = self.directory.join(format!("{:016}.journal", self.segments));
        let end_before = std::fs::metadata(before).map_or(0, |file| file.len());
        self.segments += 1;
        let path = self.directory.join(format!("{:016}.journal", self.segments));
        let mut file = File::create(path)?;
        let number = self.segments;
        let header = SegmentHeader { format: FORMAT, number, end_before, salt: SALT }.encode();
        file.write_all(&header)?;
        Ok((file, header.len() as u64))
    }

    fn finish(mut self) -> io::Result<()> {
        self.commit()
    }
}
