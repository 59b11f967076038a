//! Hashes of passwords, as files hold them.
//!
//! | form | what |
//! |---|---|
//! | `$6$salt$hash` | SHA-512 of password and salt: Mosquitto up to 1.6; read only |
//! | `$7$iterations$salt$hash` | PBKDF2 with HMAC-SHA-512: Mosquitto 2.0 |
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | Argon2id: Mosquitto 2.1 |
//! | `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` | RFC 7677, as PostgreSQL writes it |
//!
//! The fields are base64, with or without `=` at the end.

use super::keyed_hash::{hmac_sha256, process_number};
use crate::base::random;
use crate::limits::{HASH_ITERATIONS_MAX, HASH_LANES_MAX, HASH_MEMORY_KIB_MAX, HASH_PASSES_MAX};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use hmac::Mac;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::ops::Range;
use subtle::ConstantTimeEq;

/// Reads base64 with or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const SALT_BYTES_MAX: usize = 128;

/// Argon2id's parameters in Mosquitto 2.1: 46 MiB, one pass, one lane.
const NEW_ARGON2: (u32, u32, u32) = (47_104, 1, 1);
/// PBKDF2's iterations for a new entry: OWASP's advice for SHA-512.
const NEW_PBKDF2: u32 = 210_000;
/// SCRAM's iterations for a new entry: RFC 7677 asks for 4096 at least, and all clients, small ones
/// too, do this work with every login.
const NEW_SCRAM: u32 = 16_384;

/// Memory for hashing, kept from one login to the next: taking 46 MiB from the kernel each time
/// costs a quarter of the time that it takes to fill them.
#[derive(Default)]
pub struct Workspace {
    blocks: Vec<Block>,
    advise: Option<fn(Range<*const u8>)>,
    /// Key derivations so far, for tests that compare the work of two logins.
    #[cfg(test)]
    pub(super) work: Vec<String>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workspace").field("kib", &self.blocks.len()).finish()
    }
}

impl Workspace {
    /// Makes an empty workspace. `advise` gets the range of its memory before the first use.
    #[must_use]
    pub fn new(advise: fn(Range<*const u8>)) -> Self {
        Self { advise: Some(advise), ..Self::default() }
    }

    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.blocks.len() < count {
            // Not grown: what the old ones hold is of no use, and would be copied.
            self.blocks = Vec::new();
            self.blocks.reserve_exact(count);
            if let Some(advise) = self.advise {
                let memory = self.blocks.spare_capacity_mut().as_ptr_range();
                advise(memory.start.cast()..memory.end.cast());
            }
            self.blocks.resize(count, Block::new());
        }
        &mut self.blocks[..count]
    }
}

/// The method that hashes a new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashMethod {
    /// Argon2id.
    Argon2id,
    /// PBKDF2 with HMAC-SHA-512, which Mosquitto 2.0 reads too.
    Pbkdf2,
    /// Keys for SCRAM-SHA-256, which verify plain passwords too.
    Scram,
}

/// Hashes a new password with a new salt; the result belongs behind the colon in a password file.
#[must_use]
pub fn hash_password(method: HashMethod, password: &[u8]) -> String {
    let mut salt = &random::bytes::<16>()[..];
    let cost = match method {
        HashMethod::Argon2id => {
            let (memory, passes, lanes) = NEW_ARGON2;
            Cost::Argon2 { memory, passes, lanes }
        }
        HashMethod::Pbkdf2 => {
            // Mosquitto 2.0 takes no other length.
            salt = &salt[..12];
            Cost::Pbkdf2 { iterations: NEW_PBKDF2 }
        }
        HashMethod::Scram => Cost::Scram { iterations: NEW_SCRAM },
    };
    PasswordHash::create(cost, salt, password).to_string()
}

/// The parameters of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Sha512,
    Pbkdf2 { iterations: u32 },
    Argon2 { memory: u32, passes: u32, lanes: u32 },
    Scram { iterations: u32 },
}

/// A password's hash, its parameters and, for SCRAM, the server key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash {
    pub cost: Cost,
    pub salt: Box<[u8]>,
    /// The hash; for SCRAM the stored key.
    pub hash: Box<[u8]>,
    /// SCRAM's other key.
    pub server_key: Option<[u8; 32]>,
}

