//! Certificates as people have them, over TLS and over WebSocket, with clients that others wrote:
//! incomplete and unordered chains, byte order marks, folders of authorities, devices that have
//! signed for themselves, certificates of version 1, foreign application protocols.

use crate::matrix::{attempt, identifier, root};
use crate::pki::{self, Authority, Identity};
use crate::realm::Realm;
use crate::support::peer::connect_v3;
use crate::support::server::{Program, Server, eventually, run};
use rcgen::{BasicConstraints, IsCa};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A listener: its options, the client's certificate, and whether the client is let in.
type Layout = (&'static str, &'static str, Option<&'static str>, bool);

/// `F` stands for the folder.
const LAYOUTS: [Layout; 10] = [
    ("leaf and chain", "tls-cert=F/leaf.pem&tls-chain=F/issuers.pem", None, true),
    ("leaf and folder", "tls-cert=F/leaf.pem&tls-chain=F/issuers.d", None, true),
    ("leaf alone", "tls-cert=F/leaf.pem", None, false),
    ("turned chain", "tls-cert=F/turned.pem", None, true),
    ("marked chain", "tls-cert=F/marked.pem", None, true),
    (
        "folder of authorities",
        "tls-cert=F/full.pem&C&tls-client-ca=F/clients.d",
        Some("cert-user"),
        true,
    ),
    (
        "folder, foreign client",
        "tls-cert=F/full.pem&C&tls-client-ca=F/clients.d",
        Some("foreign"),
        false,
    ),
    ("named device", "tls-cert=F/full.pem&C&tls-client-ca=F/devices.pem", Some("device"), true),
    (
        "unnamed device",
        "tls-cert=F/full.pem&C&tls-client-ca=F/devices.pem",
        Some("stranger"),
        false,
    ),
    ("device in a folder", "tls-cert=F/full.pem&C&tls-client-ca=F/devices.d", Some("device"), true),
];
const SCHEMES: [&str; 2] = ["mqtts", "wss"];

fn device(name: &str) -> Identity {
    let mut params = pki::client_params(name, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    pki::self_signed(params)
}

/// The files of all layouts, beside those of the realm.
fn write_files(realm: &Realm) {
    let upper: Authority = pki::intermediate("Upper", 1, &realm.authority);
    let lower = pki::intermediate("Lower", 2, &upper);
    let own = pki::server(&lower, &["localhost", "127.0.0.1"]);
    let [leaf, lower, upper] = [own.certificate.pem(), lower.pem(), upper.pem()];
    let write = |name: &str, text: String| realm.folder.write(name, text);
    pki::private(write("own.key", own.key.serialize_pem()));
    write("leaf.pem", leaf.clone());
    write("issuers.pem", [&*upper, &lower].concat());
    write("turned.pem", [&*upper, &lower, &leaf].concat());
    write("marked.pem", format!("\u{feff}{leaf}\u{feff}{lower}{upper}"));
    write("full.pem", [&*leaf, &lower, &upper].concat());
    for name in ["device", "stranger"] {
        realm.write_identity(name, &device(name));
    }
    let own = std::fs::read_to_string(realm.path("device.pem")).unwrap();
    let devices = [device("other").certificate.pem(), device("stranger").certificate.pem(), own];
    write("devices.pem", devices.concat());
    let folders = [
        ("issuers.d", &[upper, lower][..]),
        ("clients.d", &[realm.clients.pem()]),
        ("devices.d", &devices),
    ];
    for (folder, files) in folders {
        std::fs::create_dir(realm.path(folder)).unwrap();
        for (number, text) in files.iter().enumerate() {
            write(&format!("{folder}/{number}.pem"), text.clone());
        }
        let mut command = Command::new("openssl");
        let (status, printed) = run(command.arg("rehash").arg(realm.path(folder)));
        assert_eq!(status, Some(0), "{printed}");
    }
}

fn start(realm: &Realm) -> Server {
    let folder = realm.folder.path().display().to_string();
    let mut flags = vec!["--acl-file".to_owned(), format!("{folder}/acl")];
    for (_, options, ..) in LAYOUTS {
        for scheme in SCHEMES {
            let options = options.replace("&C&", "&client-certificates=required&");
            let options = options.replace("F/", &format!("{folder}/"));
            flags.extend([
                "--listen".into(),
                format!(
                    "{scheme}://127.0.0.1:0?allow-anonymous=true&tls-key={folder}/own.key&{options}"
                ),
            ]);
        }
    }
    Server::start(&flags)
}

/// What the client scripts are given, for each layout, scheme and version of MQTT.
fn cases(realm: &Realm, server: &Server) -> Vec<Value> {
    let file = |name: &str| realm.path(name).display().to_string();
    let read = |name: &str| std::fs::read_to_string(realm.path(name)).unwrap();
    let mut cases = Vec::new();
    for (index, (layout, _, certificate, is_let_in)) in LAYOUTS.iter().enumerate() {
        for (offset, scheme) in SCHEMES.iter().enumerate() {
            for version in [5, 4] {
                let mut files = json!({ "ca": file("ca.pem") });
                let mut tls = json!({ "ca": read("ca.pem") });
                if let Some(name) = certificate {
                    for (place, ending) in [("cert", "pem"), ("key", "key")] {
                        files[place] = file(&format!("{name}.{ending}")).into();
                        tls[place] = read(&format!("{name}.{ending}")).into();
                    }
                }
                let port = server.port(2 * index + offset);
                let id = format!("layout-{}", identifier());
                cases.push(json!({
                    "name": format!("{layout} over {scheme}, version {version}"),
                    "transport": scheme, "host": "127.0.0.1", "port": port, "path": null,
                    "url": format!("{scheme}://127.0.0.1:{port}/mqtt"), "client_id": id,
                    "version": version, "user": null, "password": null, "scram": null,
                    "tls": tls, "files": files, "topic": format!("open/{id}"),
                    "expect": is_let_in.then_some(0),
                }));
            }
        }
    }
    cases
}

#[test]
fn mqtt_js_and_paho_connect_whatever_the_certificates_layout() {
    let realm = Realm::new();
    write_files(&realm);
    let server = start(&realm);
    attempt(&realm, Path::new("node"), "mqttjs.mjs", &cases(&realm, &server), &[]);
    let python = root(".test-env/venv/bin/python");
    attempt(&realm, &python, "paho_client.py", &cases(&realm, &server), &[]);
    assert_eq!(server.count("Other("), 0, "{}", server.log());
}

#[test]
fn mosquittos_clients_connect_whatever_the_certificates_layout() {
    let realm = Realm::new();
    write_files(&realm);
    let server = start(&realm);
    for (index, (layout, _, certificate, is_let_in)) in LAYOUTS.iter().enumerate() {
        let port = server.port(2 * index).to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "open/x", "-m", "m"]);
        command.arg("--cafile").arg(realm.path("ca.pem"));
        if let Some(name) = certificate {
            command.arg("--cert").arg(realm.path(&format!("{name}.pem")));
            command.arg("--key").arg(realm.path(&format!("{name}.key")));
        }
        let (status, printed) = run(&mut command);
        assert_eq!(status == Some(0), *is_let_in, "{layout}: {printed}\n{}", server.log());
    }
}

