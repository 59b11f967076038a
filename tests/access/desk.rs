//! The desk: threads, queues, what it remembers, who has to wait, and the hook over HTTP.

use super::{Folder, login, outcome};
use ringmq::access::{HashMethod, HookSource, Login, Policy, Sources, Verdict, hash_password};
use ringmq::base::ids::{LinkId, ListenerId, WorkerId};
use ringmq::limits::HOOK_THREADS;
use ringmq::mqtt::ReasonCode;
use ringmq::server::authentication::{Desk, DeskSettings};
use ringmq::testing::open_policy;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const SETTINGS: DeskSettings =
    DeskSettings { threads: 2, queue: 64, cache_s: 30, login_failures_max: 0 };
/// The desk's threads give way to everything else: on a busy machine a hash takes long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Office {
    desk: Desk,
    verdicts: Receiver<(WorkerId, LinkId, Verdict)>,
}

impl Office {
    fn new(settings: DeskSettings, policy: Policy) -> Self {
        let (sender, verdicts) = channel();
        let answer = move |worker, link, verdict| {
            let _ = sender.send((worker, link, verdict));
        };
        let desk = Desk::start(settings, answer).unwrap();
        desk.set_policies(Arc::new([policy]));
        Self { desk, verdicts }
    }

    fn submit(&self, login: Login) {
        self.desk.submit(WorkerId(1), LinkId { slot: 2, generation: 3 }, login);
    }

    fn ask(&self, login: Login) -> Verdict {
        self.submit(login);
        let (worker, link, verdict) = self.verdicts.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!((worker, link), (WorkerId(1), LinkId { slot: 2, generation: 3 }));
        verdict
    }
}

fn code(verdict: &Verdict) -> ReasonCode {
    match verdict {
        Verdict::Refuse { code, .. } => *code,
        Verdict::Accept { .. } => ReasonCode::Success,
        Verdict::Continue { .. } => ReasonCode::ContinueAuthentication,
    }
}

fn passwords(password: &str) -> Policy {
    let hash = hash_password(HashMethod::Scram, password.as_bytes());
    super::password_policy(format!("user:{hash}\n")).unwrap()
}

fn from(address: &str, password: &str) -> Login {
    Login { address: Some(address.parse().unwrap()), ..login(Some("user"), Some(password)) }
}

#[test]
fn every_login_is_answered_once() {
    let office = Office::new(SETTINGS, passwords("right"));
    for number in 0..40 {
        let password = if number % 2 == 0 { "right" } else { "wrong" };
        let link = LinkId { slot: number, generation: number };
        office.desk.submit(WorkerId(number as u16), link, login(Some("user"), Some(password)));
    }
    let mut seen = [false; 40];
    for _ in 0..40 {
        let (worker, link, verdict) = office.verdicts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(link.slot as usize, worker.index());
        assert!(!std::mem::replace(&mut seen[worker.index()], true));
        assert_eq!(outcome(&verdict).is_ok(), worker.0 % 2 == 0);
    }
    let other = Login { listener: ListenerId(1), ..login(Some("user"), Some("right")) };
    assert_eq!(code(&office.ask(other)), ReasonCode::ServerUnavailable);
    drop(office.desk);
    assert!(
        office.verdicts.recv().is_err(),
        "nothing more comes, and no thread is left to send it"
    );
}

#[test]
fn a_full_queue_is_told() {
    let settings = DeskSettings { threads: 1, queue: 2, ..SETTINGS };
    let office = Office::new(settings, passwords("right"));
    for _ in 0..50 {
        office.submit(login(Some("user"), Some("wrong")));
    }
    let codes: Vec<ReasonCode> =
        (0..50).map(|_| code(&office.verdicts.recv_timeout(PATIENCE).unwrap().2)).collect();
    let busy = codes.iter().filter(|code| **code == ReasonCode::ServerBusy).count();
    assert!((1..=48).contains(&busy), "{busy}");
    assert_eq!(code(&office.ask(login(Some("user"), Some("right")))), ReasonCode::Success);
}

#[test]
fn i21_what_is_remembered_ends_with_the_policy() {
    let office = Office::new(SETTINGS, passwords("old"));
    for client_id in ["one", "two"] {
        let login = Login { client_id: client_id.into(), ..login(Some("user"), Some("old")) };
        let identity = outcome(&office.ask(login)).unwrap();
        assert_eq!((&*identity.client_id, identity.user.as_deref()), (client_id, Some("user")));
    }
    office.desk.set_policies(Arc::new([passwords("new")]));
    assert!(outcome(&office.ask(login(Some("user"), Some("old")))).is_err());
    assert!(outcome(&office.ask(login(Some("user"), Some("new")))).is_ok());
    office.desk.set_policies(Arc::new([open_policy()]));
    let identity = outcome(&office.ask(login(Some("user"), Some("new")))).unwrap();
    assert_eq!(identity.user, None);
}

