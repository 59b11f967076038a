//! SCRAM-SHA-256 against a client of its own.

use super::{Folder, identity, login, outcome, password_policy, verify};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ringmq::access::{
    HashMethod, Identity, Login, Policy, ScramExchange, Sources, Verdict, hash_password,
};
use ringmq::mqtt::ReasonCode;
use ringmq::testing::open_policy;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const METHOD: &str = "SCRAM-SHA-256";

fn policy() -> Policy {
    let user = hash_password(HashMethod::Scram, b"pencil");
    let plain = hash_password(HashMethod::Argon2id, b"pencil");
    password_policy(format!("user:{user}\na,b=c:{user}\nplain:{plain}\n")).unwrap()
}

fn step(data: &str, exchange: Option<Box<ScramExchange>>) -> Login {
    Login {
        method: Some(METHOD.into()),
        data: Some(data.as_bytes().into()),
        exchange,
        ..login(None, None)
    }
}

/// The server's first message and what it keeps.
fn begin(policy: &Policy, first: &str) -> (String, Box<ScramExchange>) {
    match verify(policy, step(first, None)) {
        Verdict::Continue { data, exchange } => (String::from_utf8(data.into()).unwrap(), exchange),
        other => panic!("{other:?}"),
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The client's last message, and the proof that it wants from the server.
fn answer(gs2: &str, bare: &str, server_first: &str, password: &str) -> (String, String) {
    let field = |prefix| server_first.split(',').find_map(|field| field.strip_prefix(prefix));
    let salt = BASE64_STANDARD.decode(field("s=").unwrap()).unwrap();
    let iterations = field("i=").unwrap().parse().unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, iterations, &mut salted);
    let client_key = hmac(&salted, "Client Key");
    let without_proof = format!("c={},r={}", BASE64_STANDARD.encode(gs2), field("r=").unwrap());
    let message = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&Sha256::digest(&client_key), &message);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server = hmac(&hmac(&salted, "Server Key"), &message);
    let last = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
    (last, format!("v={}", BASE64_STANDARD.encode(server)))
}

fn exchange(policy: &Policy, gs2: &str, bare: &str, password: &str) -> Verdict {
    let (server_first, exchange) = begin(policy, &format!("{gs2}{bare}"));
    let (last, _) = answer(gs2, bare, &server_first, password);
    verify(policy, step(&last, Some(exchange)))
}

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let policy = policy();
    for gs2 in ["n,,", "y,,", "n,a=user,"] {
        let bare = "n=user,r=fyko+d2lbbFgONRv9qkxdawL";
        let (server_first, exchange) = begin(&policy, &format!("{gs2}{bare}"));
        assert!(server_first.starts_with("r=fyko+d2lbbFgONRv9qkxdawL"), "{server_first}");
        assert_eq!(format!("{exchange:?}"), "[exchange]");
        let (last, wanted) = answer(gs2, bare, &server_first, "pencil");
        let Verdict::Accept { identity, data, valid_for } =
            verify(&policy, step(&last, Some(exchange)))
        else {
            panic!("{gs2} is refused")
        };
        assert_eq!(data.as_deref(), Some(wanted.as_bytes()));
        assert_eq!((identity.user.as_deref(), valid_for), (Some("user"), None));
        assert!(policy.still_holds(&identity));
    }
    assert!(outcome(&exchange(&policy, "n,,", "n=a=2Cb=3Dc,r=x", "pencil")).is_ok());
}

#[test]
fn nonces_differ() {
    let policy = policy();
    let first = begin(&policy, "n,,n=user,r=x").0;
    assert_ne!(first, begin(&policy, "n,,n=user,r=x").0);
}

#[test]
fn a_wrong_password_and_an_unknown_user_fail_alike_and_at_the_end() {
    let policy = policy();
    let shape = |user: &str| {
        let first = begin(&policy, &format!("n,,n={user},r=x")).0;
        let salt = first.split(",s=").nth(1).unwrap().to_owned();
        (first.len(), salt)
    };
    // `plain` has a password, but no keys for SCRAM.
    for user in ["nobody", "plain"] {
        assert_eq!(shape(user).0, shape("user").0);
        assert_eq!(shape(user).1, shape(user).1, "the invented salt stays");
        assert_ne!(shape(user).1, shape("somebody").1);
    }
    let wrong = format!("{:?}", exchange(&policy, "n,,", "n=user,r=x", "other"));
    assert!(wrong.contains("BadUserNameOrPassword"), "{wrong}");
    for user in ["nobody", "plain"] {
        let bare = format!("n={user},r=x");
        assert_eq!(wrong, format!("{:?}", exchange(&policy, "n,,", &bare, "pencil")));
    }
}

