//! JSON Web Tokens: each algorithm, and every way in which a token can be wrong.

use super::{Folder, NOW_S, login, outcome, verify};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use ringmq::access::{
    Algorithm, Grants, Identity, JwtSource, Login, Policy, Proof, Sources, Verdict,
};
use ringmq::testing::open_policy;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SECRET: &[u8] = b"an example secret of 32 bytes...";

fn load(
    algorithm: Algorithm,
    key: &[u8],
    adjust: impl Fn(&mut JwtSource),
) -> Result<Policy, String> {
    let folder = Folder::new();
    let key_file = folder.write("key", key);
    let mut source = JwtSource { key_file, algorithm, user_claim: None, audience: None };
    adjust(&mut source);
    super::load(&Sources { jwt: Some(source), ..Sources::default() })
}

fn policy() -> Policy {
    load(Algorithm::Hs256, SECRET, |_| {}).unwrap()
}

fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn bearer(token: &str) -> Login {
    login(None, Some(token))
}

fn enter(policy: &Policy, token: &str) -> Result<Arc<Identity>, &'static str> {
    outcome(&verify(policy, bearer(token)))
}

fn user(claims: Value) -> Result<String, &'static str> {
    enter(&policy(), &sign(&claims)).map(|identity| identity.user.as_deref().unwrap().into())
}

#[test]
fn each_algorithm_takes_its_own_tokens_only() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let rsa_public = rsa.public_key_pem();
    let ec_public = ec.public_key_pem();
    let rsa_private = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
    let ec_private = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
    let hmac = EncodingKey::from_secret(SECRET);
    // Whoever takes a public key for a shared secret takes these.
    let confused = EncodingKey::from_secret(rsa_public.as_bytes());
    let of = |algorithm, key: &EncodingKey| {
        encode(&Header::new(algorithm), &json!({"sub": "user"}), key).unwrap()
    };
    let tokens = [
        of(jsonwebtoken::Algorithm::HS256, &hmac),
        of(jsonwebtoken::Algorithm::RS256, &rsa_private),
        of(jsonwebtoken::Algorithm::ES256, &ec_private),
        of(jsonwebtoken::Algorithm::HS256, &confused),
        of(jsonwebtoken::Algorithm::HS384, &hmac),
        of(jsonwebtoken::Algorithm::RS512, &rsa_private),
        of(jsonwebtoken::Algorithm::PS256, &rsa_private),
    ];
    let policies = [
        load(Algorithm::Hs256, SECRET, |_| {}).unwrap(),
        load(Algorithm::Rs256, rsa_public.as_bytes(), |_| {}).unwrap(),
        load(Algorithm::Es256, ec_public.as_bytes(), |_| {}).unwrap(),
    ];
    for (at, policy) in policies.iter().enumerate() {
        for (index, token) in tokens.iter().enumerate() {
            assert_eq!(enter(policy, token).is_ok(), index == at, "{at} {index}");
        }
    }
}

#[test]
fn keys_that_are_wrong_are_refused() {
    let folder = Folder::new();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().public_key_pem();
    let wrong: [(Algorithm, &[u8], &str); 5] = [
        (Algorithm::Hs256, b"", "no secret"),
        (Algorithm::Hs256, b"\n", "no secret"),
        (Algorithm::Hs256, ec.as_bytes(), "PEM"),
        (Algorithm::Rs256, SECRET, "RSA"),
        (Algorithm::Es256, SECRET, "EC"),
    ];
    for (algorithm, key, cause) in wrong {
        let error = load(algorithm, key, |_| {}).unwrap_err();
        assert!(error.contains(cause) && !error.contains('\n'), "{error}");
        assert!(!error.contains("example secret"), "{error}");
    }
    assert!(load(Algorithm::Rs256, ec.as_bytes(), |_| {}).is_err());
    let missing = |source: &mut JwtSource| source.key_file = folder.path().join("missing");
    assert!(load(Algorithm::Hs256, SECRET, missing).unwrap_err().contains("missing"));
    let newline = [SECRET, b"\r\n"].concat();
    let policy = load(Algorithm::Hs256, &newline, |_| {}).unwrap();
    assert!(enter(&policy, &sign(&json!({"sub": "user"}))).is_ok());
}

