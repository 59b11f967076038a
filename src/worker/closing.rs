//! The end of connections, and of the worker.
//!
//! ```text
//! Open ─close─▶ Closing ─taken─▶ Draining ─all sent─▶ Lingering ─FIN or 2 s─▶ Ended ─▶ freed
//!   │              │                │ 2 s: cut off       │                      ▲
//!   └──────────────┴────────── an error, or the peer's FIN when all is sent ────┘
//! ```
//!
//! A worker that stops does not wait for the FIN of a peer that is silent: the kernel delivers the
//! bytes that it has taken, and a close resets only bytes that are still to be received.

use super::connection::Phase;
use super::engine::Engine;
use crate::base::time::Time;
use crate::broker::{Input, LinkId};
use crate::io::socket;
use crate::limits::{LINGER_S, STOP_CUT, STOP_JOURNAL, STOP_LINGER};
use std::collections::VecDeque;
use std::os::fd::AsFd;

/// The stage of the worker, and the deadlines of connections that close.
#[derive(Debug)]
pub(super) struct Closing {
    stage: Stage,
    /// The time at which the stop began.
    began: Time,
    /// Deadlines of connections that drain or linger, in order because each is the same time ahead.
    lingering: VecDeque<(Time, LinkId)>,
    /// Times at which a worker that stops looks at lingering connections, in order as well.
    parting: VecDeque<(Time, LinkId)>,
    /// The list of connections that was looked at last; kept for its memory.
    attended: Vec<LinkId>,
}

/// The stage of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The worker serves.
    Running,
    /// The worker closes its connections.
    Stopping {
        /// The time at which those that are left are cut off.
        deadline: Time,
    },
    /// The worker has cut off so many connections.
    Stopped {
        /// The connections that were left.
        cut: usize,
    },
}

