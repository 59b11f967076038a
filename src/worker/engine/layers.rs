//! The layers between a socket and MQTT, where there are any: TLS, WebSocket, a PROXY header.

use super::Engine;
use crate::broker::{Input, LinkId};
use crate::io::clock;
use crate::limits::HANDSHAKE_STEPS_MAX;
use crate::metrics::record;
use crate::options::CertificateUser;
use crate::transport::{Flow, Transport};
use crate::worker::connection::{Connection, Layers, Phase};
use std::time::Duration;

impl Engine {
    /// Takes up the handshakes that wait, as many as a turn has time for. True when there were any.
    pub(in crate::worker) fn shake_hands(&mut self) -> bool {
        let mut steps = 0;
        while steps < HANDSHAKE_STEPS_MAX {
            let Some(link) = self.handshakes.pop_front() else { return steps > 0 };
            steps += self.handshake_steps(link);
            self.unwrap(link);
            self.carry_out_all();
            self.links.attend(link);
        }
        true
    }

    /// The steps of a handshake that is taken up now; 1 for a connection that has gone.
    fn handshake_steps(&self, link: LinkId) -> usize {
        let connection = self.links.get(link);
        let layers = connection.and_then(|connection| connection.layers.as_ref());
        layers.map_or(1, |layers| layers.transport.handshake_steps(&layers.waiting))
    }

    /// Disowns clients whose certificates are not accepted any more, after a reload; as many are
    /// looked at as a turn has time for. True when there were any.
    pub(in crate::worker) fn judge_certificates(&mut self) -> bool {
        for step in 0..HANDSHAKE_STEPS_MAX {
            let Some(link) = self.unjudged.pop_front() else { return step > 0 };
            if !self.accepts_certificate(link) {
                self.feed(Input::Disowned { link });
            }
        }
        true
    }

    /// True when the settings accept a client's certificate, or while there is none yet.
    fn accepts_certificate(&self, link: LinkId) -> bool {
        let Some(Connection { layers: Some(layers), listener, .. }) = self.links.get(link) else {
            return true;
        };
        let tls = self.settings.protocols[listener.index()].tls.as_ref();
        let tls = tls.filter(|_| layers.transport.is_ready());
        tls.is_none_or(|tls| layers.transport.still_accepted(tls, clock::wall()))
    }

    /// Passes the bytes that came on a connection through its layers: at once, or, since a
    /// handshake costs time, when it is its turn.
    pub(super) fn unwrap_later(&mut self, link: LinkId) {
        let Some(connection) = self.links.get(link) else { return };
        if connection.layers.as_ref().is_some_and(|layers| layers.transport.is_handshaking()) {
            self.handshakes.push_back(link);
        } else {
            self.unwrap(link);
        }
    }

    fn unwrap(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else { return };
        let Some(layers) = &mut connection.layers else { return };
        let bytes = std::mem::take(&mut layers.waiting);
        let transport = &mut layers.transport;
        let mut plain = std::mem::take(&mut self.plain);
        let flow = transport.receive(&bytes, &mut plain);
        let has_output = transport.has_output();
        let is_new = transport.is_ready() && !std::mem::replace(&mut layers.is_identified, true);
        let has_failed = flow.is_err() && transport.is_handshaking();
        let taken = self.now.since(layers.begun);
        if has_output {
            self.links.let_talk(link);
        }
        if is_new || has_failed {
            self.note_handshake(link, taken, is_new);
        }
        if is_new {
            self.identify(link);
        }
        if plain.is_empty() {
            self.note_progress(link);
        }
        self.pass_on(link, &plain);
        plain.clear();
        self.plain = plain;
        match flow {
            Ok(Flow::Open) => {}
            Ok(_) => self.end_input(link),
            Err(error) => self.garble(link, &error.to_string()),
        }
    }

    /// Counts the end of a TLS handshake.
    fn note_handshake(&mut self, link: LinkId, taken: Duration, is_done: bool) {
        let Some(connection) = self.links.get(link) else { return };
        if self.settings.protocols[connection.listener.index()].tls.is_none() {
            return;
        }
        self.shard.counters_mut().handshakes[usize::from(!is_done)] += 1;
        if is_done {
            record(&mut self.shard.histograms().handshake, taken, 1);
        }
    }

    /// Takes nothing more from a peer whose bytes make no sense to a layer.
    fn garble(&mut self, link: LinkId, cause: &str) {
        let Some(connection) = self.links.get_mut(link) else { return };
        if matches!(connection.phase, Phase::Open) {
            connection.finished = true;
            let peer = connection.layers.as_ref().and_then(|layers| layers.transport.peer());
            return self.feed(Input::Garbled { link, peer, cause });
        }
        tracing::info!(peer = %connection.peer(), "Client closed: {cause}");
        self.end_input(link);
    }

    /// Tells the shard of bytes that have come and do not reach it yet.
    pub(super) fn note_progress(&mut self, link: LinkId) {
        let connection = self.links.get(link);
        if connection.is_some_and(|c| !c.settled && matches!(c.phase, Phase::Open)) {
            self.shard.handle(self.now, Input::Heard { link });
        }
    }

    /// Gives the bytes that came through the layers to the shard, or to the connection, which takes
    /// them along to another worker.
    fn pass_on(&mut self, link: LinkId, plain: &[u8]) {
        if plain.is_empty() {
            return;
        }
        match self.links.get_mut(link).map(|connection| &mut connection.phase) {
            Some(Phase::Open) => {
                self.shard.handle(self.now, Input::Received { link, bytes: plain });
            }
            Some(Phase::Moving(moving)) => moving.received.extend_from_slice(plain),
            _ => {}
        }
    }

    /// Tells the shard who is connected, now that all layers are up. The handshake may have begun
    /// before the settings changed.
    fn identify(&mut self, link: LinkId) {
        if !self.accepts_certificate(link) {
            let peer = self.links.get(link).map(Connection::peer).unwrap_or_default();
            tracing::info!(%peer, "Client closed: its certificate is not accepted any more");
            return self.links.close(link);
        }
        let Some(connection) = self.links.get_mut(link) else { return };
        let Some(Layers { transport, .. }) = connection.layers.as_deref() else { return };
        let options = &self.settings.options;
        let choice = options.listeners[connection.listener.index()].certificate_user;
        let certificate_user = certificate_user(transport, choice);
        let is_proxied = transport.is_proxied();
        let peer = transport.peer().or_else(|| connection.peer_address());
        // Others were counted when they were accepted. A proxy's own connections count for it.
        let excess = peer
            .filter(|_| is_proxied)
            .and_then(|peer| self.gate.count_address(&mut connection.place, peer.ip(), options));
        self.feed(Input::Identified { link, peer, certificate_user, excess });
    }
}

/// The user name that the client's certificate stands for; None when it has none, or none that is
/// clear.
fn certificate_user(transport: &Transport, choice: CertificateUser) -> Option<Box<str>> {
    let certificate = || transport.certificate();
    match choice {
        CertificateUser::None => None,
        CertificateUser::CommonName => certificate()?.common_name,
        CertificateUser::Subject => Some(certificate()?.subject),
    }
}
