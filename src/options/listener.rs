//! One listener: its place, its protocol, and its conditions for clients.

use super::given::{Value, Wrong};
use super::option_def::{OptionDef, Set};
use super::table::find_option;
use super::values::{Expected, MqttVersion};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The settings of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerOptions {
    /// The protocol.
    pub scheme: Scheme,
    /// The place; port 0 for any free one.
    pub endpoint: Endpoint,
    /// Certificate chains in PEM, the listener's own certificate first in each; one chain per name
    /// that the listener serves.
    pub tls_cert: Vec<PathBuf>,
    /// The private keys of the certificates, in the same order.
    pub tls_key: Vec<PathBuf>,
    /// The lowest accepted version of TLS.
    pub tls_min_version: TlsVersion,
    /// Issuers that complete the listener's own certificate chains.
    pub tls_chain: Vec<PathBuf>,
    /// The authorities that have to sign the clients' certificates.
    pub tls_client_ca: Vec<PathBuf>,
    /// The revocation lists of these authorities.
    pub tls_crl: Vec<PathBuf>,
    /// Whether clients have to show a certificate.
    pub client_certificates: ClientCertificates,
    /// The part of a client's certificate that is its user name.
    pub certificate_user: CertificateUser,
    /// The source of client identifiers.
    pub client_id: ClientIdSource,
    /// The path of a WebSocket listener's URL; `/` works as well.
    pub websocket_path: Box<str>,
    /// The web pages that may connect by WebSocket, as scheme, host and port; an empty list allows
    /// all.
    pub websocket_origins: Vec<Box<str>>,
    /// Networks of proxies; they have to send a PROXY header, which gives the client's address.
    pub proxy_from: Vec<IpNet>,
    /// The versions of MQTT that are spoken; an empty list is all of them.
    pub mqtt_versions: Vec<MqttVersion>,
    /// The highest QoS at which clients publish, leave a will or are subscribed, at most 2.
    pub max_qos: u8,
    /// Whether clients may leave their identifier to the broker.
    pub allow_empty_client_id: bool,
    /// The beginning of the identifiers that the broker gives out.
    pub assigned_client_id_prefix: Box<str>,
    /// The beginnings of client identifiers, of which one is required; an empty list is none.
    pub client_id_prefixes: Vec<Box<str>>,
    /// Whether clients without credentials are let in; None until all listeners are known.
    pub allow_anonymous: Option<bool>,
    /// Whether clients may read `$SYS` where no access list says what they may read.
    pub sys_readable: bool,
    /// The file of user names and password hashes.
    pub password_file: Option<PathBuf>,
    /// The file of permissions to publish and subscribe.
    pub acl_file: Option<PathBuf>,
    /// The key that JSON Web Tokens are verified with.
    pub jwt_key_file: Option<PathBuf>,
    /// The algorithm that signs the tokens.
    pub jwt_algorithm: JwtAlgorithm,
    /// The service that decides whether a client is let in.
    pub http_auth_url: Option<Box<str>>,
    /// Milliseconds after which the service's answer is overdue.
    pub http_auth_timeout_ms: u32,
}

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
    /// MQTT over a Unix socket.
    Unix,
}

/// The place of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// No client is asked.
    #[default]
    None,
    /// Clients may show a certificate, and it has to be valid.
    Optional,
    /// Clients have to show a valid certificate.
    Required,
}

/// The part of a client's certificate that is its user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateUser {
    /// No part.
    None,
    /// The common name.
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
}

/// The source of a client's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdSource {
    /// The client's CONNECT.
    Client,
    /// The user's name, so each user has one session.
    UserName,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    V1_2,
    /// 1.3
    V1_3,
}

/// The algorithm that signs a JSON Web Token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256; the key file holds the secret.
    Hs256,
    /// RSA; the key file holds the public key in PEM.
    Rs256,
    /// ECDSA on P-256; the key file holds the public key in PEM.
    Es256,
}

