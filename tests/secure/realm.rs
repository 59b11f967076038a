//! Users, keys, certificates and rules; and a broker that knows them on all transports.

use crate::folder::Folder;
use crate::pki::{self, Authority, Identity};
use crate::support::server::{Server, run};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is spoken.
pub(crate) const TRANSPORTS: [&str; 5] = ["mqtt", "mqtts", "ws", "wss", "unix"];
/// Ways to show who one is, one listener each; those of certificates only where there is TLS.
pub(crate) const METHODS: [&str; 8] =
    ["anonymous", "password", "hs256", "rs256", "es256", "hook", "cn", "subject"];

pub(crate) const SECRET: &[u8] = b"an example secret of 32 bytes...";

/// Whoever has a user name may use what is below `own/` and the name; everybody `open/`.
pub(crate) const ACL: &str = "topic readwrite open/#\npattern readwrite own/%u/#\n";

/// Users of the password file: name, password, how it is hashed.
pub(crate) const USERS: [(&str, &str, &str); 4] = [
    ("argon", "argon's pässword", "argon2id"),
    ("seven", "seven's password", "sha512-pbkdf2"),
    ("six", "six's password", "sha512"),
    ("scram", "scram's password", "scram"),
];

pub(crate) struct Realm {
    pub(crate) folder: Folder,
    pub(crate) authority: Authority,
    pub(crate) clients: Authority,
    pub(crate) rsa: KeyPair,
    pub(crate) ec: KeyPair,
}

impl Realm {
    pub(crate) fn new() -> Self {
        let (authority, clients) = (pki::authority("Server Authority"), pki::authority("Clients"));
        let folder = Folder::new();
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let realm = Self { folder, authority, clients, rsa, ec };
        let write = |name: &str, text: &str| realm.folder.write(name, text);
        realm.write_server_certificate();
        write("ca.pem", &realm.authority.pem());
        write("clients.pem", &realm.clients.pem());
        write("clients.crl", &pki::crl(&realm.clients, &[66]));
        write("acl", ACL);
        write("hs256", std::str::from_utf8(SECRET).unwrap());
        write("rs256", &realm.rsa.public_key_pem());
        write("es256", &realm.ec.public_key_pem());
        realm.write_passwords();
        let mut params = pki::client_params("cert-user", 7);
        params.distinguished_name.push(DnType::OrganizationName, "Tests");
        realm.write_identity("cert-user", &pki::issue(&realm.clients, params));
        let other = pki::issue(&pki::authority("Others"), pki::client_params("cert-user", 7));
        realm.write_identity("foreign", &other);
        let revoked = pki::issue(&realm.clients, pki::client_params("revoked", 66));
        realm.write_identity("revoked", &revoked);
        let expired = pki::expired(pki::client_params("expired", 8));
        realm.write_identity("expired", &pki::issue(&realm.clients, expired));
        realm
    }

    /// A new certificate for the server, with a new key.
    pub(crate) fn write_server_certificate(&self) {
        let server = pki::server(&self.authority, &["localhost", "127.0.0.1"]);
        self.write_identity("server", &server);
    }