/// A thousand clients with one password cost one hash: 250 of them would take longer than this.
#[test]
fn what_is_remembered_is_not_hashed_again() {
    let hash = hash_password(HashMethod::Argon2id, b"right");
    let policy = super::password_policy(format!("user:{hash}\n")).unwrap();
    let settings = DeskSettings { threads: 1, queue: 1000, ..SETTINGS };
    let office = Office::new(settings, policy);
    office.ask(login(Some("user"), Some("right")));
    for _ in 0..1000 {
        office.submit(login(Some("user"), Some("right")));
    }
    for _ in 0..1000 {
        let (_, _, verdict) = office.verdicts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(code(&verdict), ReasonCode::Success);
    }
}

/// The next logins under a name that has failed too often wait, and nobody else's.
#[test]
fn too_many_failures_delay_that_name_from_that_address_alone() {
    let lines = ["user", "other"]
        .map(|user| format!("{user}:{}\n", hash_password(HashMethod::Scram, b"right")));
    let policy = || super::password_policy(lines.concat()).unwrap();
    let settings = DeskSettings { threads: 1, cache_s: 0, login_failures_max: 3, ..SETTINGS };
    // A machine that is busy for the whole second lets all three wait for it.
    let is_ahead = |_| neighbours_are_ahead(&Office::new(settings, policy()));
    assert!((0..8).any(is_ahead), "the neighbours wait, too");
    let office = Office::new(settings, policy());
    for _ in 0..9 {
        let verdict = office.ask(login(Some("user"), Some("wrong")));
        assert_eq!(code(&verdict), ReasonCode::BadUserNameOrPassword, "a Unix socket");
    }
}

#[allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
/// Delays the user at one address by wrong passwords; true when a login of another user, and one of
/// the same user at another address, are both answered before that user's next one.
fn neighbours_are_ahead(office: &Office) -> bool {
    for _ in 0..3 {
        let verdict = office.ask(from("192.0.2.1", "wrong"));
        assert_eq!(code(&verdict), ReasonCode::BadUserNameOrPassword);
    }
    let begun = Instant::now();
    let other = Login { user_name: Some("other".into()), ..from("192.0.2.1", "right") };
    let logins = [from("192.0.2.1", "right"), other, from("192.0.2.2", "right")];
    for (number, login) in (0..).zip(logins) {
        office.desk.submit(WorkerId(number), LinkId::new(0, 0), login);
    }
    let order = [(); 3].map(|()| {
        let (worker, _, verdict) = office.verdicts.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(code(&verdict), ReasonCode::Success, "{worker}");
        assert!(worker.0 > 0 || begun.elapsed() >= Duration::from_secs(1), "the second is over");
        worker.0
    });
    order[2] == 0
}

/// What was right a moment ago is answered before anything else happens; what was right before goes
/// ahead of a flood, of which each login costs a hash.
#[test]
fn who_was_right_before_does_not_wait_behind_a_flood() {
    let hash = hash_password(HashMethod::Argon2id, b"right");
    for cache_s in [0, 3600] {
        let settings = DeskSettings { threads: 1, queue: 1000, cache_s, ..SETTINGS };
        let policy = super::password_policy(format!("user:{hash}\n")).unwrap();
        let office = Office::new(settings, policy);
        assert_eq!(code(&office.ask(from("192.0.2.1", "right"))), ReasonCode::Success);
        for number in 0..800 {
            let link = LinkId { slot: number, generation: 0 };
            let address = format!("198.51.100.{}", number % 200);
            office.desk.submit(WorkerId(0), link, from(&address, "guess"));
        }
        office.submit(from("192.0.2.1", "right"));
        if cache_s > 0 {
            assert!(office.verdicts.try_iter().any(|(worker, ..)| worker == WorkerId(1)));
        } else {
            let mut verdicts = std::iter::from_fn(|| office.verdicts.recv_timeout(PATIENCE).ok());
            let place = verdicts.position(|(worker, ..)| worker == WorkerId(1));
            assert!(place.is_some_and(|place| place < 400), "{place:?}");
        }
    }
}

