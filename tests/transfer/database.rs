//! Databases of Mosquitto's, written by hand as its published structures have them.

/// A database so far.
pub struct Database {
    format: u32,
    pub bytes: Vec<u8>,
}

/// A message on its way to or from a client.
#[derive(Clone, Copy)]
pub struct ClientMessage<'a> {
    pub client: &'a str,
    pub message: u64,
    pub packet_id: u16,
    pub qos: u8,
    pub state: u8,
    pub dup: bool,
    pub is_outgoing: bool,
    /// Encoded, without their length.
    pub properties: &'a [u8],
}

/// A message that waits for its turn.
pub const QUEUED: ClientMessage<'_> = ClientMessage {
    client: "",
    message: 0,
    packet_id: 0,
    qos: 1,
    state: 11,
    dup: false,
    is_outgoing: true,
    properties: &[],
};

impl Database {
    pub fn new(format: u32) -> Self {
        let mut bytes = b"\x00\xB5\x00mosquitto db\0\0\0\0".to_vec();
        bytes.extend(format.to_be_bytes());
        let mut database = Self { format, bytes };
        database.chunk(1, &[&7_u64.to_le_bytes()[..], &[1, 8], &[0; 6]]);
        database
    }

    pub fn chunk(&mut self, kind: u32, parts: &[&[u8]]) {
        let content = parts.concat();
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((content.len() as u32).to_be_bytes());
        self.bytes.extend(content);
    }

    /// A message; `expires_s` is 0 for never, and `properties` are encoded, without their length.
    pub fn message(&mut self, id: u64, topic: &str, payload: &[u8], expires_s: i64, qos: u8) {
        self.message_with(id, topic, payload, expires_s, (qos, false), &[]);
    }

    pub fn message_with(
        &mut self,
        id: u64,
        topic: &str,
        payload: &[u8],
        expires_s: i64,
        (qos, retain): (u8, bool),
        properties: &[u8],
    ) {
        let lengths = [5_u16, 3, topic.len() as u16, 1883].map(u16::to_be_bytes).concat();
        let properties = if properties.is_empty() { Vec::new() } else { counted(properties) };
        self.chunk(
            2,
            &[
                &id.to_le_bytes(),
                &expires_s.to_le_bytes(),
                &(payload.len() as u32).to_be_bytes(),
                &[0, 0],
                &lengths,
                &[qos, u8::from(retain)],
                b"plantann",
                topic.as_bytes(),
                payload,
                &properties,
            ],
        );
    }

    /// A client; `ends_s` is 0 for not yet.
    pub fn client(&mut self, id: &str, ends_s: i64, expiry_s: u32) {
        let user: &[u8] = if self.format == 5 { b"" } else { b"ann" };
        let length = (id.len() as u16).to_be_bytes();
        let more = [&1883_u16.to_be_bytes()[..], &(user.len() as u16).to_be_bytes(), &[0; 4]];
        let more = if self.format == 5 { Vec::new() } else { more.concat() };
        self.chunk(
            6,
            &[
                &ends_s.to_le_bytes(),
                &expiry_s.to_be_bytes(),
                &[0, 9],
                &length,
                &more,
                id.as_bytes(),
                user,
            ],
        );
    }

    pub fn subscription(&mut self, client: &str, filter: &str, options: u8, identifier: u32) {
        let lengths = [client.len() as u16, filter.len() as u16].map(u16::to_be_bytes).concat();
        let options = [options & 3, options & 0xfc, 0, 0];
        let texts = [client.as_bytes(), filter.as_bytes()].concat();
        self.chunk(5, &[&identifier.to_be_bytes(), &lengths, &options, &texts]);
    }

    pub fn client_message(&mut self, message: ClientMessage<'_>) {
        let ClientMessage { client, message: id, packet_id, qos, state, dup, .. } = message;
        let properties = match message.properties {
            [] => Vec::new(),
            properties => counted(properties),
        };
        self.chunk(
            3,
            &[
                &id.to_le_bytes(),
                &packet_id.to_be_bytes(),
                &(client.len() as u16).to_be_bytes(),
                &[qos, state, u8::from(dup), u8::from(message.is_outgoing)],
                client.as_bytes(),
                &properties,
            ],
        );
    }

    pub fn retained(&mut self, id: u64) {
        self.chunk(4, &[&id.to_le_bytes()]);
    }
}

fn counted(properties: &[u8]) -> Vec<u8> {
    [&[properties.len() as u8], properties].concat()
}