    pub(crate) fn write_identity(&self, name: &str, identity: &Identity) {
        self.folder.write(&format!("{name}.pem"), identity.certificate.pem());
        pki::private(self.folder.write(&format!("{name}.key"), identity.key.serialize_pem()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// By the tools that people use.
    fn write_passwords(&self) {
        let file = self.path("passwords");
        std::fs::write(&file, "").unwrap();
        for (user, password, hash) in USERS {
            match hash {
                "argon2id" | "scram" => set_password(&file, user, password, hash),
                _ => {
                    let mut command = Command::new("mosquitto_passwd");
                    command.args(["-H", hash, "-b"]).arg(&file).args([user, password]);
                    let (status, output) = run(&mut command);
                    assert_eq!(status, Some(0), "{output}");
                }
            }
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for prefix in ["argon:$argon2id$", "seven:$7$", "six:$6$", "scram:SCRAM-SHA-256$"] {
            assert!(text.contains(prefix), "{text}");
        }
    }

    /// The token that shows a user.
    pub(crate) fn token(&self, method: &str, user: &str) -> String {
        let (algorithm, key) = match method {
            "hs256" => (Algorithm::HS256, EncodingKey::from_secret(SECRET)),
            "rs256" => (
                Algorithm::RS256,
                EncodingKey::from_rsa_pem(self.rsa.serialize_pem().as_bytes()).unwrap(),
            ),
            _ => (
                Algorithm::ES256,
                EncodingKey::from_ec_pem(self.ec.serialize_pem().as_bytes()).unwrap(),
            ),
        };
        let claims = json!({"sub": user, "exp": 4_000_000_000u32});
        encode(&Header::new(algorithm), &claims, &key).unwrap()
    }

    /// A broker with a listener for each transport and method, in their order.
    pub(crate) fn start(&self, hook: &Hook, origin: Option<&str>) -> Site {
        let folder = self.folder.path().display();
        let mut flags: Vec<String> =
            ["--max-login-failures", "0", "--login-threads", "2"].map(str::to_owned).to_vec();
        flags.extend(self.tls_flags());
        flags.extend(["--acl-file".into(), format!("{folder}/acl")]);
        let mut places = Vec::new();
        for transport in TRANSPORTS {
            let has_tls = matches!(transport, "mqtts" | "wss");
            for method in METHODS {
                let own = match method {
                    "anonymous" => "allow-anonymous=true".to_owned(),
                    "password" => format!("password-file={folder}/passwords"),
                    "hook" => format!("http-auth-url=http://127.0.0.1:{}/login", hook.port),
                    "cn" | "subject" if !has_tls => continue,
                    "cn" | "subject" => format!(
                        "client-certificates=required&tls-client-ca={folder}/clients.pem&\
                         tls-crl={folder}/clients.crl&certificate-user={method}"
                    ),
                    _ => format!(
                        "jwt-key-file={folder}/{method}&jwt-algorithm={}",
                        method.to_uppercase()
                    ),
                };
                let at = match transport {
                    "unix" => format!("unix:{folder}/{method}.sock"),
                    _ => format!("{transport}://127.0.0.1:0"),
                };
                let origin = match origin {
                    Some(origin) if matches!(transport, "ws" | "wss") => {
                        format!("&websocket-origin={origin}")
                    }
                    _ => String::new(),
                };
                flags.extend(["--listen".into(), format!("{at}?{own}{origin}")]);
                places.push((transport, method));
            }
        }
        Site { server: Server::start(&flags), places }
    }

    pub(crate) fn tls_flags(&self) -> [String; 4] {
        let path = |name| self.path(name).display().to_string();
        ["--tls-cert".into(), path("server.pem"), "--tls-key".into(), path("server.key")]
    }
}

/// Sets a password with `ringmq passwd`.
pub(crate) fn set_password(file: &Path, user: &str, password: &str, hash: &str) {
    let mut child = crate::support::ringmq()
        .args(["passwd", "--batch", "--hash", hash])
        .arg(file)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A broker that listens for everything.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) places: Vec<(&'static str, &'static str)>,
}

impl Site {
    pub(crate) fn port(&self, transport: &str, method: &str) -> u16 {
        let place = self.places.iter().position(|place| *place == (transport, method)).unwrap();
        if transport == "unix" { 1883 } else { self.server.port(place) }
    }
}

/// Answers the broker's questions: `hooked` with its password is let in, nobody else.
pub(crate) struct Hook {
    pub(crate) port: u16,
}

pub(crate) const HOOKED: (&str, &str) = ("hooked", "hook's password");

impl Hook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let Some(question) = read_body(&mut stream) else { return };
                    let shown = (question["user_name"].as_str(), question["password"].as_str());
                    let is_right = shown == (Some(HOOKED.0), Some(HOOKED.1));
                    let result = if is_right { "allow" } else { "deny" };
                    let body = json!({ "result": result }).to_string();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                });
            }
        });
        Self { port }
    }
}

/// The JSON in an HTTP request.
fn read_body(stream: &mut impl Read) -> Option<Value> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(body) = end.and_then(|end| serde_json::from_slice(&bytes[end + 4..]).ok()) {
            return Some(body);
        }
    }
}
