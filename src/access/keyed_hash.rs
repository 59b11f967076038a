//! Hashes under a key that ends with this process: no other process can compute them.

use crate::base::random;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::OnceLock;

/// HMAC-SHA-256 under a random key that this process makes and that ends with it. The length of
/// each part counts, so different parts never give the same bytes.
pub(super) fn process_hash(parts: &[&[u8]]) -> [u8; 32] {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let mut hash = hmac_sha256(KEY.get_or_init(random::bytes));
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into_bytes().into()
}

/// The first eight bytes of [`process_hash`] as a number.
pub(super) fn process_number(parts: &[&[u8]]) -> u64 {
    let [first, ..] = *process_hash(parts).as_chunks::<8>().0 else { return 0 };
    u64::from_le_bytes(first)
}

/// HMAC-SHA-256 with `key`, which may have any length.
pub(super) fn hmac_sha256(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length")
}
