//! The journal as files: appends commits, begins segments, removes those that are no longer needed.
//!
//! The log knows no kernel: a [`Disk`] keeps its bytes, so that tests can use one that tears writes
//! and fails on purpose.

use super::commit::{FORMAT, SEGMENT_HEADER, SegmentHeader, Stamp};
use crate::limits::{REWRITE_BYTES_MIN, REWRITE_SEGMENTS_MAX, SEGMENT_BYTES_MAX};
use std::collections::VecDeque;
use std::io;

/// A keeper of bytes.
#[expect(async_fn_in_trait, reason = "nobody sends these futures to another thread")]
pub trait Disk {
    /// An open segment.
    type File;

    /// Makes the file of segment `number`, replacing one that is left of an earlier attempt.
    async fn create(&mut self, number: u64) -> io::Result<Self::File>;
    /// Writes all of `bytes` at `offset`, and gives them back.
    async fn write(
        &mut self,
        file: &Self::File,
        bytes: Vec<u8>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>);
    /// Returns when everything written to the file would survive a power cut.
    async fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Returns when files made and removed would survive it, too.
    async fn sync_names(&mut self) -> io::Result<()>;
    /// Removes the file of segment `number`.
    async fn remove(&mut self, number: u64) -> io::Result<()>;
    /// Fails unless the next start would find this: the place where the disk was opened, in it the
    /// open segment, by its number, and the older ones with at least the bytes of them that count.
    async fn look(&mut self, open: Option<(u64, &Self::File)>, older: &[Sealed]) -> io::Result<()>;
}

/// A segment that is not written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The segment's number.
    pub number: u64,
    /// The number of the segment's bytes that count.
    pub end: u64,
}

/// The limits at which segments end, and at which all that lives is written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a segment; one commit may exceed it.
    pub segment_bytes_max: u64,
    /// Bytes that the journal may have before a rewrite, if that is less than half of them.
    pub rewrite_bytes_min: u64,
    /// Segments that the journal may have before that.
    pub rewrite_segments_max: usize,
}

impl Limits {
    /// The limits of a broker.
    pub const USUAL: Self = Self {
        segment_bytes_max: SEGMENT_BYTES_MAX,
        rewrite_bytes_min: REWRITE_BYTES_MIN,
        rewrite_segments_max: REWRITE_SEGMENTS_MAX,
    };
}

/// The end of a recovered journal, from which the next process writes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The segments, in order.
    pub segments: Vec<Sealed>,
    /// The number of the next commit.
    pub next_commit: u64,
    /// The salt of the checksums; None for a journal that is still to begin.
    pub salt: Option<u64>,
    /// About how many bytes a journal takes that holds only what lives.
    pub live_bytes: u64,
}

/// The work of a log since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// The commits that were written.
    pub commits: u64,
    /// The bytes of them.
    pub bytes: u64,
    /// The syncs of segments and of the names of files.
    pub syncs: u64,
    /// The commits that failed.
    pub failures: u64,
    /// The rewrites that ended.
    pub rewrites: u64,
}

/// The open journal.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    counts: LogCounts,
    limits: Limits,
    sealed: VecDeque<Sealed>,
    /// The number of the next segment: greater than that of any other one with a commit.
    next_segment: u64,
    /// None after something has failed, until a new segment works.
    current: Option<Current<D::File>>,
    next: Stamp,
    syncs: bool,
    /// The next commit looks for the older segments, too.
    looks_at_older: bool,
    /// The approximate number of bytes that are still needed.
    live_bytes: u64,
    /// The rewrite that is going on, and the segment with which it began.
    rewrite: Option<(u32, u64)>,
    rewrites_begun: u32,
}

#[derive(Debug)]
struct Current<F> {
    number: u64,
    file: F,
    end: u64,
}

impl<D: Disk> Log<D> {
    /// A journal that goes on after `end`; write to it after [`Self::open`]. `syncs`: a commit is
    /// done when it is on disk, not when the kernel has it. `salt` is that of a new journal, and
    /// nobody can guess it.
    pub fn new(disk: D, end: LogEnd, syncs: bool, salt: u64, limits: Limits) -> Self {
        let salt = end.salt.unwrap_or(salt);
        Self {
            disk,
            counts: LogCounts::default(),
            limits,
            next_segment: end.segments.last().map_or(1, |last| last.number + 1),
            sealed: end.segments.into(),
            current: None,
            next: Stamp { salt, number: end.next_commit.max(1) },
            syncs,
            looks_at_older: true,
            live_bytes: end.live_bytes,
            rewrite: None,
            // The first stands for whatever was written before.
            rewrites_begun: 1,
        }
    }

    /// Begins a new segment; also after something has failed.
    ///
    /// # Errors
    /// An error of the disk; nothing can be committed then.
    pub async fn open(&mut self) -> io::Result<()> {
        self.seal();
        // Nothing is made where the disk is not any more.
        self.disk.look(None, self.sealed.make_contiguous()).await?;
        let number = self.next_segment;
        let end_before = self.sealed.back().map_or(0, |sealed| sealed.end);
        let header = SegmentHeader { format: FORMAT, number, end_before, salt: self.next.salt };
        let file = self.disk.create(number).await?;
        self.disk.write(&file, header.encode(), 0).await.0?;
        self.disk.sync(&file).await?;
        self.disk.sync_names().await?;
        self.counts.syncs += 2;
        self.next_segment = number + 1;
        self.current = Some(Current { number, file, end: SEGMENT_HEADER as u64 });
        Ok(())
    }

