//! Password files: what they refuse, what they hold, and that files go back and forth between
//! Mosquitto and ringmq.

use super::{Folder, load_passwords, login, outcome, password_policy, user_of, verify};
use ringmq::access::{HashMethod, Policy, Proof, Sources, hash_password};
use ringmq::mqtt::ReasonCode;
use ringmq::testing::open_policy;
use std::process::Command;

/// The head of a cheap entry, for tests in which the hash is of no interest.
const CHEAP: &str = "$7$1$AAAAAAAAAAAAAAAAAAAAAA==$";

fn entry(user: &str, method: HashMethod, password: &str) -> String {
    format!("{user}:{}\n", hash_password(method, password.as_bytes()))
}

#[test]
fn every_form_verifies_its_password_and_no_other() {
    for method in [HashMethod::Argon2id, HashMethod::Pbkdf2, HashMethod::Scram] {
        let policy = password_policy(entry("user", method, "pässword")).unwrap();
        let identity = user_of(&policy, "user", "pässword").unwrap();
        assert_eq!(identity.user.as_deref(), Some("user"));
        assert!(matches!(identity.proof, Proof::Password(_)), "{method:?}");
        for wrong in ["", "password", "pässword ", "PÄSSWORD"] {
            assert!(user_of(&policy, "user", wrong).is_err(), "{method:?} {wrong}");
        }
        assert!(user_of(&policy, "User", "pässword").is_err());
    }
}

/// Hashes that other programs made.
#[test]
fn known_hashes() {
    let known = [
        // From the tests of the reference implementation.
        (
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ\
             $CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "password",
        ),
        // RFC 7677, section 3.
        (
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
             :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "pencil",
        ),
    ];
    for (hash, password) in known {
        let policy = password_policy(format!("user:{hash}\n")).unwrap();
        assert!(user_of(&policy, "user", password).is_ok(), "{hash}");
        assert!(user_of(&policy, "user", "other").is_err(), "{hash}");
        // With padding, or without it.
        let other = hash.replace("==", "").replace("=:", ":").trim_end_matches('=').to_owned();
        let policy = password_policy(format!("user:{other}")).unwrap();
        assert!(user_of(&policy, "user", password).is_ok(), "{other}");
    }
}

#[test]
fn v18_a_wrong_line_refuses_the_file_and_is_named() {
    let good = hash_password(HashMethod::Scram, b"x");
    let salt = "AAAAAAAAAAAAAAAAAAAAAA==";
    let hash = "A".repeat(86) + "==";
    let wrong = [
        "user".into(),
        ":".into(),
        format!(":{good}"),
        "user:".into(),
        "user:plain".into(),
        "user:$".into(),
        "user:$5$x$y".into(),
        format!("user:$6${salt}"),
        format!("user:$6${salt}${}", &hash[..80]),
        format!("user:$6$AAAA${hash}"),
        format!("user:$6${salt}${hash}$"),
        format!("user:$6${salt}${hash}:x"),
        format!("user:$7$0${salt}${hash}"),
        format!("user:$7$-1${salt}${hash}"),
        format!("user:$7$+1${salt}${hash}"),
        format!("user:$7$${salt}${hash}"),
        format!("user:$7$2000001${salt}${hash}"),
        format!("user:$7$99999999999${salt}${hash}"),
        format!("user:$argon2id$v=16$m=64,t=1,p=1${salt}${hash}"),
        format!("user:$argon2id$m=64,t=1,p=1${salt}${hash}"),
        format!("user:$argon2i$v=19$m=64,t=1,p=1${salt}${hash}"),
        format!("user:$argon2id$v=19$m=4294967295,t=1,p=1${salt}${hash}"),
        format!("user:$argon2id$v=19$m=64,t=17,p=1${salt}${hash}"),
        format!("user:$argon2id$v=19$m=64,t=0,p=1${salt}${hash}"),
        format!("user:$argon2id$v=19$m=64,t=1,p=9${salt}${hash}"),
        format!("user:$argon2id$v=19$m=64,t=1,p=1,x=1${salt}${hash}"),
        format!("user:$argon2id$v=19$m=64,t=1,p=1${salt}$AAAA"),
        format!("us\ter:{good}"),
        format!("other:{good}"),
        good.replace("SCRAM-SHA-256$16384:", "user:SCRAM-SHA-256$"),
        format!("user:{}", &good[..good.len() - 4]),
    ];
    for line in wrong {
        let text = format!("# users\nother:{good}\n{line}\nlast:{good}\n");
        let error = password_policy(&text).expect_err(&line);
        assert!(error.contains("line 3: ") && !error.contains('\n'), "{line}: {error}");
        assert!(line.len() < 12 || !error.contains(&line[8..]), "the hash is shown: {error}");
    }
    assert!(password_policy("").is_ok(), "nobody may enter, which is safe");
    assert!(password_policy(format!("# x\n\n a b:{good}\r\n")).is_ok());
    let folder = Folder::new();
    assert!(load_passwords(&folder.path().join("missing")).unwrap_err().contains("No such file"));
}