impl Scheme {
    /// The protocol with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|known| known.name() == name).copied()
    }

    /// All schemes.
    pub(crate) const ALL: [Self; 5] = [Self::Mqtt, Self::Mqtts, Self::Ws, Self::Wss, Self::Unix];

    /// The name of the scheme in a URL.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    /// The default port.
    const fn port(self) -> u16 {
        match self {
            Self::Mqtt | Self::Unix => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 8083,
            Self::Wss => 8084,
        }
    }

    /// Whether the scheme includes TLS.
    #[must_use]
    pub(crate) const fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether the scheme includes WebSocket.
    #[must_use]
    pub(crate) const fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl Endpoint {
    /// True when `found` is this endpoint as it was opened: the same, or with a real port for port
    /// 0.
    #[must_use]
    pub(crate) fn is_at(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Tcp(asked), Self::Tcp(found)) if asked.port() == 0 => asked.ip() == found.ip(),
            _ => self == found,
        }
    }

    /// True when no other host can reach the endpoint.
    #[must_use]
    pub(crate) const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.name();
        match &self.endpoint {
            Endpoint::Tcp(address) => write!(formatter, "{scheme}://{address}")?,
            Endpoint::Unix(path) => write!(formatter, "{scheme}:{}", path.display())?,
        }
        if self.scheme.has_websocket() { formatter.write_str(&self.websocket_path) } else { Ok(()) }
    }
}

const URL: &str = "a listener such as 127.0.0.1:1883, mqtts://0.0.0.0:8883, ws://[::1]:8083/mqtt \
                   or unix:/run/ringmq.sock";

impl ListenerOptions {
    pub(super) fn unset() -> Self {
        Self {
            scheme: Scheme::Mqtt,
            endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 1883))),
            tls_cert: Vec::new(),
            tls_key: Vec::new(),
            tls_min_version: TlsVersion::V1_2,
            tls_chain: Vec::new(),
            tls_client_ca: Vec::new(),
            tls_crl: Vec::new(),
            client_certificates: ClientCertificates::None,
            certificate_user: CertificateUser::None,
            client_id: ClientIdSource::Client,
            websocket_path: "/mqtt".into(),
            websocket_origins: Vec::new(),
            proxy_from: Vec::new(),
            mqtt_versions: Vec::new(),
            max_qos: 2,
            allow_empty_client_id: true,
            assigned_client_id_prefix: "".into(),
            client_id_prefixes: Vec::new(),
            allow_anonymous: None,
            sys_readable: true,
            password_file: None,
            acl_file: None,
            jwt_key_file: None,
            jwt_algorithm: JwtAlgorithm::Hs256,
            http_auth_url: None,
            http_auth_timeout_ms: 0,
        }
    }

    /// Reads `[SCHEME://]ADDRESS[:PORT][/PATH][?OPTION=VALUE&…]`, and returns the options.
    pub(super) fn set_url(
        &mut self,
        given: &Value,
    ) -> Result<Vec<(&'static OptionDef, Vec<Value>)>, Wrong> {
        let (url, query) = given.text.split_once('?').unwrap_or((&given.text, ""));
        // The options behind it may hold secrets.
        let refused = || Wrong::expected(given, &Expected::refused(url, URL));
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(refused());
            }
            self.scheme = Scheme::Unix;
            self.endpoint = Endpoint::Unix(path.into());
        } else {
            let (scheme, rest) = url.split_once("://").unwrap_or(("mqtt", url));
            let known = |known: &&Scheme| known.name() == scheme && **known != Scheme::Unix;
            self.scheme = *Scheme::ALL.iter().find(known).ok_or_else(refused)?;
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            self.endpoint = Endpoint::Tcp(address(host, self.scheme.port()).ok_or_else(refused)?);
            if self.scheme.has_websocket() && path.len() > 1 {
                self.websocket_path = path.into();
            } else if !path.is_empty() && path != "/" {
                return Err(refused());
            }
        }
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| own(pair, given)).collect()
    }

    /// Refuses an option of the listener's own that would have no effect there: its author relies
    /// on the option.
    pub(super) fn check_own(&self, option: &OptionDef, values: &[Value]) -> Result<(), Wrong> {
        let origin = values.first().map_or("", |value| &value.origin);
        let name = option.name;
        let is_for_tls =
            name.starts_with("tls-") || matches!(name, "client-certificates" | "certificate-user");
        if is_for_tls && !self.scheme.has_tls() {
            let cause = format!("{name} needs TLS, which {}:// has not", self.scheme.name());
            return Err(Wrong::new(origin, cause));
        }
        if name.starts_with("websocket-") && !self.scheme.has_websocket() {
            let cause = format!("{name} needs WebSocket, which {}:// is not", self.scheme.name());
            return Err(Wrong::new(origin, cause));
        }
        Ok(())
    }

    /// Refuses settings that contradict each other, in a listener from `origin`.
    pub(super) fn check(&self, origin: &str) -> Result<(), Wrong> {
        let refused = |cause: &str| Err(Wrong::new(origin, format!("{self} {cause}")));
        let with_tls = self.scheme.has_tls();
        if with_tls && self.tls_cert.is_empty() {
            return refused("needs a certificate: --tls-cert FILE --tls-key FILE");
        }
        if with_tls && self.tls_cert.len() != self.tls_key.len() {
            let (certs, keys) = (self.tls_cert.len(), self.tls_key.len());
            return refused(&format!(
                "has {certs} tls-cert and {keys} tls-key: give one key for each, in order"
            ));
        }
        let asks = self.client_certificates != ClientCertificates::None;
        if with_tls && asks && self.tls_client_ca.is_empty() {
            return refused(
                "asks for client certificates: name their authorities, --tls-client-ca FILE",
            );
        }
        if with_tls && !asks && (!self.tls_client_ca.is_empty() || !self.tls_crl.is_empty()) {
            return refused(
                "has a client CA or CRL but asks for no client certificates: \
                 --client-certificates optional or required",
            );
        }
        if self.certificate_user != CertificateUser::None && with_tls && !asks {
            return refused(
                "takes user names from client certificates but asks for none: \
                 --client-certificates required",
            );
        }
        Ok(())
    }

    /// True when passwords, tokens, the hook or certificates identify clients.
    #[must_use]
    pub(crate) fn has_credentials(&self) -> bool {
        self.password_file.is_some()
            || self.jwt_key_file.is_some()
            || self.http_auth_url.is_some()
            || (self.scheme.has_tls() && self.certificate_user != CertificateUser::None)
    }
}