    /// The disk that keeps the bytes.
    pub(crate) const fn disk(&self) -> &D {
        &self.disk
    }

    /// The stamp of the next commit.
    #[must_use]
    pub const fn next_stamp(&self) -> Stamp {
        self.next
    }

    /// The next commit is only done when the older segments are still there. Worth doing now and
    /// then: it takes a look at each.
    pub const fn look_at_older(&mut self) {
        self.looks_at_older = true;
    }

    /// Writes the commit with the stamp [`Self::next_stamp`], and gives its bytes back. It is done
    /// when the next start would find it.
    ///
    /// # Errors
    /// An error of the disk. The commit is not done, and no other one will be before [`Self::open`]
    /// has worked; the same bytes may be committed again then, to the new segment.
    pub async fn commit(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let length = bytes.len() as u64;
        let bytes_max = self.limits.segment_bytes_max;
        let is_full = |current: &Current<_>| {
            current.end > SEGMENT_HEADER as u64 && current.end + length > bytes_max
        };
        if self.current.as_ref().is_none_or(is_full)
            && let Err(error) = self.open().await
        {
            self.counts.failures += 1;
            return (Err(error), bytes);
        }
        let Some(current) = &mut self.current else { unreachable!("it has just been opened") };
        let (mut result, bytes) = self.disk.write(&current.file, bytes, current.end).await;
        if result.is_ok() && self.syncs {
            result = self.disk.sync(&current.file).await;
            self.counts.syncs += 1;
        }
        if result.is_ok() {
            let open = Some((current.number, &current.file));
            let older = self.sealed.make_contiguous();
            let older = if self.looks_at_older { older } else { &mut [] };
            result = self.disk.look(open, older).await;
            self.looks_at_older &= result.is_err();
        }
        match result {
            Ok(()) => {
                current.end += length;
                self.counts.commits += 1;
                self.counts.bytes += length;
                self.next.number += 1;
            }
            // Whatever is behind the end was never acknowledged, and the next segment says so.
            Err(_) => {
                self.counts.failures += 1;
                self.seal();
            }
        }
        (result, bytes)
    }

    fn seal(&mut self) {
        let Some(Current { number, end, .. }) = self.current.take() else { return };
        if end > SEGMENT_HEADER as u64 {
            self.sealed.push_back(Sealed { number, end });
        } else {
            // Nothing in it counts: the next one takes its place.
            self.next_segment = number;
        }
    }

    /// The number of bytes that all segments have.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.end).sum();
        sealed + self.current.as_ref().map_or(0, |current| current.end)
    }

    /// The number of segments.
    #[must_use]
    pub(crate) fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.current.is_some())
    }

    /// The number of bytes that were needed at the last look.
    #[must_use]
    pub(crate) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Whether a rewrite goes on.
    #[must_use]
    pub(crate) const fn is_rewriting(&self) -> bool {
        self.rewrite.is_some()
    }

    /// The work so far.
    #[must_use]
    pub(crate) const fn counts(&self) -> LogCounts {
        self.counts
    }

    /// True when so much is not needed any more that all that lives should be written anew.
    #[must_use]
    pub fn wants_rewrite(&self) -> bool {
        let is_large = self.bytes() > self.limits.rewrite_bytes_min.max(2 * self.live_bytes);
        self.rewrite.is_none() && (is_large || self.sealed.len() > self.limits.rewrite_segments_max)
    }

    /// Begins a rewrite, and a segment with it; its number. Everything that lives is to be written
    /// from now on; then [`Self::end_rewrite`].
    ///
    /// # Errors
    /// An error of the disk.
    pub async fn begin_rewrite(&mut self) -> io::Result<u32> {
        self.open().await?;
        self.rewrites_begun += 1;
        self.rewrite = self.current.as_ref().map(|current| (self.rewrites_begun, current.number));
        Ok(self.rewrites_begun)
    }

    /// Ends the rewrite: all that lives has been written since it began, so older segments can go.
    /// The oldest goes first, for good, before the next one does: what an old segment says is only
    /// true together with what was said after it.
    ///
    /// # Errors
    /// An error of the disk: segments that could not be removed stay until the next rewrite ends.
    pub async fn end_rewrite(&mut self) -> io::Result<()> {
        let Some((_, first)) = self.rewrite.take() else { return Ok(()) };
        let result = self.remove_before(first).await;
        self.counts.rewrites += 1;
        self.live_bytes = self.bytes();
        result
    }

    async fn remove_before(&mut self, first: u64) -> io::Result<()> {
        // Nobody misses them from now on, also when removing one fails half way.
        let not_needed = self.sealed.iter_mut().filter(|sealed| sealed.number < first);
        not_needed.for_each(|sealed| sealed.end = 0);
        while let Some(oldest) = self.sealed.front().filter(|sealed| sealed.number < first) {
            match self.disk.remove(oldest.number).await {
                // An earlier attempt may have gone half way.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    self.counts.syncs += 1;
                    self.disk.sync_names().await?;
                }
            }
            self.sealed.pop_front();
        }
        Ok(())
    }
}