/// Whatever is left of a file: it is refused, or who is left has the password that was set.
#[test]
fn v18_no_cut_of_a_file_lets_anybody_in_with_another_password() {
    let hash = "A".repeat(86);
    let text = format!("one:{CHEAP}{hash}\ntwo:{CHEAP}{hash}\n");
    for end in 0..text.len() {
        let Ok(policy) = password_policy(&text[..end]) else { continue };
        for user in ["one", "two", "on", "t"] {
            for password in ["", "secret", "other"] {
                assert!(user_of(&policy, user, password).is_err(), "{end} {user}");
            }
        }
    }
}

#[test]
fn names_that_are_none_match_nobody() {
    let policy = password_policy(entry("user", HashMethod::Scram, "x")).unwrap();
    for name in ["", "user\0", "us\ner", "user\u{85}"] {
        assert!(
            user_of(&policy, name, "x").unwrap_err().contains("control characters"),
            "{name:?}"
        );
    }
    let verdict = verify(&policy, login(Some("user"), None));
    assert_eq!(outcome(&verdict).unwrap_err(), "user name without a password");
}

#[test]
fn unknown_and_wrong_are_told_alike() {
    let policy = password_policy(entry("user", HashMethod::Scram, "x")).unwrap();
    let shown = |user| format!("{:?}", verify(&policy, login(Some(user), Some("y"))));
    assert_eq!(shown("user"), shown("nobody"));
    assert!(shown("user").contains(&format!("{:?}", ReasonCode::BadUserNameOrPassword)));
}

#[test]
fn i21_an_identity_holds_while_its_entry_stays() {
    let one = entry("one", HashMethod::Scram, "x");
    let old = password_policy(format!("{one}{}", entry("two", HashMethod::Scram, "x"))).unwrap();
    let identity = user_of(&old, "one", "x").unwrap();
    assert!(old.still_holds(&identity));
    assert!(password_policy(&one).unwrap().still_holds(&identity), "another user has gone");
    for new in ["".to_owned(), one.replace("one", "two"), entry("one", HashMethod::Scram, "x")] {
        assert!(!password_policy(new).unwrap().still_holds(&identity));
    }
    assert!(!open_policy().still_holds(&identity));
    let anonymous = open_policy().anonymous("c");
    assert!(open_policy().still_holds(&anonymous) && !old.still_holds(&anonymous));
}

#[test]
fn what_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.write("passwords", entry("user", HashMethod::Scram, "x"));
    for (mode, warnings) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(load_passwords(&path).unwrap().warnings().len(), warnings, "{mode:o}");
    }
    let acl_file = Some(folder.write("acl", "user a\ntopic b\n"));
    let policy = Policy::load(&Sources { allow_anonymous: true, acl_file, ..Sources::default() });
    assert!(policy.unwrap().warnings()[0].contains("speaks of users"));
}

/// V27: nothing that is shown or logged holds a password, a hash or a key.
#[test]
fn v27_secrets_are_not_shown() {
    let line = entry("user", HashMethod::Scram, "hunter2-secret");
    let policy = password_policy(&line).unwrap();
    let stored = line.rsplit(':').next().unwrap().trim();
    let mut attempt = login(Some("user"), Some("hunter2-secret"));
    attempt.data = Some(b"hunter2-secret"[..].into());
    let shown = format!("{attempt:?} {:?} {policy:?}", attempt.password);
    assert!(!shown.contains("hunter2") && !shown.contains(stored), "{shown}");
    assert!(!shown.contains(&format!("{:?}", b"hunter2-secret")), "{shown}");
    let verdict = verify(&policy, attempt);
    let shown = format!("{verdict:?}");
    assert!(outcome(&verdict).is_ok() && !shown.contains("hunter2") && !shown.contains(stored));
}

#[test]
fn files_of_mosquitto_passwd_are_read() {
    let folder = Folder::new();
    let path = folder.write("passwords", "");
    for (user, method) in [("old user", "sha512"), ("new", "sha512-pbkdf2")] {
        let status = Command::new("mosquitto_passwd")
            .args(["-H", method, "-b"])
            .arg(&path)
            .args([user, "s3cret:word"])
            .status();
        let Ok(status) = status else {
            println!("skipped: mosquitto_passwd is not installed");
            return;
        };
        assert!(status.success());
    }
    let policy = load_passwords(&path).unwrap();
    for user in ["old user", "new"] {
        assert!(user_of(&policy, user, "s3cret:word").is_ok(), "{user}");
        assert!(user_of(&policy, user, "s3cret").is_err(), "{user}");
    }
}