#[test]
fn a_certificate_of_version_1_is_served_over_both_schemes() {
    let realm = Realm::new();
    let folder = realm.folder.path();
    let lines =
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=Old -keyout ca.key -out old.crt
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout v1.key -out v1.csr
        openssl x509 -req -in v1.csr -CA old.crt -CAkey ca.key -CAcreateserial -out v1.crt
        openssl x509 -in v1.crt -noout -text | grep -q 'Version: 1'";
    let mut command = Command::new("sh");
    let (status, printed) = run(command.args(["-ec", lines]).current_dir(folder));
    assert_eq!(status, Some(0), "{printed}");
    let path = |name: &str| realm.path(name).display().to_string();
    let mut flags =
        vec!["--tls-cert".to_owned(), path("v1.crt"), "--tls-key".into(), path("v1.key")];
    for scheme in SCHEMES {
        flags.extend(["--listen".into(), format!("{scheme}://127.0.0.1:0")]);
    }
    let server = Server::start(&flags);
    let mut command = Command::new("mosquitto_pub");
    let port = server.port(0).to_string();
    command.args(["-h", "localhost", "-p", &port, "--insecure", "-t", "a", "-m", "b", "-q", "1"]);
    let (status, printed) = run(command.args(["--cafile", &path("old.crt")]));
    assert_eq!(status, Some(0), "{printed}\n{}", server.log());
    for listener in [0, 1] {
        let address = format!("localhost:{}", server.port(listener));
        let arguments = ["s_client", "-connect", &address, "-CAfile", &path("old.crt")];
        let (_, printed) = run(Command::new("openssl").args(arguments).arg("-verify_return_error"));
        assert!(printed.contains("Verify return code: 0 (ok)"), "{printed}\n{}", server.log());
    }
}

