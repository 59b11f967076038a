//! Public keys for TLS: the usable ones, and the faults of others.

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bits of an RSA key; the cryptographic library refuses others.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The remedy for a key that cannot be used.
pub(super) const NEW_KEY: &str = "make a new key, and a new certificate for it: \
     openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.key";

/// The curves on which a certificate's key may be.
const CURVES: &[&str] = &["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// Other curves in use, with their names.
const OTHER_CURVES: &[(&str, &str)] = &[
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.33", "P-224"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.2.156.10197.1.301", "SM2"),
];

/// The fault of a certificate's key; None when no fault is known.
pub(super) fn fault(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    fault_of(certificate.public_key())
}

fn fault_of(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => {
            let PublicKey::RSA(rsa) = key.parsed().ok()? else { return None };
            let bits = bits(rsa.modulus);
            (!RSA_BITS.contains(&bits)).then(|| {
                let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
                format!("its RSA key has {bits} bits, and {least} to {most} are needed")
            })
        }
        "1.2.840.10045.2.1" => curve_fault(key),
        "1.3.101.112" => None,
        "1.2.840.113549.1.1.10" => Some("its key is for RSA-PSS alone".to_owned()),
        "1.2.840.10040.4.1" => Some("its key is a DSA key".to_owned()),
        "1.3.101.113" => Some("its key is an Ed448 key".to_owned()),
        // Whatever the library has learnt is for it to judge.
        _ => None,
    }
}

fn curve_fault(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let parameters = key.algorithm.parameters.as_ref().filter(|curve| curve.tag() == Tag::Oid);
    let curve = parameters.and_then(|curve| curve.as_oid().ok());
    let Some(curve) = curve.map(|curve| curve.to_id_string()) else {
        return Some("its key spells its curve out instead of naming it".to_owned());
    };
    let name = OTHER_CURVES.iter().find(|(known, _)| *known == curve);
    // A client chooses what stands here.
    let number = if curve.len() <= 40 { curve.as_str() } else { "with a very long number" };
    let name = name.map_or(number, |(_, name)| *name);
    (!CURVES.contains(&curve.as_str()))
        .then(|| format!("its key is on the curve {name}, and P-256, P-384 or P-521 is needed"))
}

fn bits(number: &[u8]) -> usize {
    let digits = number.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &number[at..]);
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}
