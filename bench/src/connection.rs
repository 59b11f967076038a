//! One connection under load: what it does about the packets that come.

use crate::clock::now_ns;
use crate::handshake::Opened;
use crate::link::{End, Link};
use crate::poller::Readiness;
use crate::publisher::Unanswered;
use crate::shared::Shared;
use crate::stamp::Stamp;
use crate::tally::Tally;
use crate::window::Completions;
use crate::wire::{RawFrame, ack_code, delivery, packet_id, raw_frame};
use ringmq_mqtt::{AckType, PacketType, ReasonCode, encode_ack};

/// Bytes of publishes that wait for the kernel at most; more are held back.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

/// A connection with its part in the run.
pub(crate) struct Connection {
    pub(crate) link: Link,
    pub(crate) unanswered: Unanswered,
    pub(crate) role: Role,
    /// Messages that it sent on.
    pub(crate) echoed: u32,
}

/// The role of a connection, with its place among those of the thread in the same role.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Publisher(usize),
    Receiver(usize),
    /// A receiver that sends what it gets on in another stream.
    Echo {
        receiver: usize,
        stream: u32,
    },
    /// The broker has closed it.
    Closed,
}

impl Connection {
    pub(crate) fn new((opened, role): (Opened, Role)) -> Self {
        let Opened { link, receive_maximum } = opened;
        Self { link, unanswered: Unanswered::new(receive_maximum), role, echoed: 0 }
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.unanswered.room() > 0 && self.link.backlog() < BACKLOG_BYTES_MAX
    }

    /// Takes what the socket is ready for.
    pub(crate) fn read(
        &mut self,
        readiness: Readiness,
        buffer: &mut [u8],
        tally: &mut Tally,
        shared: &Shared,
    ) -> End {
        let (unanswered, role) = (&mut self.unanswered, self.role);
        let echoed = &mut self.echoed;
        self.link.read(readiness, buffer, |bytes, out| {
            let now_ns = now_ns();
            Input { unanswered, echoed, role, tally, shared, now_ns, out }.take(bytes)
        })
    }
}

/// The input that one read brought to one connection.
struct Input<'a> {
    unanswered: &'a mut Unanswered,
    echoed: &'a mut u32,
    role: Role,
    tally: &'a mut Tally,
    shared: &'a Shared,
    now_ns: u64,
    /// The buffer for answers.
    out: &'a mut Vec<u8>,
}

impl Input<'_> {
    /// Takes the whole packets that `bytes` starts with and returns their length; none when the
    /// peer breaks the protocol or says good-bye.
    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut used = 0;
        while let Some(frame) = raw_frame(&bytes[used..]) {
            used += frame.length;
            if frame.first >> 4 == PacketType::Publish as u8 {
                self.on_publish(&frame)?;
            } else {
                self.on_answer(&frame)?;
            }
        }
        if let Role::Receiver(receiver) | Role::Echo { receiver, .. } = self.role {
            self.tally.settle(receiver, self.now_ns, &self.shared.completions);
        }
        Some(used)
    }

    #[inline]
    fn on_publish(&mut self, frame: &RawFrame<'_>) -> Option<()> {
        let delivery = delivery(frame, self.shared.version.is_v5())?;
        if let Some((kind, packet_id)) = delivery.answer {
            self.answer(kind, packet_id);
        }
        let receiver = match self.role {
            Role::Receiver(receiver) => receiver,
            Role::Echo { receiver, stream } => {
                self.echo(delivery.payload, stream);
                receiver
            }
            Role::Publisher(_) | Role::Closed => return None,
        };
        let completions: &Completions = &self.shared.completions;
        self.tally.take(receiver, delivery.payload, self.now_ns, completions);
        Some(())
    }

    /// Sends a message on, with its number and time.
    fn echo(&mut self, payload: &[u8], stream: u32) {
        let Some(stamp) = Stamp::read(payload) else { return };
        let packet_id = if self.shared.is_answered { self.unanswered.open() } else { 0 };
        let template = &self.shared.templates[stream as usize];
        template.append(packet_id, Stamp { stream, ..stamp }, self.out);
        *self.echoed += 1;
    }

    fn on_answer(&mut self, frame: &RawFrame<'_>) -> Option<()> {
        let kind = PacketType::from_first(frame.first).and_then(AckType::from_packet_type)?;
        let packet_id = packet_id(frame.body)?;
        match kind {
            AckType::PubRec if ack_code(frame.body) < 0x80 => {
                self.answer(AckType::PubRel, packet_id);
            }
            AckType::PubRel => self.answer(AckType::PubComp, packet_id),
            AckType::PubAck | AckType::PubRec | AckType::PubComp => self.unanswered.close(),
        }
        Some(())
    }

    #[inline]
    fn answer(&mut self, kind: AckType, packet_id: u16) {
        encode_ack(kind, self.shared.version, packet_id, ReasonCode::Success, self.out);
    }
}