#[test]
fn malformed_messages_are_refused() {
    let policy = policy();
    let long = format!("n,,n={},r=x", "u".repeat(3000));
    let firsts = [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,r=x,n=user",
        "x,,n=user,r=x",
        "n,,n=user,r=",
        "p=tls-unique,,n=user,r=x",
        "n,,m=x,n=user,r=x",
        "n,a=root,n=user,r=x",
        "n,user,n=user,r=x",
        "n,,n=us=er,r=x",
        "n,,n=,r=x",
        "n,,n=us\0er,r=x",
        "n,,n=user,r=\u{e9}",
        &long,
    ];
    for first in firsts {
        let verdict = verify(&policy, step(first, None));
        assert!(outcome(&verdict).is_err_and(|cause| cause != "continue"), "{first:?}");
    }
    assert!(outcome(&verify(&policy, Login { data: None, ..step("", None) })).is_err());
    let bare = "n=user,r=x";
    let good = |first: &str| answer("n,,", bare, first, "pencil").0;
    let spoil: [&dyn Fn(String) -> String; 8] = [
        &|last| last.replace("c=biws", "c=eSws"),
        &|last| last.replace(",r=x", ",r=y"),
        &|last| last.replace(",p=", ",p=A"),
        &|last| last[..last.len() - 4].to_owned(),
        &|last| last.replace(",p=", ",q="),
        &|last| last.replace("c=biws,", ""),
        &|last| format!("{last}{}", "A".repeat(3000)),
        &|_| String::new(),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let (server_first, exchange) = begin(&policy, &format!("n,,{bare}"));
        let verdict = verify(&policy, step(&spoil(good(&server_first)), Some(exchange)));
        assert!(outcome(&verdict).is_err(), "{index}");
    }
}

#[test]
fn other_methods_are_not_offered() {
    let refused = |policy: &Policy, method: &str| {
        let login = Login { method: Some(method.into()), ..step("n,,n=user,r=x", None) };
        let verdict = policy.verify_at_once(&login);
        matches!(verdict, Some(Verdict::Refuse { code: ReasonCode::BadAuthenticationMethod, .. }))
    };
    assert!(
        refused(&policy(), "SCRAM-SHA-1") && refused(&policy(), "") && !refused(&policy(), METHOD)
    );
    assert!(refused(&open_policy(), METHOD));
    let plain = hash_password(HashMethod::Argon2id, b"x");
    assert!(refused(&password_policy(format!("user:{plain}\n")).unwrap(), METHOD));
}

/// A client cannot become another user, nor be another one than its certificate says.
#[test]
fn who_a_client_is_cannot_change() {
    let policy = policy();
    let run = |current: Option<Identity>, certificate: Option<&str>, user_name: Option<&str>| {
        let dress = |login: Login| Login {
            current: current.clone().map(Arc::new),
            certificate: certificate.map(Into::into),
            user_name: user_name.map(Into::into),
            ..login
        };
        let bare = "n=user,r=x";
        let first = verify(&policy, dress(step(&format!("n,,{bare}"), None)));
        let Verdict::Continue { data, exchange } = first else { panic!("{first:?}") };
        let (last, _) = answer("n,,", bare, std::str::from_utf8(&data).unwrap(), "pencil");
        outcome(&verify(&policy, dress(step(&last, Some(exchange))))).is_ok()
    };
    assert!(run(Some(identity("client", Some("user"))), None, None));
    assert!(!run(Some(identity("client", Some("other"))), None, None));
    assert!(!run(Some(identity("client", None)), None, None));
    assert!(run(None, Some("user"), None) && !run(None, Some("other"), None));
    assert!(run(None, None, Some("user")) && !run(None, None, Some("other")));
}

/// After a reload the exchange goes on with the keys it began with; its outcome no longer holds.
#[test]
fn a_reload_within_an_exchange() {
    let folder = Folder::new();
    let old = policy();
    let bare = "n=user,r=x";
    let (server_first, exchange) = begin(&old, &format!("n,,{bare}"));
    let (last, _) = answer("n,,", bare, &server_first, "pencil");
    let other = hash_password(HashMethod::Scram, b"crayon");
    let password_file = Some(folder.write("passwords", format!("user:{other}\n")));
    let new = Policy::load(&Sources { password_file, ..Sources::default() }).unwrap();
    let identity = outcome(&verify(&new, step(&last, Some(exchange)))).unwrap();
    assert!(old.still_holds(&identity) && !new.still_holds(&identity));
}
