//! Transport by method: who is let in, and what they may do then.

use crate::realm::{HOOKED, Hook, METHODS, Realm, Site, TRANSPORTS, USERS};
use crate::support::server::run;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BAD_USER_OR_PASSWORD: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;

/// One login, and how it ends.
struct Login {
    name: String,
    user: Option<(String, String)>,
    /// The name of a certificate.
    certificate: Option<&'static str>,
    is_scram: bool,
    end: End,
}

enum End {
    /// Let in, with this part of a topic as its own.
    In(String),
    /// CONNACK with this code of version 5.
    Refused(u8),
    /// The handshake fails.
    NoConnection,
}

impl Login {
    fn new(user: Option<(&str, &str)>, end: End) -> Self {
        let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let name = user.as_ref().map_or("nobody".into(), |(name, _)| format!("user {name}"));
        Self { name, user, certificate: None, is_scram: false, end }
    }

    fn with(certificate: Option<&'static str>, end: End) -> Self {
        let name = format!("certificate {certificate:?}");
        Self { name, user: None, certificate, is_scram: false, end }
    }
}

fn own(user: &str) -> End {
    End::In(format!("own/{user}"))
}

/// What to try at a listener for this method.
fn logins(realm: &Realm, method: &str) -> Vec<Login> {
    let bad = || End::Refused(BAD_USER_OR_PASSWORD);
    let nobody = || Login::new(None, End::Refused(NOT_AUTHORIZED));
    let mut logins = Vec::new();
    match method {
        "anonymous" => {
            let open = || End::In("open".into());
            logins.extend((0..4).map(|_| Login::new(None, open())));
        }
        "password" => {
            for (user, password, hash) in USERS {
                logins.push(Login::new(Some((user, password)), own(user)));
                logins.push(Login::new(Some((user, "wrong")), bad()));
                if hash == "scram" {
                    let login = |password, end| {
                        let login = Login::new(Some((user, password)), end);
                        Login { is_scram: true, name: format!("SCRAM {password}"), ..login }
                    };
                    logins.push(login(password, own(user)));
                    logins.push(login("wrong", bad()));
                }
            }
            logins.push(Login::new(Some(("stranger", "argon's pässword")), bad()));
            logins.push(nobody());
        }
        "hook" => {
            logins.push(Login::new(Some(HOOKED), own(HOOKED.0)));
            logins.push(Login::new(Some((HOOKED.0, "wrong")), bad()));
            logins.push(Login::new(Some(("stranger", HOOKED.1)), bad()));
        }
        "cn" | "subject" => {
            let user = if method == "cn" { "cert-user" } else { "O=Tests,CN=cert-user" };
            logins.extend((0..2).map(|_| Login::with(Some("cert-user"), own(user))));
            let wrong = [None, Some("foreign"), Some("revoked"), Some("expired")];
            logins.extend(wrong.map(|certificate| Login::with(certificate, End::NoConnection)));
        }
        _ => {
            let token = realm.token(method, "token-user");
            logins.push(Login::new(Some(("token-user", &token)), own("token-user")));
            let other = if method == "es256" { "rs256" } else { "es256" };
            let foreign = realm.token(other, "token-user");
            logins.push(Login::new(Some(("token-user", &foreign)), bad()));
            logins.push(Login::new(Some(("token-user", &token[..token.len() - 8])), bad()));
            logins.push(nobody());
        }
    }
    logins
}

fn connack_v3(code: u8) -> u8 {
    if code == BAD_USER_OR_PASSWORD { 4 } else { 5 }
}

