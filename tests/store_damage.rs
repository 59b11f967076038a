//! Every bit of a journal flipped, every segment cut at every byte, every segment gone: what is
//! damaged is told, and everything else is used.
#![allow(clippy::disallowed_methods, reason = "a test may look at the environment")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
#[path = "store/workload.rs"]
mod workload;
use ringmq::base::ids::{ListenerId, MessageId, SessionNumber};
use ringmq::store::record::{Attributes, Body, Owner, Published, Record};
use ringmq::store::{
    COMMIT_HEADER, CommitWriter, Epoch, FORMAT, Fault, Found, Limits, Log, LogEnd, RECORD_HEADER,
    Reader, Recovered, SEGMENT_HEADER, SegmentHeader, Stamp, State,
};
use ringmq::testing::disk;
use ringmq_sim::disk::{Disk, Image, at_once};
use run::{SALT, recover};
use std::ops::Range;
use workload::{Payloads, Workload, canonical, encoded, payloads};

/// The session that a client would like to have.
const FORGED: SessionNumber = SessionNumber(0xF0_46ED);

/// What stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    SegmentHeader,
    CommitHeader,
    /// By its place among all records.
    Record(usize),
}

struct Journal {
    image: Image,
    records: Payloads,
    /// What stands where: (segment, bytes, what, commit).
    map: Vec<(u64, Range<usize>, Area, u64)>,
}

impl Journal {
    /// Several segments, with a commit in a payload, and records that are as long as others.
    fn new() -> Self {
        let limits = Limits { segment_bytes_max: 1100, ..Limits::USUAL };
        let mut log = Log::new(Disk::default(), LogEnd::default(), true, SALT, limits);
        let mut workload = Workload::new(3, Payloads::new());
        for step in 0..14 {
            let mut bytes = Vec::new();
            while bytes.is_empty() {
                let commit = match step {
                    5 => Some(forged_commit(log.next_stamp())),
                    6 => Some(even_commit(log.next_stamp())),
                    _ => workload.step(log.next_stamp()).map(|commit| commit.bytes),
                };
                bytes = commit.unwrap_or_default();
            }
            at_once(log.commit(bytes)).0.unwrap();
        }
        let image = disk(&log).contents();
        let mut journal = Self { image, records: Vec::new(), map: Vec::new() };
        journal.draw_map();
        journal
    }

    fn draw_map(&mut self) {
        for (&segment, bytes) in &self.image {
            self.map.push((segment, 0..SEGMENT_HEADER, Area::SegmentHeader, 0));
            let mut at = SEGMENT_HEADER;
            while at < bytes.len() {
                let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
                let number = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
                let end = at + COMMIT_HEADER + length;
                let records = at + COMMIT_HEADER;
                self.map.push((segment, at..records, Area::CommitHeader, number));
                let mut from = records;
                for payload in payloads(&bytes[at..end]) {
                    let to = from + RECORD_HEADER + payload.len();
                    let area = Area::Record(self.records.len());
                    self.map.push((segment, from..to, area, number));
                    self.records.push(payload);
                    from = to;
                }
                at = end;
            }
        }
    }

    /// What all records come to that are used.
    fn without(&self, is_lost: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut state = State::new(Epoch(0));
        for (_, payload) in self.records.iter().enumerate().filter(|(place, _)| !is_lost(*place)) {
            state.apply(Record::decode(payload).unwrap());
        }
        state.finish();
        canonical(&state)
    }

    fn last_commit(&self) -> u64 {
        self.map.last().unwrap().3
    }

    fn last_segment(&self) -> u64 {
        self.map.last().unwrap().0
    }

    /// The records of a segment from a byte on, also those that only end there.
    fn behind(&self, segment: u64, byte: usize) -> Vec<usize> {
        let is_behind =
            |(s, range, ..): &&(u64, Range<usize>, Area, u64)| *s == segment && range.end > byte;
        let record = |entry: &(u64, Range<usize>, Area, u64)| match entry.2 {
            Area::Record(place) => Some(place),
            _ => None,
        };
        self.map.iter().filter(is_behind).filter_map(record).collect()
    }
}

fn session(session: u64, client_id: &str) -> Record<'static> {
    let owner = Owner { user: None, client_id: None, is_superuser: true, listener: ListenerId(0) };
    Record::Session(Attributes {
        session: SessionNumber(session),
        client_id: client_id.to_owned().into(),
        owner,
        expiry_s: 7,
        is_connected: false,
        ends_ms: None,
        will: None,
        will_due_ms: None,
    })
}