impl Closing {
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Running,
            began: Time::ZERO,
            lingering: VecDeque::new(),
            parting: VecDeque::new(),
            attended: Vec::new(),
        }
    }

    /// True from the moment when the worker was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stage != Stage::Running
    }

    /// True when the worker has nothing left to do.
    pub(super) fn is_done(&self, engine: &Engine) -> bool {
        match self.stage {
            Stage::Running => false,
            Stage::Stopping { .. } => engine.links.is_empty(),
            Stage::Stopped { .. } => true,
        }
    }

    /// The next time at which something is due here.
    pub(super) fn deadline(&self) -> Option<Time> {
        let stop = match self.stage {
            Stage::Stopping { deadline } => Some(deadline),
            Stage::Running | Stage::Stopped { .. } => None,
        };
        let first = |list: &VecDeque<(Time, LinkId)>| list.front().map(|&(deadline, _)| deadline);
        [first(&self.lingering), first(&self.parting), stop].into_iter().flatten().min()
    }

    /// The time after which a worker that stops waits for the journal no more.
    pub(super) fn journal_deadline(&self) -> Time {
        self.began.after(STOP_JOURNAL)
    }

    /// The number of connections that did not close in time.
    pub(super) const fn connections_cut(&self) -> usize {
        match self.stage {
            Stage::Stopped { cut } => cut,
            Stage::Running | Stage::Stopping { .. } => 0,
        }
    }

    /// Begins to stop when told to, and cuts off the connections that are left when the time is
    /// over. True when either was due.
    pub(super) fn stop_in_time(&mut self, engine: &mut Engine) -> bool {
        match self.stage {
            Stage::Running if engine.mesh.doorbell().is_stopped() => self.stop(engine),
            Stage::Stopping { deadline } if deadline <= engine.now => self.cut_off_all(engine),
            _ => return false,
        }
        true
    }

    /// Looks at the connections that need attention, now that their output is taken.
    pub(super) fn attend_all(&mut self, engine: &mut Engine) {
        let attended = engine.links.take_attention(std::mem::take(&mut self.attended));
        for &link in &attended {
            self.attend(engine, link);
        }
        self.attended = attended;
    }

    /// Ends the connections whose time to drain or linger is over. True when there were any.
    pub(super) fn end_due(&mut self, engine: &mut Engine) -> bool {
        let mut busy = false;
        while let Some(link) = pop_due(&mut self.lingering, engine.now) {
            busy |= end_overdue(engine, link);
        }
        while let Some(link) = pop_due(&mut self.parting, engine.now) {
            busy |= self.end_silent(engine, link);
        }
        busy
    }

    fn attend(&mut self, engine: &mut Engine, link: LinkId) {
        let Some(connection) = engine.links.get(link) else { return };
        match connection.phase {
            Phase::Open | Phase::Lingering { .. } => engine.arm(link),
            Phase::Closing => self.drain(engine, link),
            Phase::Draining { .. } if connection.sending => engine.arm(link),
            Phase::Draining { .. } if connection.finished => engine.lose(link, None),
            Phase::Draining { .. } => self.linger(engine, link),
            Phase::Moving(_) if connection.is_idle() => engine.move_away(link),
            Phase::Moving(_) => engine.disarm(link),
            Phase::Ended if connection.is_idle() => engine.free(link),
            Phase::Ended => engine.interrupt(link),
        }
    }

    /// Gives the rest of a connection's output, if any, some time to be sent: the last of it is
    /// taken.
    fn drain(&mut self, engine: &mut Engine, link: LinkId) {
        let deadline = engine.now.after_seconds(LINGER_S);
        let Some(connection) = engine.links.get_mut(link) else { return };
        connection.phase = Phase::Draining { deadline };
        if connection.sending {
            self.lingering.push_back((deadline, link));
        }
        engine.links.attend(link);
        engine.feed(Input::Closed { link });
    }

    /// Sends our FIN, since all output is sent, and reads until the peer's, so that the close
    /// resets nothing that is still on its way.
    fn linger(&mut self, engine: &mut Engine, link: LinkId) {
        let deadline = engine.now.after_seconds(LINGER_S);
        let Some(connection) = engine.links.get_mut(link) else { return };
        connection.phase = Phase::Lingering { deadline, is_silent: true };
        socket::finish(connection.as_fd());
        self.lingering.push_back((deadline, link));
        self.part_soon(engine.now, link);
        engine.arm(link);
    }

    /// Lets a stopping worker look soon whether anything still comes from a lingering peer.
    fn part_soon(&mut self, now: Time, link: LinkId) {
        if self.is_stopping() {
            self.parting.push_back((now.after(STOP_LINGER), link));
        }
    }

    /// Ends a lingering connection from which nothing has come lately.
    fn end_silent(&mut self, engine: &mut Engine, link: LinkId) -> bool {
        let Some(connection) = engine.links.get_mut(link) else { return false };
        let Phase::Lingering { is_silent, .. } = &mut connection.phase else { return false };
        let was_silent = std::mem::replace(is_silent, true);
        match was_silent {
            true => engine.links.end(link),
            false => self.part_soon(engine.now, link),
        }
        was_silent
    }

    fn stop(&mut self, engine: &mut Engine) {
        self.stage = Stage::Stopping { deadline: engine.now.after(STOP_CUT) };
        self.began = engine.now;
        engine.gate.shut();
        engine.feed(Input::Shutdown);
        for (link, connection) in engine.links.iter() {
            if matches!(connection.phase, Phase::Lingering { .. }) {
                self.part_soon(engine.now, link);
            }
        }
    }

    fn cut_off_all(&mut self, engine: &mut Engine) {
        let links = engine.links.all();
        self.stage = Stage::Stopped { cut: links.len() };
        for link in links {
            if let Some(connection) = engine.links.get(link) {
                socket::abandon(connection.as_fd());
            }
            engine.lose(link, None);
        }
    }
}

/// The next link of a list whose time has come.
fn pop_due(list: &mut VecDeque<(Time, LinkId)>, now: Time) -> Option<LinkId> {
    let is_due = list.front().is_some_and(|(deadline, _)| *deadline <= now);
    if is_due { list.pop_front().map(|(_, link)| link) } else { None }
}

/// Ends a connection that is draining or lingering still.
fn end_overdue(engine: &mut Engine, link: LinkId) -> bool {
    let Some(connection) = engine.links.get(link) else { return false };
    match connection.phase {
        Phase::Draining { deadline } if deadline <= engine.now => {
            socket::abandon(connection.as_fd());
        }
        Phase::Lingering { deadline, .. } if deadline <= engine.now => {}
        _ => return false,
    }
    engine.links.end(link);
    true
}