/// What the client scripts are given: each login with both versions.
fn case(
    realm: &Realm,
    port: u16,
    (transport, method): (&str, &str),
    login: &Login,
    version: u8,
) -> Value {
    let file = |name: &str| realm.path(name).display().to_string();
    let path = (transport == "unix").then(|| file(&format!("{method}.sock")));
    let mut files = json!({ "ca": file("ca.pem") });
    let mut tls = json!({});
    if matches!(transport, "mqtts" | "wss") {
        let read = |name: &str| std::fs::read_to_string(realm.path(name)).unwrap();
        tls = json!({ "ca": read("ca.pem") });
        if let Some(name) = login.certificate {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
            files["cert"] = file(&certificate).into();
            files["key"] = file(&key).into();
            tls["cert"] = read(&certificate).into();
            tls["key"] = read(&key).into();
        }
    }
    let client_id = format!("{transport}-{method}-{}-{version}", identifier());
    let expect = match login.end {
        End::In(_) => Some(0),
        End::Refused(code) if version == 5 => Some(code),
        End::Refused(code) => Some(connack_v3(code)),
        End::NoConnection => None,
    };
    let topic = match &login.end {
        End::In(own) => format!("{own}/{client_id}"),
        _ => String::new(),
    };
    let scheme = if matches!(transport, "ws" | "wss") { "/mqtt" } else { "" };
    let (user, password) = match &login.user {
        Some((user, password)) if !login.is_scram => (Some(user), Some(password)),
        _ => (None, None),
    };
    json!({
        "name": format!("{transport} {method}, {}, version {version}", login.name),
        "transport": transport, "host": "127.0.0.1", "port": port, "path": path,
        "url": format!("{transport}://127.0.0.1:{port}{scheme}"),
        "client_id": client_id, "version": version, "user": user, "password": password,
        "scram": login.is_scram.then_some(&login.user), "tls": tls, "files": files,
        "topic": topic, "expect": expect,
    })
}

/// Client identifiers differ, so that they live on both workers.
pub(crate) fn identifier() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn cases(realm: &Realm, site: &Site, is_wanted: impl Fn(&str, &str, &Login) -> bool) -> Vec<Value> {
    let mut cases = Vec::new();
    for &(transport, method) in &site.places {
        for login in logins(realm, method) {
            for version in [5, 4] {
                let is_possible = version == 5 || !login.is_scram;
                if is_possible && is_wanted(transport, method, &login) {
                    let port = site.port(transport, method);
                    cases.push(case(realm, port, (transport, method), &login, version));
                }
            }
        }
    }
    cases
}

pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// Runs a client script with these cases.
pub(crate) fn attempt(
    realm: &Realm,
    program: &Path,
    script: &str,
    cases: &[Value],
    more: &[String],
) {
    assert!(cases.len() > 10, "there are cases");
    let text = serde_json::to_string(cases).unwrap();
    let file = realm.folder.write(&format!("{script}.json"), text);
    let mut command = Command::new(program);
    command.arg(root("tests/secure").join(script)).arg(file).args(more);
    command.env("MODULES", root(".test-env/node_modules"));
    command.env("PYTHON", root(".test-env/venv/bin/python"));
    let (status, output) = run(&mut command);
    assert_eq!(status, Some(0), "{script}:\n{output}");
}