impl PasswordHash {
    /// Parses the text behind the colon. The error names the fault.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(fields) = text.strip_prefix("SCRAM-SHA-256$") {
            return parse_scram(fields);
        }
        let mut fields = text.strip_prefix('$').unwrap_or_default().split('$');
        let mut next = || fields.next().unwrap_or_default();
        let (cost, hash_bytes) = match next() {
            "6" => (Cost::Sha512, 64..=64),
            "7" => (Cost::Pbkdf2 { iterations: iterations(next())? }, 64..=64),
            "argon2id" => (argon2_cost(next(), next())?, 16..=64),
            "" if text.starts_with('$') => return Err("the hash is cut off"),
            _ => {
                return Err(
                    "no hash that is known ($argon2id$, $7$, $6$, SCRAM-SHA-256$): is it a plain \
                     password? set it anew with ringmq passwd",
                );
            }
        };
        let (salt, hash) = (salt(next())?, bytes(next())?);
        if fields.next().is_some() {
            return Err("something stands behind the hash: remove it, or set the password anew");
        }
        if !hash_bytes.contains(&hash.len()) {
            return Err("the hash does not have its length: set the password anew");
        }
        Ok(Self { cost, salt, hash: hash.into(), server_key: None })
    }

    /// Hashes `password`.
    pub(super) fn create(cost: Cost, salt: &[u8], password: &[u8]) -> Self {
        let mut created = Self { cost, salt: salt.into(), hash: Box::default(), server_key: None };
        match cost {
            Cost::Scram { iterations } => {
                let keys = scram_keys(password, salt, iterations);
                created.hash = keys.0.into();
                created.server_key = Some(keys.1);
            }
            Cost::Argon2 { .. } => created.hash = [0; 32].into(),
            Cost::Sha512 | Cost::Pbkdf2 { .. } => created.hash = [0; 64].into(),
        }
        created.hash = created.derive(password, &mut Workspace::default());
        created
    }

    /// Whether `password` is right; takes the same time either way.
    pub(super) fn verify(&self, password: &[u8], workspace: &mut Workspace) -> bool {
        let hash = self.derive(password, workspace);
        hash.ct_eq(&self.hash).into()
    }

    fn derive(&self, password: &[u8], workspace: &mut Workspace) -> Box<[u8]> {
        #[cfg(test)]
        workspace.work.push(format!("{:?} {} {}", self.cost, self.salt.len(), self.hash.len()));
        match self.cost {
            Cost::Sha512 => {
                let hash = Sha512::new().chain_update(password).chain_update(&self.salt);
                hash.finalize().as_slice().into()
            }
            Cost::Pbkdf2 { iterations } => {
                let mut hash = [0; 64];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, iterations, &mut hash);
                hash.into()
            }
            Cost::Argon2 { memory, passes, lanes } => {
                let params = Params::new(memory, passes, lanes, None).expect("checked by parse");
                let blocks = workspace.blocks(params.block_count());
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut hash = vec![0; self.hash.len()];
                argon2
                    .hash_password_into_with_memory(password, &self.salt, &mut hash, blocks)
                    .expect("lengths were checked by parse, a password's by the protocol");
                hash.into()
            }
            Cost::Scram { iterations } => scram_keys(password, &self.salt, iterations).0.into(),
        }
    }

    /// The number of times that the hash is repeated; 1 for a form without that parameter.
    pub(super) const fn iterations(&self) -> u32 {
        match self.cost {
            Cost::Pbkdf2 { iterations } | Cost::Scram { iterations } => iterations,
            Cost::Sha512 | Cost::Argon2 { .. } => 1,
        }
    }

    /// A number that tells this entry from every other one, in this process.
    pub(super) fn fingerprint(&self, user: &str) -> u64 {
        let server_key = self.server_key.unwrap_or_default();
        let cost = format!("{:?}", self.cost);
        let parts: [&[u8]; 5] =
            [user.as_bytes(), cost.as_bytes(), &self.salt, &self.hash, &server_key];
        process_number(&parts)
    }
}

