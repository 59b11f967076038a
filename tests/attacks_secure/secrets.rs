//! What the time of an answer tells, what a flood of logins costs others, and what is in the log.

use crate::limits::entry;
use crate::support::peer::{connect, packet, text};
use crate::support::server::run;
use crate::{MQTT, MQTTS, Pinging, WS, WSS, World};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const NO_BACK_OFF: [&str; 4] = ["--max-login-failures", "0", "--password-file", "FOLDER/passwords"];

#[test]
fn v30_unknown_and_wrong_users_take_the_same_time() {
    for hash in ["argon2id", "scram"] {
        let users: String = ["ann", "bob"].map(|user| entry(user, hash)).concat();
        let world = World::new(&NO_BACK_OFF, &[("passwords", &users)]);
        let time = |user: &str, password: &str| {
            let mut peer = world.peer(MQTT);
            let before = world.server.cpu_time();
            assert_eq!(peer.connect(&connect("c", Some((user, password)))), Some(0x86));
            world.server.cpu_time() - before
        };
        let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
        for round in 0..15 {
            // In turns, so that a processor that others share is as slow for both.
            wrong.push(time("ann", &format!("wrong {round}")));
            unknown.push(time("nobody", &format!("wrong {round}")));
        }
        wrong.sort();
        unknown.sort();
        let (wrong, unknown) = (wrong[7].as_secs_f64(), unknown[7].as_secs_f64());
        println!("{hash}: wrong {:.1} ms, unknown {:.1} ms", wrong * 1e3, unknown * 1e3);
        assert!((0.5..2.0).contains(&(unknown / wrong)), "{hash}: {wrong} s, {unknown} s");
    }
}

#[test]
fn v30_a_flood_of_logins_leaves_others_alone() {
    let users = entry("ann", "argon2id");
    let world = World::at("allow-anonymous=true", &NO_BACK_OFF, &[("passwords", &users)]);
    let pinging =
        [MQTT, MQTTS, WS, WSS].map(|at| Pinging::start(world.enter(at, &format!("p{at}"))));
    let (stop, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..16 {
            let (world, stop, attempts) = (&world, &stop, &attempts);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let password = format!("wrong {}", attempts.fetch_add(1, Ordering::Relaxed));
                    let id = format!("flood-{number}");
                    let mut peer = world.peer(MQTT);
                    peer.set_timeout(Duration::from_secs(20));
                    let code = peer.connect(&connect(&id, Some(("ann", &password))));
                    assert!(matches!(code, Some(0x86 | 0x89)), "{code:02x?}");
                }
            });
        }
        for round in 0..6 {
            // Whoever needs no password does not wait for those who do.
            world.enter(MQTT, &format!("anonymous-{round}"));
            thread::sleep(Duration::from_millis(400));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let longest = pinging.map(Pinging::stop).into_iter().max().unwrap();
    println!("{attempts:?} logins: PINGREQ waited {longest:?}");
}