/// Decides for each listener whether anonymous clients are let in. An explicit choice holds.
/// Otherwise anonymous clients are let in only while no listener can be reached from another host
/// and the listener has no credentials to check.
///
/// # Errors
/// A listener can be reached, and no setting says which clients are let in: the listener's index,
/// and the cause.
pub(super) fn settle_anonymous(listeners: &mut [ListenerOptions]) -> Result<(), (usize, String)> {
    let all_local = listeners.iter().all(|listener| listener.endpoint.is_local());
    for (index, listener) in listeners.iter_mut().enumerate() {
        if listener.allow_anonymous.is_none() && !listener.has_credentials() && !all_local {
            let cause = format!(
                "{listener}: no option says which clients may connect, and a listener can be \
                 reached from other hosts; give --password-file FILE, or --allow-anonymous true \
                 to let every client in"
            );
            return Err((index, cause));
        }
        let allowed = listener.allow_anonymous.unwrap_or(!listener.has_credentials());
        listener.allow_anonymous = Some(allowed);
    }
    Ok(())
}

/// Parses an option in a listener's URL.
fn own(pair: &str, given: &Value) -> Result<(&'static OptionDef, Vec<Value>), Wrong> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let option = find_option(name).filter(|option| option.set.is_of_listener());
    let Some(option) = option else {
        let cause = format!("{name:?} is not an option that a listener can have of its own");
        return Err(Wrong::new(&given.origin, cause));
    };
    let origin = format!("{}: {name}", given.origin);
    let texts = if matches!(option.set, Set::ListenerList(_)) {
        value.split(',').collect()
    } else {
        vec![value]
    };
    Ok((option, texts.into_iter().map(|text| given.part(text, origin.clone())).collect()))
}

fn address(host: &str, port: u16) -> Option<SocketAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.parse::<SocketAddr>()
        .ok()
        .or_else(|| Some(SocketAddr::from((host.parse::<Ipv4Addr>().ok()?, port))))
        .or_else(|| Some(SocketAddr::from((inner?.parse::<Ipv6Addr>().ok()?, port))))
}

impl ListenerOptions {
    /// Whether the peer `address` is a proxy that gives the client's address.
    #[must_use]
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxy_from.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for ClientCertificates {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "none" => Ok(Self::None),
            "optional" => Ok(Self::Optional),
            "required" => Ok(Self::Required),
            _ => Err(()),
        }
    }
}

impl FromStr for CertificateUser {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "none" => Ok(Self::None),
            "cn" => Ok(Self::CommonName),
            "subject" => Ok(Self::Subject),
            _ => Err(()),
        }
    }
}

impl FromStr for ClientIdSource {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "client" => Ok(Self::Client),
            "user-name" => Ok(Self::UserName),
            _ => Err(()),
        }
    }
}

impl FromStr for TlsVersion {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(()),
        }
    }
}

impl FromStr for JwtAlgorithm {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "HS256" => Ok(Self::Hs256),
            "RS256" => Ok(Self::Rs256),
            "ES256" => Ok(Self::Es256),
            _ => Err(()),
        }
    }
}