/// `Debug` leaves out the hash, a secret as well: its holder can try passwords offline.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// `Display` writes the form in password files.
impl fmt::Display for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let padded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let (salt, hash) = (padded(&self.salt), padded(&self.hash));
        match self.cost {
            Cost::Sha512 => write!(formatter, "$6${salt}${hash}"),
            Cost::Pbkdf2 { iterations } => write!(formatter, "$7${iterations}${salt}${hash}"),
            Cost::Argon2 { memory, passes, lanes } => {
                let salt = BASE64_STANDARD_NO_PAD.encode(&self.salt);
                let hash = BASE64_STANDARD_NO_PAD.encode(&self.hash);
                write!(formatter, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
            }
            Cost::Scram { iterations } => {
                let server_key = padded(&self.server_key.unwrap_or_default());
                write!(formatter, "SCRAM-SHA-256${iterations}:{salt}${hash}:{server_key}")
            }
        }
    }
}

/// StoredKey and ServerKey of RFC 5802, section 3.
fn scram_keys(password: &[u8], salt: &[u8], iterations: u32) -> ([u8; 32], [u8; 32]) {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    let keyed = |words: &[u8]| hmac_sha256(&salted).chain_update(words).finalize().into_bytes();
    (Sha256::digest(keyed(b"Client Key")).into(), keyed(b"Server Key").into())
}

fn parse_scram(fields: &str) -> Result<PasswordHash, &'static str> {
    let shape = "not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey";
    let (parameters, keys) = fields.split_once('$').ok_or(shape)?;
    let (count, salt_text) = parameters.split_once(':').ok_or(shape)?;
    let (stored_key, server_key) = keys.split_once(':').ok_or(shape)?;
    let key = |text| -> Result<[u8; 32], &'static str> {
        bytes(text)?.try_into().map_err(|_| "a key does not have 32 bytes: set the password anew")
    };
    Ok(PasswordHash {
        cost: Cost::Scram { iterations: iterations(count)? },
        salt: salt(salt_text)?,
        hash: key(stored_key)?.into(),
        server_key: Some(key(server_key)?),
    })
}

fn argon2_cost(version: &str, costs: &str) -> Result<Cost, &'static str> {
    if version != "v=19" {
        return Err("not version 19 of Argon2: set the password anew");
    }
    let mut fields = costs.split(',');
    let mut next = |prefix| fields.next().and_then(|field| number(field.strip_prefix(prefix)?));
    let (memory, passes, lanes) = (next("m="), next("t="), next("p="));
    let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
        return Err("not of the form m=…,t=…,p=…");
    };
    let (memory_max, passes_max) = (HASH_MEMORY_KIB_MAX, HASH_PASSES_MAX);
    let is_bounded = memory <= memory_max && passes <= passes_max && lanes <= HASH_LANES_MAX;
    if fields.next().is_some() || !is_bounded || Params::new(memory, passes, lanes, None).is_err() {
        return Err("m, t or p is out of range (m to 262144, t and p to 16, m at least 8 p)");
    }
    Ok(Cost::Argon2 { memory, passes, lanes })
}

fn iterations(text: &str) -> Result<u32, &'static str> {
    number(text)
        .filter(|count| (1..=HASH_ITERATIONS_MAX).contains(count))
        .ok_or("the iterations are no number from 1 to 2000000")
}

/// Digits and nothing else: `u32::from_str` takes a sign, too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn salt(text: &str) -> Result<Box<[u8]>, &'static str> {
    let salt = bytes(text)?;
    // 8 is the least that Argon2 takes; none of the programs that write such files takes fewer.
    match (8..=SALT_BYTES_MAX).contains(&salt.len()) {
        true => Ok(salt.into()),
        false => Err("the salt has less than 8 or more than 128 bytes: set the password anew"),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, &'static str> {
    BASE64.decode(text).map_err(|_| "a field is no base64: set the password anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for method in [HashMethod::Argon2id, HashMethod::Pbkdf2, HashMethod::Scram] {
            let text = hash_password(method, b"x");
            let hash = PasswordHash::parse(&text).unwrap();
            assert_eq!(hash.to_string(), text);
            assert_ne!(hash_password(method, b"x"), text, "another salt");
        }
    }

    #[test]
    fn memory_is_kept_and_does_not_matter() {
        let cost = |memory| Cost::Argon2 { memory, passes: 2, lanes: 1 };
        let mut workspace = Workspace::default();
        for memory in [8, 64, 16, 64, 8] {
            let hash = PasswordHash::create(cost(memory), &[1; 16], b"right");
            assert!(hash.verify(b"right", &mut workspace));
            assert!(!hash.verify(b"wrong", &mut workspace));
        }
        assert_eq!(workspace.blocks.len(), 64);
    }
}