/// A property that is a string or binary.
fn property(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn scram_connect(client_id: &str, first: &str) -> Vec<u8> {
    let properties = [property(0x15, b"SCRAM-SHA-256"), property(0x16, first.as_bytes())].concat();
    let mut body = [&text("MQTT")[..], &[5, 2, 0, 60, properties.len() as u8]].concat();
    body.extend([properties, text(client_id)].concat());
    packet(0x10, &body)
}

#[test]
fn v27_the_log_holds_no_secret() {
    const SECRET: &str = "an example secret of 32 bytes...";
    const PASSWORD: &str = "Tr0ub4dor&3-is-wrong";
    const HOOK: &str = "hook-user:hook-pass";
    let users = [entry("ann", "argon2id"), entry("sam", "scram")].concat();
    let claims = serde_json::json!({"sub": "tom", "exp": 4_000_000_000u32});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &key).unwrap();
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let nonce = "rOprNGfwEbeRWgbNEkqO";
    let proof = BASE64_STANDARD.encode([7; 32]);
    let files = [("passwords", &*users), ("jwt", SECRET)];
    for level in ["debug", "trace"] {
        let hook = format!("http-auth-url=http://{HOOK}@127.0.0.1:9/login");
        let mut flags = NO_BACK_OFF.to_vec();
        flags.extend(["--jwt-key-file", "FOLDER/jwt", "--log-level", level]);
        let mut challenges = Vec::new();
        // The hook is asked where nothing else knows the user.
        for own in ["", &hook] {
            let world = World::at(own, &flags, &files);
            for listener in [MQTT, MQTTS, WS, WSS] {
                let codes = [("ann", PASSWORD), ("tom", &token), ("tom", &forged), ("x", PASSWORD)]
                    .map(|user| world.peer(listener).connect(&connect("c", Some(user))));
                assert_eq!(codes[1], Some(0), "{}", world.server.log());
                assert!(codes.iter().filter(|code| **code != Some(0)).count() == 3);
                let right = world.peer(listener).connect(&connect("c", Some(("ann", "right"))));
                assert_eq!(right, Some(0), "{}", world.server.log());
                let mut peer = world.peer(listener);
                peer.send(&scram_connect("s", &format!("n,,n=sam,r={nonce}")));
                let (kind, challenge) = peer.packet().expect("AUTH comes");
                assert_eq!(kind, 0xf0, "{challenge:02x?}");
                let challenge = String::from_utf8_lossy(&challenge).into_owned();
                let at = challenge.find("r=").unwrap();
                let challenge = &challenge[at..];
                let answer = format!("c=biws,{},p={proof}", challenge.split(',').next().unwrap());
                let properties =
                    [property(0x15, b"SCRAM-SHA-256"), property(0x16, answer.as_bytes())].concat();
                let mut body = vec![0x18, properties.len() as u8];
                body.extend(properties);
                peer.send(&packet(0xf0, &body));
                assert_eq!(peer.packet().map(|(_, body)| body[1]), Some(0x86));
                challenges.extend(challenge.split(',').map(|part| part[2..].to_owned()));
            }
            assert!(world.server.reload());
            world.server.signal(libc::SIGTERM);
            world.server.logs("Stopped");
            let log = world.server.log();
            let mut secrets = vec![PASSWORD, SECRET, &token, &forged, nonce, &proof, "hook-pass"];
            secrets.extend(token.split('.').filter(|part| part.len() > 20));
            // Not the number of iterations.
            secrets.extend(challenges.iter().map(String::as_str).filter(|part| part.len() > 8));
            secrets.extend(users.split(['$', ':', ',', '\n']).filter(|part| part.len() > 20));
            for secret in secrets {
                assert!(!log.contains(secret), "{level}: {secret:?} is in the log:\n{log}");
            }
            for told in ["u'ann'", "u'tom'", "wrong user name or password"] {
                assert!(log.contains(told), "{told} is not in the log:\n{log}");
            }
        }
    }
}

/// A URL of the HTTP service may hold a password, and is shown nowhere, however wrong it is.
#[test]
fn v27_wrong_options_are_told_without_the_secrets_in_them() {
    let wrong = "htp://user:hunter2@auth.example/";
    let right = "http://user:hunter2@auth.example/";
    let folder = crate::folder::Folder::new();
    let file = folder.write("r.toml", format!("http-auth-url = \"{wrong}\"\n"));
    let given = [
        vec!["--http-auth-url".to_owned(), wrong.into()],
        vec!["--listen".into(), format!("mqtt://127.0.0.1:0?http-auth-url={wrong}")],
        vec!["--listen".into(), format!("mqttx://127.0.0.1:0?http-auth-url={right}")],
        vec!["--listen".into(), format!("127.0.0.1:99999?http-auth-url={right}")],
        vec!["--listen".into(), format!("127.0.0.1:0?http-auth-url={right}&nonsense=1")],
        vec!["--config".into(), file.display().to_string()],
        vec!["check".into(), file.display().to_string()],
    ];
    for arguments in given {
        let mut command = crate::support::ringmq();
        let (status, output) = run(command.args(&arguments));
        assert!(status.is_some_and(|status| status != 0), "{arguments:?}: {output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
}