/// A login whose connection has gone is not verified, and the hook is not asked about it.
#[test]
fn nobody_is_asked_about_clients_that_have_gone() {
    let hook = Hook::new();
    let office = hook.office(20_000);
    let waits = Arc::new(());
    for _ in 0..60 {
        let waits = Some(Arc::downgrade(&waits));
        let gone = Login { waits, ..login(Some("gone"), Some("pass")) };
        office.desk.submit(WorkerId(9), LinkId::new(0, 0), gone);
    }
    // Some have begun to ask; of the others nothing is left once their connections go.
    hook.requests.recv_timeout(PATIENCE).unwrap();
    drop(waits);
    for _ in 0..HOOK_THREADS + 1 {
        hook.answers.send(response("204 No Content", b"")).unwrap();
    }
    office.submit(login(Some("here"), Some("pass")));
    let mut asked = 0;
    loop {
        let (worker, _, verdict) = office.verdicts.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(code(&verdict), ReasonCode::Success);
        if worker == WorkerId(1) {
            break;
        }
        asked += 1;
    }
    assert!(asked <= HOOK_THREADS, "{asked} of those who have gone");
    assert!(hook.requests.try_iter().any(|question| question.contains("\"here\"")));
}

/// A hook that gives each question to the test and answers with what comes back.
struct Hook {
    url: Box<str>,
    requests: Receiver<String>,
    answers: Sender<Vec<u8>>,
}

impl Hook {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/auth", listener.local_addr().unwrap()).into();
        let (asked, requests) = channel();
        let (answers, answer) = channel::<Vec<u8>>();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let Some(request) = read_request(&stream) else { continue };
                if asked.send(request).is_err() {
                    return;
                }
                let Ok(answer) = answer.recv() else { return };
                let _ = (&stream).write_all(&answer);
            }
        });
        Self { url, requests, answers }
    }

    fn office(&self, timeout_ms: u32) -> Office {
        let hook = Some(HookSource { url: self.url.clone(), timeout_ms });
        let folder = Folder::new();
        let hash = hash_password(HashMethod::Scram, b"right");
        let password_file = Some(folder.write("passwords", format!("known:{hash}\n")));
        let sources = Sources { hook, password_file, ..Sources::default() };
        let settings = DeskSettings { login_failures_max: 1, ..SETTINGS };
        Office::new(settings, Policy::load(&sources).unwrap())
    }
}

fn read_request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    [head.as_bytes(), b"\r\n", body].concat()
}

#[test]
fn the_hook_is_asked_over_http() {
    let hook = Hook::new();
    let office = hook.office(5000);
    hook.answers.send(response("200 OK", b"{\"result\":\"allow\",\"is_superuser\":true}")).unwrap();
    let verdict = office.ask(login(Some("user"), Some("pass")));
    assert!(outcome(&verdict).unwrap().is_superuser);
    let request = hook.requests.recv().unwrap();
    assert!(request.starts_with("POST /auth HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("content-type: application/json"), "{request}");
    assert!(request.contains("\"password\":\"pass\""), "{request}");
    hook.answers.send(response("204 No Content", b"")).unwrap();
    assert_eq!(code(&office.ask(login(None, None))), ReasonCode::Success);
    hook.answers.send(response("200 OK", b"{\"result\":\"deny\"}")).unwrap();
    let verdict = office.ask(login(Some("user"), Some("other")));
    assert_eq!(code(&verdict), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_hook_that_fails_denies_and_is_nobodys_failure() {
    let hook = Hook::new();
    let office = hook.office(5000);
    let huge = format!("{{\"result\":\"allow\",\"x\":\"{}\"}}", "x".repeat(70_000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let redirected = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        hook.url
    );
    let answers = [
        response("500 Oops", b"{\"result\":\"allow\"}"),
        response("200 OK", b"{\"result\":\"al"),
        response("200 OK", huge.as_bytes()),
        redirected.into_bytes(),
        chunked.into(),
        b"no HTTP at all\r\n\r\n".to_vec(),
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
        hook.answers.send(answer).unwrap();
        // Asked again, it answers the same way.
        let login = Login { address: Some("192.0.2.1".parse().unwrap()), ..login(Some("u"), None) };
        let verdict = office.ask(login);
        assert_eq!(code(&verdict), ReasonCode::ServerUnavailable, "{shown}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hook = Some(HookSource { url: format!("http://{nobody}/").into(), timeout_ms: 1000 });
    let policy = Policy::load(&Sources { hook, ..Sources::default() }).unwrap();
    office.desk.set_policies(Arc::new([policy]));
    assert_eq!(code(&office.ask(login(None, None))), ReasonCode::ServerUnavailable);
}

/// While the hook does not answer, who is in the password file enters; what it is asked waits at
/// most for its time limit.
#[test]
fn a_slow_hook_holds_up_nobody_else() {
    let hook = Hook::new();
    let office = hook.office(700);
    for _ in 0..4 {
        office.submit(login(Some("user"), Some("x")));
    }
    let verdict = office.ask(login(Some("known"), Some("right")));
    assert_eq!(code(&verdict), ReasonCode::Success);
    for _ in 0..4 {
        let (_, _, verdict) = office.verdicts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(code(&verdict), ReasonCode::ServerUnavailable);
    }
}
