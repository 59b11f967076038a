//! What the hook is asked, and what its answers lead to.

use super::{Folder, login, outcome};
use ringmq::access::{
    HookAnswer, HookSource, Login, Policy, Secret, Sources, Verdict, hook_question,
};
use ringmq::base::ids::ListenerId;
use ringmq::mqtt::ReasonCode;
use serde_json::{Value, json};

fn policy(allow_anonymous: bool) -> Policy {
    let hook =
        Some(HookSource { url: "https://user:hunter2@auth.example/".into(), timeout_ms: 100 });
    Policy::load(&Sources { allow_anonymous, hook, ..Sources::default() }).unwrap()
}

fn heed(login: &Login, status: u16, answer: &Value) -> Verdict {
    policy(false).heed_hook(login, HookAnswer::parse(status, answer.to_string().as_bytes()))
}

#[test]
fn the_question_holds_the_login() {
    let mut login = login(Some("user"), Some("pass\"word"));
    login.address = Some("2001:db8::1".parse().unwrap());
    login.listener = ListenerId(3);
    let question: Value = serde_json::from_slice(&hook_question(&login).unwrap()).unwrap();
    let wanted = json!({
        "client_id": "client", "user_name": "user", "password": "pass\"word",
        "address": "2001:db8::1", "listener": 3,
    });
    assert_eq!(question, wanted);
    login.password = Some(Secret::new(b"\xff"));
    assert!(hook_question(&login).is_none(), "JSON cannot carry it");
    let question = hook_question(&super::login(None, None)).unwrap();
    let question: Value = serde_json::from_slice(&question).unwrap();
    assert_eq!(question["password"], Value::Null);
}

#[test]
fn answers_lead_to_verdicts() {
    let user = login(Some("user"), Some("x"));
    let accepted = |answer| outcome(&heed(&user, 200, &answer));
    let identity = accepted(json!({"result": "allow"})).unwrap();
    assert_eq!((identity.user.as_deref(), identity.is_superuser), (Some("user"), false));
    let identity = accepted(json!({"result": "allow", "user_name": "other", "is_superuser": true}));
    let identity = identity.unwrap();
    assert_eq!(identity.user.as_deref(), Some("other"));
    assert!(policy(false).grants(&identity).is_none(), "may do everything");
    let acl = json!([{"permission": "allow", "action": "all", "topic": "a/${username}"}]);
    let identity = accepted(json!({"result": "allow", "acl": acl, "unknown": 1})).unwrap();
    let grants = policy(false).grants(&identity).unwrap();
    assert!(grants.may_read("a/user") && !grants.may_read("a/other"));
    assert!(outcome(&policy(false).heed_hook(&user, HookAnswer::parse(204, b""))).is_ok());
    for result in ["deny", "ignore"] {
        let verdict = heed(&user, 200, &json!({"result": result}));
        let code = ReasonCode::BadUserNameOrPassword;
        assert!(matches!(verdict, Verdict::Refuse { code: given, .. } if given == code));
    }
}

#[test]
fn what_is_not_understood_denies() {
    let user = login(Some("user"), Some("x"));
    let allow = json!({"result": "allow"});
    let failed = [
        (200, json!({})),
        (200, json!({"result": "yes"})),
        (200, json!({"result": "ALLOW"})),
        (200, json!({"result": true})),
        (200, json!({"result": "allow", "is_superuser": "no"})),
        (200, json!({"result": "allow", "user_name": ""})),
        (200, json!({"result": "allow", "user_name": "a\nb"})),
        (200, json!({"result": "allow", "acl": "all"})),
        (200, json!([allow])),
        (201, allow.clone()),
        (302, allow.clone()),
        (401, allow.clone()),
        (500, allow),
    ];
    for (status, answer) in failed {
        let verdict = heed(&user, status, &answer);
        // No fault of the client's: it does not count against its address.
        let code = ReasonCode::ServerUnavailable;
        assert!(
            matches!(verdict, Verdict::Refuse { code: given, .. } if given == code),
            "{answer}"
        );
    }
    for body in [&b""[..], b"{", b"{\"result\":\"allow\"", b"\xff"] {
        assert!(matches!(HookAnswer::parse(200, body), HookAnswer::Failed(_)));
    }
}

#[test]
fn whom_the_hook_ignores_may_be_anonymous() {
    let nobody = login(None, None);
    let ignore = || HookAnswer::parse(200, b"{\"result\":\"ignore\"}");
    assert!(outcome(&policy(true).heed_hook(&nobody, ignore())).is_ok());
    assert!(outcome(&policy(false).heed_hook(&nobody, ignore())).is_err());
    assert!(outcome(&policy(true).heed_hook(&login(Some("user"), Some("x")), ignore())).is_err());
}

#[test]
fn v27_the_hooks_address_is_not_shown() {
    let shown = format!("{:?}", policy(false));
    assert!(!shown.contains("hunter2"), "{shown}");
    let warnings = |url: &str| {
        let hook = Some(HookSource { url: url.into(), timeout_ms: 1 });
        Policy::load(&Sources { hook, ..Sources::default() }).unwrap().warnings()
    };
    assert!(warnings("https://auth.example/").is_empty());
    assert!(warnings("http://127.0.0.1:8080/auth").is_empty());
    let told = warnings("http://user:hunter2@auth.example/");
    assert!(told[0].contains("https") && !told[0].contains("hunter2"), "{told:?}");
    drop(Folder::new());
}

/// What is no object is no answer, although it holds the same words.
#[test]
fn an_answer_that_is_an_array_is_not_understood() {
    let user = login(Some("user"), Some("x"));
    for answer in [
        json!(["allow"]),
        json!(["allow", true, "root", null]),
        json!("allow"),
        json!([{"result": "allow"}]),
        json!({"result": "allow", "acl": [["allow", "all", "#"]]}),
        json!({"result": ["allow"]}),
    ] {
        let verdict = heed(&user, 200, &answer);
        let code = ReasonCode::ServerUnavailable;
        assert!(matches!(verdict, Verdict::Refuse { code: given, .. } if given == code));
    }
    let twice = br#"{"result":"deny","result":"allow"}"#;
    let verdict = policy(false).heed_hook(&user, HookAnswer::parse(200, twice));
    assert!(matches!(verdict, Verdict::Refuse { .. }));
}

/// Only a host that is this machine is near enough for passwords in clear.
#[test]
fn a_hook_whose_url_only_begins_like_this_machine_is_warned_of() {
    let warnings = |url: &str| {
        let hook = Some(HookSource { url: url.into(), timeout_ms: 100 });
        Policy::load(&Sources { hook, ..Sources::default() }).unwrap().warnings().len()
    };
    for far in [
        "http://localhost@192.0.2.1/",
        "http://127.0.0.1:80@192.0.2.1/",
        "http://localhost.example.org/",
        "http://127.example.org/",
        "http://[::1]@192.0.2.1/",
        "http://192.0.2.1#@localhost/",
        "http://192.0.2.1/?localhost",
        "http://[2001:db8::1]/",
    ] {
        assert_eq!(warnings(far), 1, "{far}");
    }
    for near in [
        "http://localhost/",
        "http://LOCALHOST:8080",
        "http://127.0.0.2:1/login",
        "http://user:secret@127.0.0.1/",
        "http://[::1]:80/",
        "http://[::ffff:127.0.0.1]/",
        "https://192.0.2.1/",
    ] {
        assert_eq!(warnings(near), 0, "{near}");
    }
}