#[test]
fn a_token_without_a_true_signature_is_refused_wherever_it_is_wrong() {
    let policy = policy();
    let token = sign(&json!({"sub": "user"}));
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, rest) = token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    for algorithm in ["none", "None", "NONE", "", "HS384", "RS256"] {
        let forged = part(json!({"alg": algorithm, "typ": "JWT"}));
        assert!(enter(&policy, &format!("{forged}.{claims}.")).is_err(), "{algorithm}");
        assert!(enter(&policy, &format!("{forged}.{claims}.{signature}")).is_err(), "{algorithm}");
    }
    assert!(enter(&policy, &format!("{header}.{claims}.")).is_err());
    let other = part(json!({"sub": "root"}));
    assert!(enter(&policy, &format!("{header}.{other}.{signature}")).is_err());
    for end in 0..token.len() {
        assert!(enter(&policy, &token[..end]).is_err(), "cut at {end}");
    }
    assert!(enter(&policy, &format!("{token}A")).is_err());
    assert!(enter(&policy, &format!("{token}.A")).is_err());
    let foreign = EncodingKey::from_secret(b"another secret");
    let foreign = encode(&Header::default(), &json!({"sub": "user"}), &foreign).unwrap();
    assert_eq!(enter(&policy, &foreign).unwrap_err(), "token with a wrong signature");
    let huge = sign(&json!({"sub": "user", "x": "x".repeat(20_000)}));
    assert!(enter(&policy, &huge).unwrap_err().contains("16384"));
}

#[test]
fn times_are_kept() {
    let left = |claims: Value| match verify(&policy(), bearer(&sign(&claims))) {
        Verdict::Accept { valid_for, .. } => Ok(valid_for),
        other => Err(outcome(&other).unwrap_err()),
    };
    let user = "user";
    assert_eq!(left(json!({"sub": user})), Ok(None));
    let minute = Ok(Some(Duration::from_secs(60)));
    assert_eq!(left(json!({"sub": user, "exp": NOW_S + 60})), minute);
    assert_eq!(left(json!({"sub": user, "exp": NOW_S as f64 + 60.5})), minute);
    assert_eq!(left(json!({"sub": user, "exp": NOW_S + 60, "nbf": NOW_S, "iat": NOW_S})), minute);
    assert!(left(json!({"sub": user, "exp": u64::MAX})).is_ok());
    for end in [json!(NOW_S), json!(NOW_S - 1), json!(0), json!(-5), json!(0.5)] {
        assert_eq!(left(json!({"sub": user, "exp": end})), Err("token that has expired"), "{end}");
    }
    for begin in ["nbf", "iat"] {
        let mut claims = json!({"sub": user});
        claims[begin] = json!(NOW_S + 6);
        assert_eq!(left(claims.clone()), Err("token that is not valid yet"), "{begin}");
        claims[begin] = json!(NOW_S + 5);
        assert!(left(claims).is_ok(), "a clock may be ahead a little");
    }
    for time in [json!("2033"), json!(null), json!([]), json!(true)] {
        for claim in ["exp", "nbf", "iat"] {
            let mut claims = json!({"sub": user});
            claims[claim] = time.clone();
            assert!(left(claims).is_err(), "{claim} {time}");
        }
    }
}

#[test]
fn the_user_is_named_by_a_claim() {
    assert_eq!(user(json!({"sub": "a"})), Ok("a".into()));
    assert_eq!(user(json!({"sub": "a", "username": "b"})), Ok("b".into()));
    for claims in [json!({}), json!({"sub": 5}), json!({"sub": ""}), json!({"sub": "a\nb"})] {
        assert!(user(claims.clone()).is_err(), "{claims}");
    }
    let by_claim = load(Algorithm::Hs256, SECRET, |source| source.user_claim = Some("me".into()));
    let by_claim = by_claim.unwrap();
    let name = enter(&by_claim, &sign(&json!({"sub": "a", "me": "c"}))).unwrap().user.clone();
    assert_eq!(name.as_deref(), Some("c"));
    assert!(enter(&by_claim, &sign(&json!({"sub": "a"}))).is_err());
    let token = sign(&json!({"sub": "a"}));
    let named = |name| outcome(&verify(&policy(), login(Some(name), Some(&token))));
    assert!(named("a").is_ok() && named("b").is_err());
}

#[test]
fn the_audience_is_kept() {
    let ours = load(Algorithm::Hs256, SECRET, |source| source.audience = Some("mqtt".into()));
    let ours = ours.unwrap();
    let cases = [
        (json!({"sub": "a"}), true, false),
        (json!({"sub": "a", "aud": "mqtt"}), false, true),
        (json!({"sub": "a", "aud": ["web", "mqtt"]}), false, true),
        (json!({"sub": "a", "aud": "web"}), false, false),
    ];
    for (claims, without, with) in cases {
        let token = sign(&claims);
        assert_eq!(enter(&policy(), &token).is_ok(), without, "{claims}");
        assert_eq!(enter(&ours, &token).is_ok(), with, "{claims}");
    }
}

