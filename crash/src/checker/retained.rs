//! I9: a retained topic is a register with one write at a time.

use super::Checker;
use super::violation::Kind;
use std::collections::BTreeMap;

/// One register. Values are the sequence numbers of the writes, so they grow.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Register {
    /// The last write that was acknowledged in full, unless it was found missing since.
    pub(crate) floor: Option<u64>,
    /// The last write that clears it, acknowledged or not.
    pub(crate) cleared: Option<u64>,
    /// The last write.
    pub(crate) last: Option<u64>,
}

impl Register {
    /// Whether a reader that subscribed when the floor was `floor` may find nothing.
    fn may_be_empty(&self, floor: Option<u64>) -> bool {
        floor.is_none_or(|floor| self.cleared.is_some_and(|cleared| cleared >= floor))
    }

    fn may_be(&self, floor: Option<u64>, value: u64) -> bool {
        floor.is_none_or(|floor| value >= floor) && self.last.is_some_and(|last| value <= last)
    }
}

/// All registers, by the place of their topic.
#[derive(Debug, Default)]
pub(crate) struct Registers(BTreeMap<u16, Register>);

impl Registers {
    /// A write is sent.
    pub(crate) fn writing(&mut self, topic: u16, sequence: u64, is_clearing: bool) {
        let register = self.0.entry(topic).or_default();
        register.last = Some(sequence);
        if is_clearing {
            register.cleared = Some(sequence);
        }
    }

    /// A publish is acknowledged in full; it may be a write.
    pub(crate) fn completed(&mut self, topic: u16, sequence: u64) {
        if let Some(register) = self.0.get_mut(&topic) {
            register.floor = register.floor.max(Some(sequence));
        }
    }

    /// The registers of which somebody knows `values` who had to know `floors` at least.
    pub(super) fn wrong(
        &self,
        floors: &Floors,
        values: &BTreeMap<u16, u64>,
    ) -> impl Iterator<Item = u16> {
        let is_wrong = |topic: &u16, register: &Register| {
            let floor = floors.0.get(topic).copied().flatten();
            match values.get(topic) {
                Some(value) if floor.is_none_or(|floor| *value >= floor) => false,
                _ => !register.may_be_empty(floor),
            }
        };
        self.0.iter().filter(move |(topic, register)| is_wrong(topic, register)).map(|(t, _)| *t)
    }

    /// The values that a reader may rely on from now on.
    pub(crate) fn floors(&self) -> Floors {
        Floors(self.0.iter().map(|(topic, register)| (*topic, register.floor)).collect())
    }
}

/// The floors of all registers at one moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Floors(BTreeMap<u16, Option<u64>>);

impl Checker {
    /// Whether the topic is one of a register.
    pub(crate) fn is_register(&self, topic: &str) -> bool {
        let name = |place: &u16| &self.topics[usize::from(*place)];
        self.registers.0.keys().any(|place| name(place) == topic)
    }

    /// Whether a reader that found `values` must wait for more.
    pub(crate) fn awaits_retained(&self, floors: &Floors, values: &BTreeMap<u16, u64>) -> bool {
        floors.0.iter().any(|(topic, floor)| {
            let register = self.registers.0.get(topic);
            let may_be_empty = register.is_none_or(|register| register.may_be_empty(*floor));
            !may_be_empty && !values.contains_key(topic)
        })
    }

    /// Judges the values that a fresh subscriber found.
    pub(crate) fn judge_retained(&mut self, floors: &Floors, values: &BTreeMap<u16, u64>) {
        for (topic, register) in &mut self.registers.0 {
            let floor = floors.0.get(topic).copied().flatten();
            let value = values.get(topic).copied();
            let is_right = match value {
                Some(value) => register.may_be(floor, value),
                None => register.may_be_empty(floor),
            };
            if is_right {
                continue;
            }
            let name = &self.topics[usize::from(*topic)];
            self.violations.add(Kind::RetainedWrong, || {
                format!("{name} is {value:?}; {floor:?} is acknowledged: {register:?}")
            });
            // Told once: nothing is known until the next acknowledged write.
            if register.floor == floor {
                register.floor = None;
            }
        }
    }
}