/// A message whose payload is a commit of another journal.
fn forged_commit(stamp: Stamp) -> Vec<u8> {
    let mut forged = CommitWriter::new(Stamp { salt: SALT + 1, ..stamp }, Vec::new());
    forged.write(&session(FORGED.0, "forged"));
    let forged = [b"t".to_vec(), forged.finish()].concat();
    let mut commit = CommitWriter::new(stamp, Vec::new());
    commit.write(&Record::Published(Published {
        message: MessageId(1_000_000),
        body: Some(Body {
            qos: 1,
            retain: true,
            expires: None,
            owner: None,
            lengths: (1, 0),
            bytes: forged.into(),
        }),
        retained: Some(1),
        received: None,
        taken: None,
        groups: Vec::new(),
        others: Vec::new(),
    }));
    commit.finish()
}

/// Records of 32 bytes each: a length with one bit flipped ends where another record does.
fn even_commit(stamp: Stamp) -> Vec<u8> {
    let mut commit = CommitWriter::new(stamp, Vec::new());
    for number in 0..5_u64 {
        let record = session(2_000_000 + number, "0123456");
        let length = encoded(&record).len();
        let record = session(2_000_000 + number, &"0123456789ABCDEF"[..7 + 24 - length]);
        assert_eq!(encoded(&record).len(), 24);
        commit.write(&record);
    }
    commit.finish()
}

fn covers(fault: &Fault, segment: u64, byte: usize) -> bool {
    match *fault {
        Fault::Damage { segment: s, offset, length } => {
            s == segment && (offset..offset + length).contains(&(byte as u64))
        }
        Fault::DamagedHeader { segment: s } => s == segment && byte < SEGMENT_HEADER,
        _ => false,
    }
}

fn refuse_forged(recovered: &Recovered) {
    assert!(!recovered.state.sessions.contains_key(&FORGED), "a client's commit was used");
}

#[test]
fn t4_every_flipped_bit_is_told_and_harms_one_record_at_most() {
    let journal = Journal::new();
    let whole = journal.without(|_| false);
    let mut flips = 0;
    for (segment, range, area, commit) in &journal.map {
        let wanted = match *area {
            Area::Record(lost) => journal.without(|place| place == lost),
            _ => whole.clone(),
        };
        let is_last = *commit == journal.last_commit();
        let of_last = |place| {
            let is_it = |e: &(u64, Range<usize>, Area, u64)| e.2 == Area::Record(place);
            journal.map.iter().find(|e| is_it(e)).unwrap().3 == journal.last_commit()
        };
        let cut = journal.without(of_last);
        for byte in range.clone() {
            for bit in 0..8 {
                let mut image = journal.image.clone();
                image.get_mut(segment).unwrap()[byte] ^= 1 << bit;
                let recovered = recover(&image);
                refuse_forged(&recovered);
                let found = canonical(&recovered.state);
                let place = format!("{area:?} of {segment}, byte {byte}, bit {bit}");
                if is_last {
                    assert!(found == cut, "{place}");
                    assert!(recovered.faults.iter().all(Fault::is_torn_tail), "{place}");
                    assert_eq!(recovered.faults.len(), 1, "{place}");
                } else {
                    assert!(found == wanted, "{place}: {:?}", recovered.faults);
                    let faults = &recovered.faults;
                    let is_told = faults.iter().any(|fault| covers(fault, *segment, byte));
                    assert!(is_told && faults.len() == 1, "{place}: {faults:?}");
                }
                flips += 1;
            }
        }
    }
    println!("{flips} flips, {} records", journal.records.len());
}