fn grants(acl: Value) -> Result<Arc<Grants>, &'static str> {
    let identity = enter(&policy(), &sign(&json!({"sub": "ann", "acl": acl})))?;
    Ok(policy().grants(&identity).expect("the token brings rules"))
}

#[test]
fn rules_come_with_the_token() {
    let all = ["c/${username}", "d/%c"];
    let lists = json!({"pub": ["a/${clientid}"], "sub": ["b/#"], "all": all});
    let lists = grants(lists).unwrap();
    assert!(lists.may_write("a/client") && !lists.may_read("a/client") && !lists.may_write("a/x"));
    assert!(lists.may_read("b/x") && !lists.may_write("b/x"));
    assert!(lists.may_read("c/ann") && lists.may_write("c/ann") && !lists.may_read("c/bob"));
    assert!(lists.may_read("d/client") && !lists.may_read("e"));
    let rule = |permission: &str, action: &str, topic: &str| {
        let mut rule = json!({"permission": permission, "action": action});
        rule["topic"] = topic.into();
        rule
    };
    let ordered = json!([
        rule("allow", "subscribe", "a/open"),
        rule("deny", "all", "a/+"),
        rule("allow", "all", "a/#"),
        rule("deny", "publish", "b"),
        rule("allow", "all", "b"),
    ]);
    let ordered = grants(ordered).unwrap();
    assert!(ordered.may_read("a/open") && !ordered.may_write("a/open") && !ordered.may_read("a/x"));
    assert!(ordered.may_read("a/x/y") && ordered.may_write("a"));
    assert!(ordered.may_read("b") && !ordered.may_write("b"));
    for nothing in [json!({}), json!([])] {
        assert!(!grants(nothing).unwrap().may_read("a"), "rules that allow nothing");
    }
    let identity = enter(&policy(), &sign(&json!({"sub": "ann", "acl": null}))).unwrap();
    assert!(identity.rules.is_none());
}

/// A rule that is left out may be the one that denies.
#[test]
fn rules_that_are_not_understood_refuse_the_token() {
    let many: Vec<_> = (0..2000).map(|count| count.to_string()).collect();
    let wrong = [
        json!("all"),
        json!(true),
        json!({"publish": ["a"]}),
        json!({"pub": "a"}),
        json!({"pub": [1]}),
        json!({"pub": ["a/#/b"]}),
        json!({"pub": ["a/x${clientid}"]}),
        json!({"pub": ["${cert_common_name}"]}),
        json!({"sub": ["eq a/#"]}),
        json!({"sub": [""]}),
        json!({"sub": ["$share/g/a"]}),
        json!({"all": many}),
        json!(["a"]),
        json!([{"permission": "allow", "topic": "a"}]),
        json!([{"permission": "permit", "action": "all", "topic": "a"}]),
        json!([{"permission": "allow", "action": "all", "topic": "a", "qos": 0}]),
        json!([{"permission": "allow", "action": "all", "topic": "a", "retain": false}]),
    ];
    for acl in wrong {
        assert!(grants(acl.clone()).is_err(), "{acl}");
    }
}

#[test]
fn i21_a_token_holds_while_its_key_stays() {
    let identity = enter(&policy(), &sign(&json!({"sub": "a"}))).unwrap();
    assert!(matches!(identity.proof, Proof::Token(_)));
    assert!(policy().still_holds(&identity));
    let other = load(Algorithm::Hs256, b"another secret", |_| {}).unwrap();
    assert!(!other.still_holds(&identity) && !open_policy().still_holds(&identity));
}

/// RFC 7515, 4.1.11: whoever does not understand what a token says must be understood refuses it.
#[test]
fn a_token_with_critical_extensions_is_refused() {
    let claims = json!({"sub": "user"});
    for critical in [vec![], vec!["b64".to_owned()], vec!["exp".to_owned(), "x".to_owned()]] {
        let header = Header { crit: Some(critical), ..Header::default() };
        let token = encode(&header, &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        assert!(enter(&policy(), &token).unwrap_err().contains("crit"));
    }
    assert!(enter(&policy(), &sign(&claims)).is_ok());
}

/// A list of values is no rule, in whatever order they are.
#[test]
fn rules_that_are_arrays_instead_of_objects_are_refused() {
    for acl in [
        json!([["allow", "all", "a/#"]]),
        json!([["deny", "publish", "a"], {"permission": "allow", "action": "all", "topic": "#"}]),
        json!([[["a"], [], []]]),
    ] {
        let error = user(json!({"sub": "user", "acl": acl})).unwrap_err();
        assert!(error.contains("not understood"), "{error}");
    }
}
