//! Which source decides about which login.

use super::{Folder, NOW_S, login, outcome, verify};
use jsonwebtoken::{EncodingKey, Header, encode};
use ringmq::access::{
    Algorithm, HashMethod, HookSource, JwtSource, Login, Policy, Proof, Sources, Step, Verdict,
    Workspace, hash_password,
};
use ringmq::mqtt::ReasonCode;
use ringmq::testing::open_policy;
use serde_json::json;

struct Given {
    anonymous: bool,
    passwords: bool,
    tokens: bool,
    hook: bool,
}

const NOTHING: Given = Given { anonymous: false, passwords: false, tokens: false, hook: false };

fn policy(given: &Given) -> Policy {
    let folder = Folder::new();
    let mut sources = Sources { allow_anonymous: given.anonymous, ..Sources::default() };
    if given.passwords {
        let hash = hash_password(HashMethod::Scram, b"right");
        sources.password_file = Some(folder.write("passwords", format!("known:{hash}\n")));
    }
    if given.tokens {
        let key_file = folder.write("key", "secret");
        let algorithm = Algorithm::Hs256;
        sources.jwt = Some(JwtSource { key_file, algorithm, user_claim: None, audience: None });
    }
    if given.hook {
        sources.hook = Some(HookSource { url: "http://localhost:1/".into(), timeout_ms: 100 });
    }
    Policy::load(&sources).unwrap()
}

fn token(key: &str) -> String {
    let key = EncodingKey::from_secret(key.as_bytes());
    encode(&Header::default(), &json!({"sub": "bearer"}), &key).unwrap()
}

/// The code of the refusal, or the user and what the name rests on; "hook" when that is asked.
fn fate(policy: &Policy, login: Login) -> String {
    match policy.verify(login, NOW_S, &mut Workspace::default()) {
        Step::AskHook(_) => "hook".into(),
        Step::Done(Verdict::Refuse { code: ReasonCode::BadUserNameOrPassword, .. }) => "bad".into(),
        Step::Done(Verdict::Refuse { code: ReasonCode::NotAuthorized, .. }) => "not".into(),
        Step::Done(verdict) => {
            let identity = outcome(&verdict).unwrap();
            let proof = match identity.proof {
                Proof::None => "none",
                Proof::Certificate => "certificate",
                Proof::Password(_) => "password",
                Proof::Token(_) => "token",
                Proof::Hook => "hook",
                Proof::Earlier => unreachable!("no login comes to that"),
            };
            format!("{} {proof}", identity.user.as_deref().unwrap_or("-"))
        }
    }
}

#[test]
fn each_login_has_its_source() {
    let (good, forged) = (token("secret"), token("forged"));
    let logins = [
        login(None, None),
        login(Some("known"), Some("right")),
        login(Some("known"), Some("wrong")),
        login(Some("known"), None),
        login(Some("other"), Some("right")),
        login(None, Some("right")),
        login(None, Some(&good)),
        login(None, Some(&forged)),
        login(Some("known"), Some(&forged)),
        login(Some(""), Some("right")),
    ];
    let passwords = Given { passwords: true, ..NOTHING };
    let tokens = Given { tokens: true, ..NOTHING };
    let hook = Given { hook: true, ..NOTHING };
    let both = Given { passwords: true, tokens: true, ..NOTHING };
    let all = Given { anonymous: true, passwords: true, tokens: true, hook: true };
    let table = [
        (&NOTHING, "not|bad|bad|bad|bad|bad|bad|bad|bad|bad"),
        (
            &Given { anonymous: true, ..NOTHING },
            "- none|- none|- none|- none|- none|- none|- none|- none|- none|- none",
        ),
        (&passwords, "not|known password|bad|bad|bad|bad|bad|bad|bad|bad"),
        (
            &Given { anonymous: true, ..passwords },
            "- none|known password|bad|bad|bad|bad|bad|bad|bad|bad",
        ),
        (&tokens, "not|bad|bad|bad|bad|bad|bearer token|bad|bad|bad"),
        (&both, "not|known password|bad|bad|bad|bad|bearer token|bad|bad|bad"),
        (&hook, "hook|hook|hook|hook|hook|hook|hook|hook|hook|bad"),
        (&all, "hook|known password|bad|bad|hook|hook|bearer token|bad|bad|bad"),
    ];
    for (index, (given, wanted)) in table.into_iter().enumerate() {
        let policy = policy(given);
        for (at, (login, wanted)) in logins.iter().zip(wanted.split('|')).enumerate() {
            let copy = Login {
                client_id: login.client_id.clone(),
                user_name: login.user_name.clone(),
                password: login.password.clone(),
                ..Login::default()
            };
            assert_eq!(fate(&policy, copy), wanted, "policy {index}, login {at}");
        }
    }
}

#[test]
fn a_certificate_goes_before_everything() {
    let certified = |user: &str, certificate: &str| Login {
        certificate: Some(certificate.into()),
        ..login(Some(user), Some("wrong"))
    };
    for given in [NOTHING, Given { anonymous: true, passwords: true, tokens: true, hook: true }] {
        let policy = policy(&given);
        assert_eq!(fate(&policy, certified("known", "device-1")), "device-1 certificate");
        assert_eq!(fate(&policy, certified("known", "")), "bad");
        assert_eq!(fate(&policy, certified("known", "a\nb")), "bad");
    }
    assert_eq!(fate(&open_policy(), certified("x", "device-1")), "device-1 certificate");
}

#[test]
fn what_needs_no_hashing_is_known_at_once() {
    let passwords = policy(&Given { anonymous: true, passwords: true, ..NOTHING });
    assert!(passwords.verify_at_once(&login(None, None)).is_some());
    assert!(passwords.verify_at_once(&login(Some("known"), None)).is_some());
    assert!(passwords.verify_at_once(&login(Some("known"), Some("x"))).is_none());
    assert!(open_policy().verify_at_once(&login(Some("known"), Some("x"))).is_some());
    assert!(open_policy().admits_all() && !passwords.admits_all());
    assert!(policy(&Given { hook: true, ..NOTHING }).verify_at_once(&login(None, None)).is_none());
    assert!(outcome(&verify(&passwords, login(None, None))).is_ok());
}
