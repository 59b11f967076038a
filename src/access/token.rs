//! JSON Web Tokens in place of passwords.

use super::claims;
use super::keyed_hash::process_number;
use super::rules::Rules;
use super::sources::{Algorithm, JwtSource};
use crate::limits::TOKEN_BYTES_MAX;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, TokenData, Validation};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Seconds by which an issuer's clock may be ahead of the broker's.
const CLOCK_SKEW_S: u64 = 5;

/// Verifies tokens with one key and one algorithm.
pub(super) struct Tokens {
    key: DecodingKey,
    validation: Validation,
    user_claim: Option<Box<str>>,
    /// A fingerprint of the key, the algorithm and the other settings.
    pub fingerprint: u64,
}

/// `Debug` leaves out the key, which may be a shared secret.
impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// The bearer of a token, as its claims describe them.
#[derive(Debug)]
pub(super) struct Bearer {
    pub user: Box<str>,
    pub rules: Option<Arc<Rules>>,
    pub valid_for: Option<Duration>,
}

impl Tokens {
    /// `key` holds the bytes of the source's file. The error names their fault.
    pub(super) fn new(source: &JwtSource, key: &[u8]) -> Result<Self, &'static str> {
        let (algorithm, decoding_key) = match source.algorithm {
            Algorithm::Hs256 => (jsonwebtoken::Algorithm::HS256, secret(key)?),
            Algorithm::Rs256 => {
                let key = DecodingKey::from_rsa_pem(key);
                (jsonwebtoken::Algorithm::RS256, key.map_err(|_| "no RSA public key in PEM")?)
            }
            Algorithm::Es256 => {
                let key = DecodingKey::from_ec_pem(key);
                (jsonwebtoken::Algorithm::ES256, key.map_err(|_| "no EC public key in PEM")?)
            }
        };
        // No other algorithm: else a public key might be taken for a shared secret.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        // Times are compared here: with the caller's clock, and without a minute's leeway.
        validation.validate_exp = false;
        if let Some(audience) = &source.audience {
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["aud"]);
        }
        let settings =
            format!("{:?} {:?} {:?}", source.algorithm, source.user_claim, source.audience);
        let fingerprint = process_number(&[key, settings.as_bytes()]);
        let user_claim = source.user_claim.clone();
        Ok(Self { key: decoding_key, validation, user_claim, fingerprint })
    }

    /// The bearer of `token` at `now_s` seconds since 1970.
    pub(super) fn verify(&self, token: &[u8], now_s: u64) -> Result<Bearer, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("token of more than 16384 bytes");
        }
        let decoded =
            jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let TokenData { header, claims } = decoded.map_err(|error| cause(error.kind()))?;
        // RFC 7515, 4.1.11: none is understood.
        if header.crit.is_some() {
            return Err("token with extensions that must be understood (crit)");
        }
        let valid_for = time_left(&claims, now_s)?;
        let user = self.user(&claims).ok_or("token that names no user")?;
        if !super::is_name(user) {
            return Err("token whose user name is empty or has control characters");
        }
        Ok(Bearer { user: user.into(), rules: claims::rules(claims.get("acl"))?, valid_for })
    }

    fn user<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        let text = |claim: &str| claims.get(claim)?.as_str();
        match &self.user_claim {
            Some(claim) => text(claim),
            None => text("username").or_else(|| text("sub")),
        }
    }
}

/// Whether a password looks like a token: three parts, the first a JSON object.
pub(super) fn is_token(password: &[u8]) -> bool {
    let mut parts = password.split(|byte| *byte == b'.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let header = BASE64_URL_SAFE_NO_PAD.decode(header);
    header.is_ok_and(|header| header.trim_ascii_start().starts_with(b"{"))
}

/// The secret, without the newline that an editor may have added.
fn secret(file: &[u8]) -> Result<DecodingKey, &'static str> {
    let secret = file.strip_suffix(b"\n").unwrap_or(file);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.is_empty() {
        return Err("no secret: write at least 32 random bytes into it");
    }
    // Anybody can sign with what is public.
    if secret.starts_with(b"-----BEGIN") {
        return Err("a PEM key, but HS256 takes a shared secret: choose RS256 or ES256");
    }
    Ok(DecodingKey::from_secret(secret))
}

/// The time until the token expires; none when the token has no end.
fn time_left(claims: &Map<String, Value>, now_s: u64) -> Result<Option<Duration>, &'static str> {
    for begin in ["nbf", "iat"] {
        if seconds(claims, begin)?.is_some_and(|begin| begin > now_s + CLOCK_SKEW_S) {
            return Err("token that is not valid yet");
        }
    }
    match seconds(claims, "exp")? {
        Some(end) if end <= now_s => Err("token that has expired"),
        end => Ok(end.map(|end| Duration::from_secs(end - now_s))),
    }
}

/// The value of a claim in seconds since 1970, perhaps with a fraction.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<Option<u64>, &'static str> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_f64().map(|time| time as u64));
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => number(value).map(Some).ok_or("token with a time that is no number"),
    }
}

const fn cause(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::InvalidSignature => "token with a wrong signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "token with another algorithm than the one configured"
        }
        ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => {
            "token that is meant for another audience"
        }
        _ => "malformed token",
    }
}