#[test]
fn a_foreign_application_protocol_keeps_nobody_out() {
    let realm = Realm::new();
    let mut flags = realm.tls_flags().to_vec();
    for scheme in SCHEMES {
        flags.extend(["--listen".into(), format!("{scheme}://127.0.0.1:0")]);
    }
    let server = Server::start(&flags);
    for (protocol, agreed) in [("x-amzn-mqtt-ca", None), ("h2", None), ("h2,mqtt", Some("mqtt"))] {
        for version in ["-tls1_2", "-tls1_3"] {
            let address = format!("127.0.0.1:{}", server.port(0));
            let mut command = Command::new("openssl");
            command
                .args(["s_client", "-connect", &address, "-alpn", protocol, version])
                .args(["-nocommands", "-ign_eof"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut client = Program::start(&mut command);
            let id = format!("alpn-{}", identifier());
            let bytes = [&connect_v3(&id, None)[..], &[0xe0, 0]].concat();
            client.child().stdin.take().unwrap().write_all(&bytes).unwrap();
            let (_, printed) = client.finish();
            let is_welcome = || server.count(&id) > 0;
            assert!(eventually(is_welcome), "{protocol}: {printed}");
            let told =
                agreed.map_or("No ALPN negotiated".into(), |p| format!("ALPN protocol: {p}"));
            assert!(printed.contains(&told), "{protocol}: {printed}");
        }
    }
}

#[test]
fn an_authority_that_comes_into_a_folder_is_taken_without_a_restart() {
    let realm = Realm::new();
    let folder = realm.path("authorities");
    std::fs::create_dir(&folder).unwrap();
    realm.folder.write("authorities/others.pem", pki::authority("Others").pem());
    let mut flags = realm.tls_flags().to_vec();
    let options = "allow-anonymous=true&client-certificates=required";
    flags.extend([
        "--listen".into(),
        format!("mqtts://127.0.0.1:0?{options}&tls-client-ca={}", folder.display()),
    ]);
    let server = Server::start(&flags);
    let publish = || {
        let mut command = Command::new("mosquitto_pub");
        let port = server.port(0).to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "a", "-m", "b"]);
        for (flag, name) in
            [("--cafile", "ca.pem"), ("--cert", "cert-user.pem"), ("--key", "cert-user.key")]
        {
            command.arg(flag).arg(realm.path(name));
        }
        run(&mut command).0
    };
    assert_ne!(publish(), Some(0));
    server.logs("no authority in tls-client-ca (cafile) has issued it");
    realm.folder.write("authorities/clients.pem", realm.clients.pem());
    assert!(eventually(|| publish() == Some(0)), "{}", server.log());
    // What is removed lets nobody in any more.
    std::fs::remove_file(folder.join("clients.pem")).unwrap();
    assert!(eventually(|| publish() != Some(0)), "{}", server.log());
}

#[test]
fn a_client_that_leaves_in_the_handshake_without_a_word_is_told_of() {
    let realm = Realm::new();
    let mut flags = realm.tls_flags().to_vec();
    for scheme in SCHEMES {
        flags.extend(["--listen".into(), format!("{scheme}://127.0.0.1:0")]);
    }
    let server = Server::start(&flags);
    let line = "the client left within the handshake";
    for (listener, told) in [(0, 1), (1, 2)] {
        let port = server.port(listener);
        // A client that has said nothing, and one that has said hello.
        drop(crate::support::peer::socket(port));
        let config = crate::support::peer::tls_client(&realm.authority.pem(), None);
        let mut stream = crate::support::peer::tls(&config, crate::support::peer::socket(port));
        let (client, socket) = (&mut stream.0.conn, &mut stream.0.sock);
        client.write_tls(socket).unwrap();
        client.read_tls(socket).unwrap();
        drop(stream);
        server.logs(line);
        assert!(eventually(|| server.count(line) == told));
    }
}
