//! The subscribing half of a client: the subscriptions that it wants, and those that it knows of.

use super::Turn;
use crate::catalog::Filters;
use crate::link::Link;
use ringmq_mqtt::{
    Packet, QoS, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, UserProperties,
};

/// One filter.
#[derive(Debug)]
struct Wish {
    filter: String,
    qos: QoS,
    is_wanted: bool,
    /// The state that the broker acknowledged last; None while that is in doubt.
    known: Option<bool>,
    /// The packet identifier of the request that is not answered.
    pending: Option<u16>,
    /// The subscription comes and goes.
    is_churning: bool,
}

/// Packet identifiers of requests, beyond those of publishes.
const FIRST_ID: u16 = 50_000;

/// The subscriptions that a client wants.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    wishes: Vec<Wish>,
    requests: u16,
}

impl Wishes {
    pub(crate) fn new(stable: Filters, churning: Filters) -> Self {
        let wish = |(filter, qos): (String, QoS), is_churning: bool| Wish {
            filter,
            qos,
            is_wanted: !is_churning,
            known: Some(false),
            pending: None,
            is_churning,
        };
        let stable = stable.into_iter().map(|known| wish(known, false));
        let churning = churning.into_iter().map(|known| wish(known, true));
        Self { wishes: stable.chain(churning).collect(), requests: 0 }
    }

    /// The session is gone.
    pub(crate) fn forget(&mut self) {
        for wish in &mut self.wishes {
            wish.known = Some(false);
        }
    }

    /// The connection is gone: requests without an answer may have been heard or not.
    pub(crate) fn disconnect(&mut self) {
        for wish in &mut self.wishes {
            wish.pending = None;
        }
    }

    /// The broker has lost this one.
    pub(crate) fn doubt(&mut self, filter: &str) {
        for wish in self.wishes.iter_mut().filter(|wish| wish.filter == filter) {
            wish.known = None;
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.wishes.iter().all(|wish| wish.known == Some(wish.is_wanted))
    }

    /// Changes its mind about one that comes and goes.
    pub(crate) fn change(&mut self, turn: &mut Turn<'_>) {
        let is_free = |wish: &&mut Wish| wish.is_churning && wish.known == Some(wish.is_wanted);
        let mut free: Vec<_> = self.wishes.iter_mut().filter(is_free).collect();
        if !free.is_empty() {
            let place = turn.prng.usize(..free.len());
            free[place].is_wanted ^= true;
        }
    }

    /// Asks for the subscriptions that are not known to be as they are wanted.
    pub(crate) fn ask(&mut self, client: usize, link: &mut Link, turn: &mut Turn<'_>) {
        for wish in &mut self.wishes {
            if wish.known == Some(wish.is_wanted) || wish.pending.is_some() {
                continue;
            }
            self.requests = (self.requests + 1) % 10_000;
            let packet_id = FIRST_ID + self.requests;
            wish.pending = Some(packet_id);
            wish.known = None;
            if wish.is_wanted {
                turn.checker.subscribing(client, &wish.filter, wish.qos);
                link.send(&subscribe(packet_id, &wish.filter, wish.qos));
            } else {
                turn.checker.unsubscribing(client, &wish.filter);
                let filters = std::iter::once(&*wish.filter).collect();
                let user_properties = UserProperties::default();
                let packet = Unsubscribe { packet_id, filters, user_properties };
                link.send(&Packet::Unsubscribe(packet));
            }
        }
    }

    /// SUBACK or UNSUBACK has come.
    pub(crate) fn answered(&mut self, client: usize, turn: &mut Turn<'_>, id: u16, code: u8) {
        let known = self.wishes.iter_mut().find(|wish| wish.pending == Some(id));
        let Some(wish) = known else { return };
        wish.pending = None;
        if code >= 0x80 {
            return;
        }
        wish.known = Some(wish.is_wanted);
        if wish.is_wanted {
            turn.checker.subscribed(client, &wish.filter);
        } else {
            turn.checker.unsubscribed(client, &wish.filter);
        }
    }
}

/// SUBSCRIBE for one filter.
pub(crate) fn subscribe(packet_id: u16, filter: &str, qos: QoS) -> Packet<'_> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters = std::iter::once(SubscribeFilter { filter, options }).collect();
    Packet::Subscribe(Subscribe { packet_id, filters, ..Subscribe::default() })
}