/// Two ports that nobody has, and that the kernel gives nobody who asks for any: a program takes
/// them only later.
fn free_ports() -> (u16, u16) {
    let from = 20_000 + (std::process::id() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut free = (from..32_000).filter(is_free);
    (free.next().expect("a free port"), free.next().expect("another one"))
}

#[test]
fn mqtt_js_on_every_transport_with_every_method() {
    let (realm, hook) = (Realm::new(), Hook::start());
    let site = realm.start(&hook, Some("https://nowhere.example"));
    let cases = cases(&realm, &site, |_, _, _| true);
    attempt(&realm, Path::new("node"), "mqttjs.mjs", &cases, &[]);
    // Rules for users are of no use where nobody has a name, and only there.
    let nameless = site.server.count("nothing gives a client a name");
    assert_eq!(nameless, TRANSPORTS.len(), "{}", site.server.log());
}

#[test]
fn paho_on_every_transport_with_every_method() {
    let (realm, hook) = (Realm::new(), Hook::start());
    // paho sends an Origin, as if it were a page.
    let site = realm.start(&hook, None);
    let cases = cases(&realm, &site, |_, _, login| !login.is_scram);
    attempt(&realm, &root(".test-env/venv/bin/python"), "paho_client.py", &cases, &[]);
}

#[test]
fn mqtt_js_in_a_browser_and_pages_of_other_origins() {
    let (realm, hook) = (Realm::new(), Hook::start());
    let (port, other) = free_ports();
    let site = realm.start(&hook, Some(&format!("http://127.0.0.1:{port}")));
    let is_wanted = |transport: &str, method: &str, login: &Login| {
        matches!(transport, "ws" | "wss")
            && !matches!(method, "cn" | "subject" | "rs256")
            && !login.is_scram
    };
    let mut cases = cases(&realm, &site, is_wanted);
    for case in &mut cases {
        // A page chooses no certificates.
        case["tls"] = json!({});
    }
    let refused: Vec<Value> = cases
        .iter()
        .filter(|case| case["expect"] == 0)
        .map(|case| {
            let mut case = case.clone();
            case["other"] = true.into();
            case["expect"] = Value::Null;
            case["name"] = format!("{} from another origin", case["name"]).into();
            case
        })
        .collect();
    let count = refused.len();
    cases.extend(refused);
    let profile = realm.path("profile").display().to_string();
    let more = [profile, port.to_string(), other.to_string()];
    attempt(&realm, Path::new("node"), "chromium.mjs", &cases, &more);
    let refusals = site.server.count("This Origin is not allowed");
    assert_eq!(refusals, count, "{}", site.server.log());
}

/// How mosquitto's clients connect for a login.
fn mosquitto_flags(realm: &Realm, site: &Site, place: (&str, &str), login: &Login) -> Vec<String> {
    let file = |name: &str| realm.path(name).display().to_string();
    let (transport, method) = place;
    let mut flags: Vec<String> = match transport {
        "unix" => vec!["--unix".into(), file(&format!("{method}.sock"))],
        _ => {
            let port = site.port(transport, method).to_string();
            vec!["-h".into(), "127.0.0.1".into(), "-p".into(), port]
        }
    };
    if transport == "mqtts" {
        flags.extend(["--cafile".into(), file("ca.pem")]);
    }
    if let Some(name) = login.certificate {
        flags.extend(["--cert".into(), file(&format!("{name}.pem"))]);
        flags.extend(["--key".into(), file(&format!("{name}.key"))]);
    }
    if let Some((user, password)) = &login.user {
        flags.extend(["-u", user, "-P", password].map(str::to_owned));
    }
    flags
}

fn mosquitto(program: &str, flags: &[String], more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    run(command.args(flags).args(more))
}

#[test]
fn mosquittos_clients_over_tcp_tls_and_unix_sockets() {
    let (realm, hook) = (Realm::new(), Hook::start());
    let site = realm.start(&hook, Some("https://nowhere.example"));
    for &place in &site.places {
        if !matches!(place.0, "mqtt" | "mqtts" | "unix") {
            continue;
        }
        for login in logins(&realm, place.1) {
            if !login.is_scram {
                mosquitto_login(&realm, &site, place, &login);
            }
        }
    }
    assert_eq!(site.places.len(), TRANSPORTS.len() * (METHODS.len() - 2) + 4);
}

fn mosquitto_login(realm: &Realm, site: &Site, place: (&str, &str), login: &Login) {
    let flags = mosquitto_flags(realm, site, place, login);
    let version = if identifier().is_multiple_of(2) { "5" } else { "311" };
    let case = format!("{place:?} {} version {version}", login.name);
    let publish = |topic: &str, version: &str| {
        let more = ["-V", version, "-q", "1", "-r", "-t", topic, "-m", "by mosquitto"];
        mosquitto("mosquitto_pub", &flags, &more)
    };
    match &login.end {
        End::In(own) => {
            let topic = format!("{own}/{}", identifier());
            let (status, output) = publish(&topic, version);
            assert_eq!(status, Some(0), "{case}: {output}\n{}", site.server.log());
            let subscribe = ["-V", version, "-q", "1", "-C", "1", "-W", "10", "-t", &topic];
            let (status, output) = mosquitto("mosquitto_sub", &flags, &subscribe);
            assert_eq!((status, output.trim()), (Some(0), "by mosquitto"), "{case}");
            let (_, output) = publish("secret/x", "5");
            assert!(output.contains("Not authorized"), "{case}: {output}");
            let subscribe = ["-V", version, "-C", "1", "-W", "10", "-t", "secret/#"];
            let (_, output) = mosquitto("mosquitto_sub", &flags, &subscribe);
            assert!(output.contains("denied"), "{case}: {output}");
        }
        End::Refused(code) => {
            // mosquitto_pub exits with the code of CONNACK.
            let expected = if version == "5" { *code } else { connack_v3(*code) };
            let (status, output) = publish("open/x", version);
            assert_eq!(status, Some(expected.into()), "{case}: {output}");
        }
        End::NoConnection => {
            let (status, output) = publish("open/x", version);
            assert!(status.is_some_and(|status| status != 0), "{case}: {status:?} {output}");
        }
    }
}
