//! The drain: clients are sent away a part at a time before the broker stops, so that they do not
//! all come to another broker at once.

use super::Observer;
use crate::base::ids::WorkerId;
use crate::broker::{Act, Deed, Farewell};
use crate::mqtt::ReasonCode;
use crate::worker::{Notice, Question};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The time between two parts.
const PART_INTERVAL: Duration = Duration::from_millis(100);

/// How clients are sent away before the broker stops.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Drain {
    /// The time over which they are; zero for all at once, by the stop itself.
    pub(in crate::server) over: Duration,
    /// The broker that they should use instead.
    pub(in crate::server) server_reference: Option<Arc<str>>,
}

impl Drain {
    fn farewell(&self) -> Farewell {
        let server_reference = self.server_reference.clone();
        let code = match server_reference {
            Some(_) => ReasonCode::UseAnotherServer,
            None => ReasonCode::ServerShuttingDown,
        };
        Farewell { code, server_reference }
    }
}

impl Observer {
    /// Accepts no more connections, and sends all clients away.
    pub(in crate::server) async fn drain(&self, drain: &Drain) {
        let workers = || WorkerId::all(self.notices.workers());
        for worker in workers() {
            self.notices.send(worker, Notice::Drain);
        }
        let clients = self.glance().await.sums().1.clients_connected;
        let seconds = drain.over.as_secs();
        tracing::info!(clients, seconds, "Draining");
        let until = self.clock.now().after(drain.over);
        loop {
            let left = until.since(self.clock.now());
            let parts = (left.as_millis() / PART_INTERVAL.as_millis()) as u64 + 1;
            let view = self.glance().await;
            let mut remain = 0;
            for snapshot in &view.workers {
                let connected = snapshot.gauges.clients_connected;
                let part = connected.div_ceil(parts) as usize;
                self.send_away(snapshot.worker, part, drain.farewell()).await;
                remain += connected as usize - part;
            }
            if remain == 0 || left.is_zero() {
                return;
            }
            sleep(PART_INTERVAL).await;
        }
    }

    /// Sends some clients of a worker away.
    async fn send_away(&self, worker: WorkerId, mut count: usize, farewell: Farewell) {
        let mut next = Some(0);
        while let Some(from) = next.filter(|_| count > 0) {
            let act = Act::SendAway { from, count, farewell: farewell.clone() };
            let Some(deed) = self.act(worker, act).await else { return };
            count = count.saturating_sub(deed.count);
            next = deed.next;
        }
    }

    /// Has a worker act; None when it does not answer in time.
    pub(super) async fn act(&self, worker: WorkerId, act: Act) -> Option<Deed> {
        self.ask(worker, |reply| Question::Act(act, reply)).await
    }
}
