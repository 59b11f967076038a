//! A bare shard with links and a clock of its own: no socket, no thread.

use ringmq::access::{Policy, Step, Workspace};
use ringmq::base::ids::WorkerId;
use ringmq::base::maps::HashMap;
use ringmq::base::time::Time;
use ringmq::broker::{Input, LinkId, Output, Shard};
use ringmq::options::Options;
use ringmq::testing::{balance, open_policy};
use std::sync::Arc;
use std::time::Duration;

/// One worker, alone.
pub struct Bare {
    pub shard: Shard,
    policies: Arc<[Policy]>,
    pub now: Time,
    links: HashMap<LinkId, Link>,
    opened: u32,
}

#[derive(Default)]
struct Link {
    sent: Vec<u8>,
    closed: bool,
    has_input: bool,
}

impl Default for Bare {
    fn default() -> Self {
        Self::with(Options::default())
    }
}

// I23
impl Drop for Bare {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let (owed, ended) = balance(&self.shard);
            assert_eq!(owed, ended, "the sums agree: {:?}", self.shard.counters());
        }
    }
}

impl Bare {
    pub fn with(options: Options) -> Self {
        Self::with_policies(options, Arc::new([open_policy()]))
    }

    /// A shard with as many listeners as there are policies.
    pub fn with_policies(options: Options, policies: Arc<[Policy]>) -> Self {
        let shard = Shard::new(Arc::new(options), policies.clone(), WorkerId(0), 1, 1);
        Self { shard, policies, now: Time::ZERO, links: HashMap::default(), opened: 0 }
    }

    pub fn open(&mut self) -> LinkId {
        self.opened += 1;
        let link = LinkId { slot: self.opened - 1, generation: self.opened };
        self.links.insert(link, Link::default());
        let peer: std::net::SocketAddr = "192.0.2.1:1024".parse().unwrap();
        self.shard.open(self.now, link, peer);
        link
    }

    /// A link whose client has been let in.
    pub fn connected(&mut self, connect: &[u8]) -> LinkId {
        let link = self.open();
        self.send(link, connect);
        assert_eq!(self.take(link)[3], 0, "it is let in");
        link
    }

    pub fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.input(Input::Received { link, bytes });
    }

    /// Whether bytes of the link wait that the shard has not got.
    pub fn set_waiting(&mut self, link: LinkId, has_input: bool) {
        self.links.get_mut(&link).unwrap().has_input = has_input;
    }

    pub fn drop_link(&mut self, link: LinkId) {
        if !self.is_closed(link) {
            self.links.get_mut(&link).unwrap().closed = true;
            self.input(Input::Closed { link });
        }
    }

    /// What the next call of [`Self::take`] begins with.
    pub fn put_back(&mut self, link: LinkId, bytes: &[u8]) {
        self.links.get_mut(&link).unwrap().sent.splice(0..0, bytes.iter().copied());
    }

    /// New settings, for the shard and for logins.
    pub fn reload(&mut self, options: Options, policies: Arc<[Policy]>) {
        self.policies = policies.clone();
        self.input(Input::Reload { options: Arc::new(options), policies });
    }

    /// What the broker has sent on the link since the last call.
    pub fn take(&mut self, link: LinkId) -> Vec<u8> {
        std::mem::take(&mut self.links.get_mut(&link).unwrap().sent)
    }

    pub fn is_closed(&self, link: LinkId) -> bool {
        self.links[&link].closed
    }

    /// Lets time pass, second by second at the most.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.shard.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    /// Counts what the shard holds, so that its gauges are those of now.
    pub fn count(&mut self) {
        self.shard.begin_census();
        while self.shard.has_census() {
            self.input(Input::Tick);
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.drain();
    }

    /// Sends what there is to send, closes what is to be closed.
    pub fn drain(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(link) = self.shard.outbox().next_dirty() {
                is_idle = false;
                let outbox = self.shard.outbox();
                let bytes: Vec<u8> = outbox.segments(link).flatten().copied().collect();
                outbox.sent(link);
                self.links.get_mut(&link).unwrap().sent.extend(bytes);
            }
            self.shard.outbox().reset();
            let Some(output) = self.shard.next_output() else {
                if is_idle {
                    return;
                }
                continue;
            };
            match output {
                Output::Close { link } => {
                    self.links.get_mut(&link).unwrap().closed = true;
                    self.shard.handle(self.now, Input::Closed { link });
                }
                Output::Authenticate { link, login } => {
                    let policy = &self.policies[login.listener.index()];
                    let step = policy.verify(*login, 0, &mut Workspace::default());
                    let Step::Done(verdict) = step else { unreachable!("no hook") };
                    self.shard.handle(self.now, Input::Authenticated { link, verdict });
                }
                Output::LookForInput { link } => {
                    let has_input = self.links[&link].has_input;
                    self.shard.handle(self.now, Input::Looked { link, has_input });
                }
                Output::AwaitBytes { .. }
                | Output::PauseReceive { .. }
                | Output::ResumeReceive { .. } => {}
                Output::Handover { .. } | Output::Mesh { .. } => unreachable!("one worker"),
            }
        }
    }
}
