//! References from deliveries to the records in the journal that brought them.

use crate::base::ids::PartNumber;

/// The record that brought a delivery, in 64 bits: a delivery has one, and many are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RecordRef(u64);

/// The meaning of a [`RecordRef`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordPlace {
    /// No record: the journal does not know of the delivery.
    None,
    /// A record of an earlier process, which may have sent the message.
    Restored,
    /// A record of an earlier process, which has not sent the message.
    RestoredUnsent,
    /// The entry of this number among this worker's own.
    Own(u64),
    /// Another worker's record; this worker's part of it has this number.
    Part(PartNumber),
}

impl RecordRef {
    pub(super) const NONE: Self = Self(0);
    pub(super) const RESTORED: Self = Self(2);
    pub(super) const RESTORED_UNSENT: Self = Self(4);
    /// The number of the first entry of all: those before it stand for what needs none.
    pub(super) const FIRST: u64 = 3;

    /// The entry `number` of this worker, from [`Self::FIRST`] on.
    pub(super) const fn own(number: u64) -> Self {
        Self(number << 1)
    }

    /// The part of this number of this worker, from [`Self::FIRST`] on.
    pub(super) const fn part(number: PartNumber) -> Self {
        Self(number.0 << 1 | 1)
    }

    pub(super) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True when another worker has the record.
    pub(super) const fn is_part(self) -> bool {
        self.0 & 1 == 1
    }

    pub(super) const fn place(self) -> RecordPlace {
        match self {
            Self::NONE => RecordPlace::None,
            Self::RESTORED => RecordPlace::Restored,
            Self::RESTORED_UNSENT => RecordPlace::RestoredUnsent,
            Self(bits) if bits & 1 == 1 => RecordPlace::Part(PartNumber(bits >> 1)),
            Self(bits) => RecordPlace::Own(bits >> 1),
        }
    }
}

const _: () = assert!(RecordRef::RESTORED_UNSENT.0 >> 1 < RecordRef::FIRST);
