//! Mistakes of a broker, counted, and the first few in words.

/// A kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An acknowledged message did not reach a session that was to get it.
    Lost,
    /// A message came twice at QoS 2 or 0.
    Duplicated,
    /// A message came for the first time after a later one.
    Reordered,
    /// A delivery is nothing that was ever sent.
    Altered,
    /// A delivery matches no subscription, or has the wrong QoS.
    Stray,
    /// A subscription that was acknowledged has gone.
    SubscriptionLost,
    /// A session that had to be there was not.
    SessionLost,
    /// A session that was ended came back.
    SessionReturned,
    /// A retained message is missing or older than the last acknowledged one.
    RetainedWrong,
    /// A QoS 2 message whose PUBREC was sent is never released.
    Unreleased,
    /// A packet identifier that is in use stands for another message.
    IdentifierReused,
    /// A client cannot finish an exchange that it began: it gets no answer, or no connection.
    Stuck,
    /// The broker ended by itself, or did not start.
    BrokerDown,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::Altered,
        Self::Stray,
        Self::SubscriptionLost,
        Self::SessionLost,
        Self::SessionReturned,
        Self::RetainedWrong,
        Self::Unreleased,
        Self::IdentifierReused,
        Self::Stuck,
        Self::BrokerDown,
    ];

    /// The name of its figure.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Stray => "stray",
            Self::SubscriptionLost => "subscriptions lost",
            Self::SessionLost => "sessions lost",
            Self::SessionReturned => "sessions returned",
            Self::RetainedWrong => "retained wrong",
            Self::Unreleased => "unreleased",
            Self::IdentifierReused => "identifiers reused",
            Self::Stuck => "stuck",
            Self::BrokerDown => "broker down",
        }
    }
}

/// Mistakes of each kind that are told in words.
const TOLD_MAX: u64 = 3;

/// All that went wrong.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    counts: [u64; Kind::ALL.len()],
    /// The first few of each kind that nobody has printed yet.
    told: Vec<String>,
}

impl Violations {
    /// Counts one more mistake; `tell` puts it in words.
    pub(crate) fn add(&mut self, kind: Kind, tell: impl FnOnce() -> String) {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count <= TOLD_MAX {
            self.told.push(format!("{}: {}", kind.name(), tell()));
        }
    }

    /// The number of mistakes of a kind.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// The number of all mistakes.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The words that were not taken before.
    pub(crate) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}