#[test]
fn t4_every_cut_segment_keeps_what_is_before_the_cut() {
    let journal = Journal::new();
    let mut cuts = 0;
    for (&segment, bytes) in &journal.image {
        for length in 0..bytes.len() {
            let mut image = journal.image.clone();
            image.get_mut(&segment).unwrap().truncate(length);
            let recovered = recover(&image);
            refuse_forged(&recovered);
            let found = canonical(&recovered.state);
            let faults = &recovered.faults;
            let place = format!("segment {segment} cut at {length}: {faults:?}");
            if segment == journal.last_segment() {
                let kept = |(s, range, area, _): &&(u64, Range<usize>, Area, u64)| {
                    *s == segment && range.end > length && *area != Area::SegmentHeader
                };
                let commit = journal.map.iter().find(kept).map_or(u64::MAX, |entry| entry.3);
                let is_cut = |place: usize| {
                    let is_it = |e: &&(u64, Range<usize>, Area, u64)| e.2 == Area::Record(place);
                    journal.map.iter().find(is_it).unwrap().3 >= commit
                };
                assert!(found == journal.without(is_cut), "{place}");
                assert!(faults.iter().all(Fault::is_torn_tail), "{place}");
            } else {
                let lost = journal.behind(segment, length);
                assert!(found == journal.without(|place| lost.contains(&place)), "{place}");
                let is_told = |byte| faults.iter().any(|fault| covers(fault, segment, byte));
                assert!((length..bytes.len()).all(is_told), "{place}");
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
}

#[test]
fn t4_every_missing_segment_leaves_the_others() {
    let journal = Journal::new();
    let numbers: Vec<_> = journal.image.keys().copied().collect();
    assert!(numbers.len() > 4, "{numbers:?}");
    for &gone in &numbers {
        let mut image = journal.image.clone();
        image.remove(&gone);
        let recovered = recover(&image);
        let lost = journal.behind(gone, 0);
        let wanted = journal.without(|place| lost.contains(&place));
        assert!(canonical(&recovered.state) == wanted, "segment {gone}");
        // What was before the first one may have gone on purpose; nothing refers to the last one.
        let is_told = gone != numbers[0] && gone != journal.last_segment();
        let told = [Fault::Missing { first: gone, last: gone }];
        assert_eq!(recovered.faults, told[..usize::from(is_told)], "segment {gone}");
    }
}

#[test]
fn t4_two_damaged_places_never_panic_and_never_admit_a_forgery() {
    let journal = Journal::new();
    let mut prng = ringmq::testing::Prng::new(9);
    for _ in 0..4000 * run::effort() {
        let mut image = journal.image.clone();
        for _ in 0..=1 + prng.below(5) {
            let at = prng.below(image.len() as u64) as usize;
            let bytes = image.values_mut().nth(at).unwrap();
            let from = prng.below(bytes.len() as u64 + 1) as usize;
            let to = (from + prng.below(200) as usize).min(bytes.len());
            match prng.below(4) {
                0 => bytes.truncate(from),
                1 => bytes[from..to].fill(0),
                2 => bytes[from..to].iter_mut().for_each(|byte| *byte = prng.next() as u8),
                _ => drop(bytes.drain(from..to)),
            }
        }
        refuse_forged(&recover(&image));
    }
}

#[test]
fn a_damaged_header_of_the_only_segment_is_not_taken_for_a_torn_tail() {
    let journal = Journal::new();
    let mut image = journal.image.clone();
    image.retain(|number, _| *number == 1);
    image.get_mut(&1).unwrap()[..SEGMENT_HEADER].fill(0);
    let faults = recover(&image).faults;
    assert!(!faults.is_empty() && !faults.iter().any(Fault::is_torn_tail), "{faults:?}");
}

#[test]
fn attempts_at_a_segment_are_no_damage() {
    let journal = Journal::new();
    let whole = journal.without(|_| false);
    let last = journal.last_segment();
    for attempts in [&[0][..], &[0, 0], &[0, 60], &[0, 0, 128]] {
        let mut image = journal.image.clone();
        for (number, &length) in (last + 1..).zip(attempts) {
            image.insert(number, vec![0; length]);
        }
        let recovered = recover(&image);
        assert!(canonical(&recovered.state) == whole);
        assert!(recovered.faults.iter().all(Fault::is_torn_tail), "{:?}", recovered.faults);
        assert_eq!(recovered.end.segments.last().unwrap().number, last + attempts.len() as u64);
        // A process that goes on says that nothing of the last attempt counts.
        let next = last + attempts.len() as u64 + 1;
        let header = SegmentHeader { format: FORMAT, number: next, end_before: 0, salt: SALT };
        image.insert(next, header.encode());
        let recovered = recover(&image);
        assert!(canonical(&recovered.state) == whole);
        assert_eq!(recovered.faults, [], "{attempts:?}");
    }
    let recovered = recover(&Image::from([(1, Vec::new())]));
    assert_eq!(recovered.faults, []);
}

#[test]
fn a_newer_format_is_refused() {
    let journal = Journal::new();
    for (&number, bytes) in &journal.image {
        let header = SegmentHeader::decode(bytes).unwrap();
        let mut newer = SegmentHeader { format: FORMAT + 1, ..header }.encode();
        newer[50] = 1;
        newer.extend_from_slice(&bytes[SEGMENT_HEADER..]);
        let refused = Reader::new(Epoch(0)).read(Found { number, bytes: newer }).unwrap_err();
        assert_eq!((refused.segment, refused.format), (number, FORMAT + 1));
    }
}
