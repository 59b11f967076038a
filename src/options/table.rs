//! The table of options.

use super::option_def::{OptionDef, Set};
use super::parsers::{
    anonymous, http_url, mqtt_version, network, path, paths, prefix, websocket_path,
};
use super::values::{AdminSocket, Expected, LogDestination, parse, within};
use crate::limits::{AUDIT_KEEP_MAX, WORKERS_MAX};

/// The option with that name.
#[must_use]
pub(crate) fn find_option(name: &str) -> Option<&'static OptionDef> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// Every option, in the order of the help text.
pub const OPTIONS: &[OptionDef] = &[
    OptionDef::new(
        "listen",
        "URL",
        "127.0.0.1:1883",
        "Accept connections here; may be repeated. mqtt://, mqtts://, ws:// or wss:// with an \
         address or a host's name and perhaps a port, as in mqtts://0.0.0.0:8883, or \
         unix:/run/ringmq.sock; no scheme is mqtt, port 0 takes a free one. Without any, port 1883 \
         of 127.0.0.1 and [::1]. Options for this listener alone follow a ?, as in \
         mqtts://[::]?client-certificates=required.",
        Set::Listen,
    ),
    OptionDef::list(
        "tls-cert",
        "FILE",
        "Use this certificate chain in PEM, the listener's own first; repeat for more names. \
         Missing issuers are taken from --tls-chain and --tls-client-ca.",
        |listener, values| {
            listener.tls_cert = paths(values);
            Ok(())
        },
    ),
    OptionDef::list(
        "tls-key",
        "FILE",
        "Use this private key in PEM; one for each --tls-cert, in the same order.",
        |listener, values| {
            listener.tls_key = paths(values);
            Ok(())
        },
    ),
    OptionDef::list(
        "tls-chain",
        "FILE",
        "Complete the listener's own certificate chains from these certificates, in PEM; a file, \
         or a folder as openssl rehash makes it; may be repeated.",
        |listener, values| {
            listener.tls_chain = paths(values);
            Ok(())
        },
    ),
    OptionDef::listener(
        "tls-min-version",
        "1.2|1.3",
        "1.2",
        "Refuse older versions of TLS.",
        |listener, value| parse(value, VERSION).map(|version| listener.tls_min_version = version),
    ),
    OptionDef::listener(
        "client-certificates",
        "CHOICE",
        "none",
        "Ask clients for a certificate: none, optional or required.",
        |listener, value| {
            parse(value, CERTIFICATES).map(|choice| listener.client_certificates = choice)
        },
    ),
    OptionDef::list(
        "tls-client-ca",
        "FILE",
        "Accept client certificates that these CAs have signed, in PEM, and self-signed ones that \
         are among them; a file, or a folder as openssl rehash makes it; may be repeated.",
        |listener, values| {
            listener.tls_client_ca = paths(values);
            Ok(())
        },
    ),
    OptionDef::list(
        "tls-crl",
        "FILE",
        "Refuse client certificates that these lists revoke, in PEM; may be repeated.",
        |listener, values| {
            listener.tls_crl = paths(values);
            Ok(())
        },
    ),
    OptionDef::listener(
        "certificate-user",
        "CHOICE",
        "none",
        "Take the user name from the client's certificate: cn, subject (all of it) or none.",
        |listener, value| {
            parse(value, CERTIFICATE_USER).map(|choice| listener.certificate_user = choice)
        },
    ),
    OptionDef::listener(
        "client-id",
        "CHOICE",
        "client",
        "Take client identifiers from CONNECT (client), or let each user have one session whose \
         identifier is the user's name (user-name).",
        |listener, value| parse(value, CLIENT_ID).map(|choice| listener.client_id = choice),
    ),
    OptionDef::listener(
        "allow-empty-client-id",
        "true|false",
        "true",
        "Let clients leave their identifier to the broker.",
        |listener, value| {
            parse(value, BOOLEAN).map(|choice| listener.allow_empty_client_id = choice)
        },
    ),
    OptionDef::listener(
        "assigned-client-id-prefix",
        "PREFIX",
        "ringmq-",
        "Begin the identifiers that the broker gives out with this (at most 50 bytes).",
        |listener, value| prefix(value).map(|it| listener.assigned_client_id_prefix = it),
    ),
    OptionDef::list(
        "client-id-prefix",
        "PREFIX",
        "Refuse client identifiers, also those that the broker gives out, that do not begin with \
         this; may be repeated for more beginnings.",
        |listener, values| {
            listener.client_id_prefixes = values.iter().map(|&value| value.into()).collect();
            Ok(())
        },
    ),
    OptionDef::listener(
        "websocket-path",
        "PATH",
        "/mqtt",
        "Serve WebSocket at this path; / works as well, and /* is every path.",
        |listener, value| websocket_path(value).map(|path| listener.websocket_path = path),
    ),
    OptionDef::list(
        "websocket-origin",
        "ORIGIN",
        "Let only web pages from this origin connect, such as https://example.org; may be \
         repeated. Without an origin all pages may connect.",
        |listener, values| {
            listener.websocket_origins = values.iter().map(|&value| value.into()).collect();
            Ok(())
        },
    ),
    OptionDef::list(
        "proxy-from",
        "NETWORK",
        "Expect a PROXY header (version 1 or 2) on connections from these networks, such as \
         10.0.0.0/8, and take the client's address from it; may be repeated.",
        |listener, values| {
            let networks = values.iter().map(|value| network(value)).collect::<Result<_, _>>();
            networks.map(|networks| listener.proxy_from = networks)
        },
    ),
    OptionDef::list(
        "mqtt-version",
        "VERSION",
        "Let only clients of this version of MQTT in: 3.1, 3.1.1 or 5.0; may be repeated. Without \
         one all may come in.",
        |listener, values| {
            let versions = values.iter().map(|value| mqtt_version(value)).collect();
            Result::map(versions, |versions| listener.mqtt_versions = versions)
        },
    ),
    OptionDef::listener(
        "max-qos",
        "QOS",
        "2",
        "Refuse messages and wills above this QoS (0 to 2), and grant subscriptions at most this.",
        |listener, value| within(value, 0..=2).map(|qos| listener.max_qos = qos),
    ),
    OptionDef::listener(
        "allow-anonymous",
        "CHOICE",
        "auto",
        "Let clients without credentials in: true, false, or auto, which lets them in while all \
         listeners are local and this listener has no credentials to check.",
        |listener, value| anonymous(value).map(|choice| listener.allow_anonymous = choice),
    ),
    OptionDef::listener(
        "password-file",
        "FILE",
        "",
        "Check user names and passwords; ringmq passwd and mosquitto_passwd write the file.",
        |listener, value| {
            listener.password_file = path(value);
            Ok(())
        },
    ),
    OptionDef::listener(
        "acl-file",
        "FILE",
        "",
        "Allow only what this file grants, in Mosquitto's format.",
        |listener, value| {
            listener.acl_file = path(value);
            Ok(())
        },
    ),
    OptionDef::listener(
        "sys-readable",
        "true|false",
        "true",
        "Let clients subscribe to $SYS while no access list says what they may read.",
        |listener, value| parse(value, BOOLEAN).map(|choice| listener.sys_readable = choice),
    ),
    OptionDef::listener(
        "jwt-key-file",
        "FILE",
        "",
        "Accept JSON Web Tokens as passwords: the HS256 secret, or the public key in PEM.",
        |listener, value| {
            listener.jwt_key_file = path(value);
            Ok(())
        },
    ),
    OptionDef::listener(
        "jwt-algorithm",
        "ALGORITHM",
        "HS256",
        "Accept only tokens signed with this algorithm: HS256, RS256 or ES256.",
        |listener, value| parse(value, ALGORITHM).map(|choice| listener.jwt_algorithm = choice),
    ),
    OptionDef::listener(
        "http-auth-url",
        "URL",
        "",
        "Ask this HTTP service whether a client may come in.",
        |listener, value| http_url(value).map(|url| listener.http_auth_url = url),
    ),
    OptionDef::listener(
        "http-auth-timeout-ms",
        "MILLISECONDS",
        "5000",
        "Refuse the client when the service has not answered in this time (1 to 60000).",
        |listener, value| {
            within(value, 1..=60_000).map(|time| listener.http_auth_timeout_ms = time)
        },
    ),
    OptionDef::broker(
        "workers",
        "COUNT",
        "0",
        "Run this many workers (at most 128), each a thread with its own connections. 0 runs one \
         per usable physical core; more workers than cores share the cores.",
        |options, value| within(value, 0..=WORKERS_MAX).map(|count| options.workers = count),
    ),
    OptionDef::broker(
        "pin",
        "CORES",
        "auto",
        "Keep each worker on one core: auto takes one hardware thread of each physical core that \
         this process may use, none lets the kernel choose, and a list such as 0,2,4-7 is used in \
         turn.",
        |options, value| parse(value, PIN).map(|pin| options.pin = pin),
    ),
    OptionDef::broker(
        "engine",
        "CHOICE",
        "auto",
        "Reach the kernel by io_uring (io-uring), by asking which sockets are ready (poll), or by \
         io_uring where that is permitted (auto).",
        |options, value| parse(value, ENGINE).map(|choice| options.engine = choice),
    ),
    OptionDef::broker(
        "busy-poll-us",
        "MICROSECONDS",
        "0",
        "Let a worker without work spin this long (at most 1000000) before it sleeps: lower \
         latency for more CPU time.",
        |options, value| within(value, 0..=1_000_000).map(|time| options.busy_poll_us = time),
    ),
    OptionDef::broker(
        "data-dir",
        "DIR",
        "",
        "Keep persistent sessions, their messages, retained messages and wills in this directory, \
         so that they outlive the process; without a directory they are in memory.",
        |options, value| {
            options.data_dir = path(value);
            Ok(())
        },
    ),
    OptionDef::broker(
        "durability",
        "CHOICE",
        "commit",
        "With --data-dir, an acknowledged change is on disk (commit), will be on disk after \
         --durability-interval-ms (interval), or survives this process but no power cut (none).",
        |options, value| parse(value, DURABILITY).map(|choice| options.durability = choice),
    ),
    OptionDef::broker(
        "durability-interval-ms",
        "MILLISECONDS",
        "1000",
        "Gather changes for this long before they are written, unless --durability is commit.",
        |options, value| within(value, 1..=60_000).map(|ms| options.durability_interval_ms = ms),
    ),
    OptionDef::broker(
        "max-connections",
        "COUNT",
        "0",
        "Close connections above this number at once. 0 allows as many as the descriptor limit \
         does.",
        |options, value| within(value, 0..=u32::MAX).map(|count| options.max_connections = count),
    ),
    OptionDef::broker(
        "max-connections-per-address",
        "COUNT",
        "0",
        "Refuse connections above this number from one address. 0 allows any number.",
        |options, value| {
            within(value, 0..=u32::MAX).map(|count| options.max_connections_per_address = count)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-connect-rate",
        "COUNT",
        "0",
        "Refuse connections above this number a second, in all. 0 allows any number.",
        |options, value| within(value, 0..=1_000_000).map(|count| options.max_connect_rate = count),
    )
    .reloaded(),
    OptionDef::broker(
        "connect-timeout",
        "SECONDS",
        "30",
        "Close a connection that sends nothing for this long (1 to 3600) before its CONNECT is \
         complete, or whose CONNECT is incomplete after twice as long.",
        |options, value| within(value, 1..=3600).map(|time| options.connect_timeout_s = time),
    )
    .reloaded(),
    OptionDef::broker(
        "tcp-keep-alive",
        "SECONDS",
        "60",
        "Let TCP probe a client after this long (1 to 32767) without anything from it; a client \
         that answers no probe, or takes no data, is given up a minute later at most. 0 leaves \
         silent clients to MQTT's keep alive.",
        |options, value| within(value, 0..=32_767).map(|time| options.tcp_keep_alive_s = time),
    ),
    OptionDef::broker(
        "client-id-owner",
        "CHOICE",
        "connected",
        "Refuse a CONNECT with a client identifier with which another user is connected \
         (connected), or has a session (session). With none, every client may take over any \
         session. A session without a user's name belongs to everyone.",
        |options, value| {
            parse(value, CLIENT_ID_OWNER).map(|choice| options.client_id_owner = choice)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-login-failures",
        "COUNT",
        "10",
        "After this many failed logins with one user name from one address within a minute, delay \
         the next ones by a second, then by twice as long each time, up to 8 s. 0 never delays a \
         login.",
        |options, value| {
            within(value, 0..=1_000_000).map(|count| options.max_login_failures = count)
        },
    ),
    OptionDef::broker(
        "login-threads",
        "COUNT",
        "1",
        "Check passwords on this many threads of low priority (1 to 64).",
        |options, value| within(value, 1..=64).map(|count| options.login_threads = count),
    ),
    OptionDef::broker(
        "login-cache-s",
        "SECONDS",
        "30",
        "Accept a password without hashing it again for this long after it was right. 0 always \
         hashes.",
        |options, value| within(value, 0..=3600).map(|time| options.login_cache_s = time),
    ),
    OptionDef::broker(
        "max-publish-rate",
        "COUNT",
        "0",
        "Disconnect a client that publishes more messages a second. 0 allows any number.",
        |options, value| {
            within(value, 0..=10_000_000).map(|count| options.max_publish_rate = count)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-publish-bytes",
        "BYTES",
        "0",
        "Disconnect a client that publishes more bytes a second. 0 allows any number.",
        |options, value| within(value, 0..=1 << 40).map(|count| options.max_publish_bytes = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-packet-size",
        "BYTES",
        "2000000",
        "Refuse larger packets from clients (20 to 268435455).",
        |options, value| within(value, 20..=BYTES_MAX).map(|bytes| options.max_packet_size = bytes),
    )
    .reloaded(),
    OptionDef::broker(
        "max-payload-size",
        "BYTES",
        "0",
        "Drop messages of clients with a larger payload: version 5 is told so, and older versions \
         get the usual acknowledgement. A will with a larger one is refused. 0 sets no limit.",
        |options, value| within(value, 0..=BYTES_MAX).map(|bytes| options.max_payload_size = bytes),
    )
    .reloaded(),
    OptionDef::broker(
        "max-inflight",
        "COUNT",
        "256",
        "Send a client at most this many QoS 1 and 2 messages before it acknowledges (1 to 65535).",
        |options, value| within(value, 1..=u16::MAX).map(|count| options.max_inflight = count),
    )
    .reloaded(),
    OptionDef::broker(
        "receive-maximum",
        "COUNT",
        "1024",
        "Let a client send at most this many QoS 1 and 2 messages before they are acknowledged (1 \
         to 65535).",
        |options, value| within(value, 1..=u16::MAX).map(|count| options.receive_maximum = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-queued-messages",
        "COUNT",
        "1000",
        "Queue at most this many messages for a session that is slow or offline (1 to 10000000).",
        |options, value| {
            within(value, 1..=10_000_000).map(|count| options.max_queued_messages = count)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-queued-bytes",
        "BYTES",
        "67108864",
        "Queue at most this many bytes for a session that is slow or offline: topics, properties \
         and payloads, and the memory that each message takes besides, with those in flight (65536 \
         to 1099511627776).",
        |options, value| {
            within(value, 65_536..=1 << 40).map(|bytes| options.max_queued_bytes = bytes)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-memory",
        "BYTES|PERCENT",
        "80%",
        "Use at most this much memory: bytes (33554432 and more), or a percentage of what the \
         machine has or the control group allows. From 70 % of it new retained topics, stored \
         sessions and subscriptions are refused, from 85 % clients that hold most lose what waits \
         for them, from 95 % nothing comes in.",
        |options, value| {
            let expected = "a number of bytes from 33554432, or a percentage such as 80%";
            parse(value, expected).map(|max| options.max_memory = max)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "sys-interval",
        "SECONDS",
        "10",
        "Publish what changes of the broker's metrics under $SYS/broker/ as often as this; 0 is \
         never.",
        |options, value| within(value, 0..=86_400).map(|seconds| options.sys_interval_s = seconds),
    )
    .reloaded(),
    OptionDef::broker(
        "admin-listen",
        "ADDR:PORT",
        "127.0.0.1:9883",
        "Answer the operator by HTTP here: the dashboard, and the API behind `ringmq clients` and \
         the like. On an address of this machine alone reading needs no token, and what changes \
         something does; any other one needs --admin-tls-cert, and a token or a certificate for \
         everything. none turns it off.",
        |options, value| {
            let expected = "an address and port such as 127.0.0.1:9883, or none";
            options.admin_listen =
                if value == "none" { None } else { Some(parse(value, expected)?) };
            Ok(())
        },
    ),
    OptionDef::broker(
        "admin-socket",
        "PATH",
        "auto",
        "Answer the same on a Unix socket for this user alone, without tokens. auto is one in the \
         runtime directory, where `ringmq clients` and the like find it; none turns it off.",
        |options, value| {
            options.admin_socket = match value {
                "auto" => AdminSocket::Auto,
                "none" => AdminSocket::None,
                path if path.starts_with('/') => AdminSocket::At(path.into()),
                _ => return Err(Expected::refused(value, "auto, none or an absolute path")),
            };
            Ok(())
        },
    ),
    OptionDef::broker(
        "admin-token-file",
        "FILE",
        "",
        "Accept the tokens in this file, one a line; those behind `read` change nothing. Without \
         a file each start makes a token of its own, which `ringmq token` shows.",
        |options, value| {
            options.admin_token_file = path(value);
            Ok(())
        },
    )
    .reloaded(),
    OptionDef::broker(
        "admin-tls-cert",
        "FILE",
        "",
        "Use this certificate chain in PEM for --admin-listen, which speaks HTTPS then.",
        |options, value| {
            options.admin_tls_cert = path(value);
            Ok(())
        },
    )
    .reloaded(),
    OptionDef::broker(
        "admin-tls-key",
        "FILE",
        "",
        "Use this private key in PEM, that of --admin-tls-cert.",
        |options, value| {
            options.admin_tls_key = path(value);
            Ok(())
        },
    )
    .reloaded(),
    OptionDef::broker(
        "admin-client-ca",
        "FILE",
        "",
        "Let operators in, besides those with a token, who have a certificate that these CAs in \
         PEM have signed.",
        |options, value| {
            options.admin_client_ca = path(value);
            Ok(())
        },
    )
    .reloaded(),
    OptionDef::broker(
        "drain-s",
        "SECONDS",
        "0",
        "Send clients away over so long upon SIGTERM, a part of them at a time, instead of all at \
         once; `ringmq drain` does the same.",
        |options, value| within(value, 0..=86_400).map(|seconds| options.drain_s = seconds),
    )
    .reloaded(),
    OptionDef::broker(
        "metrics-listen",
        "ADDR:PORT",
        "",
        "Serve /metrics for Prometheus and /health/live and /health/ready by HTTP here, without a \
         login.",
        |options, value| {
            parse(value, "an address and port such as 127.0.0.1:9884")
                .map(|address| options.metrics_listen = Some(address))
        },
    ),
    OptionDef::broker(
        "max-sessions",
        "COUNT",
        "1000000",
        "Refuse a client whose session is to outlive its connection while its user has so many of \
         them; all clients without a user's name are one user. 0 allows any number.",
        |options, value| within(value, 0..=u32::MAX).map(|count| options.max_sessions = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-retained",
        "COUNT",
        "10000000",
        "Refuse to retain a message on one more topic while so many topics have one of the same \
         user; all clients without a user's name are one user. 0 allows any number.",
        |options, value| within(value, 0..=u32::MAX).map(|count| options.max_retained = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-subscriptions",
        "COUNT",
        "100000",
        "Refuse a subscription while its session has so many (1 to 10000000).",
        |options, value| {
            within(value, 1..=10_000_000).map(|count| options.max_subscriptions = count)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-shared-subscriptions",
        "COUNT",
        "10000",
        "Refuse a shared subscription while its session has so many (0 to 100000).",
        |options, value| {
            within(value, 0..=100_000).map(|count| options.max_shared_subscriptions = count)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-filter-bytes",
        "BYTES",
        "8388608",
        "Refuse a subscription when the filters of its session would have more bytes than this in \
         all (65536 to 1073741824).",
        |options, value| {
            within(value, 65_536..=1 << 30).map(|bytes| options.max_filter_bytes = bytes)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-subscription-ids",
        "COUNT",
        "64",
        "Name at most this many Subscription Identifiers on one delivery to a client whose \
         subscriptions overlap (1 to 1024).",
        |options, value| within(value, 1..=1024).map(|count| options.max_subscription_ids = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-topic-levels",
        "COUNT",
        "200",
        "Refuse topics and filters with more levels (1 to 1000).",
        |options, value| within(value, 1..=1000).map(|count| options.max_topic_levels = count),
    )
    .reloaded(),
    OptionDef::broker(
        "max-keep-alive",
        "SECONDS",
        "0",
        "Cap the keep-alive of clients (1 to 65535). 0 sets no cap.",
        |options, value| within(value, 0..=u16::MAX).map(|time| options.max_keep_alive = time),
    )
    .reloaded(),
    OptionDef::broker(
        "max-session-expiry",
        "SECONDS",
        "4294967295",
        "Cap the session expiry interval of clients. 4294967295 lets sessions live for ever.",
        |options, value| within(value, 0..=u32::MAX).map(|time| options.max_session_expiry = time),
    )
    .reloaded(),
    OptionDef::broker(
        "max-anonymous-expiry",
        "SECONDS",
        "2592000",
        "Cap the session expiry interval of clients without a user's name as well; the default is \
         30 days. 4294967295 lets their sessions live for ever.",
        |options, value| {
            within(value, 0..=u32::MAX).map(|time| options.max_anonymous_expiry = time)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "max-topic-alias",
        "COUNT",
        "64",
        "Use topic aliases up to this number, in both directions. 0 turns them off.",
        |options, value| within(value, 0..=u16::MAX).map(|count| options.max_topic_alias = count),
    )
    .reloaded(),
    OptionDef::broker(
        "retain-available",
        "true|false",
        "true",
        "Keep retained messages. When false, publishing one is refused.",
        |options, value| {
            parse(value, BOOLEAN).map(|available| options.retain_available = available)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "user",
        "NAME",
        "",
        "Become this user when root starts the broker, once ports are open and keys are read; \
         root stays root. Whoever else starts it stays who they are.",
        |options, value| {
            options.user = (!value.is_empty()).then(|| value.to_owned());
            Ok(())
        },
    ),
    OptionDef::broker(
        "pid-file",
        "FILE",
        "",
        "Write the number of the process into this file, and remove it at the end.",
        |options, value| {
            options.pid_file = path(value);
            Ok(())
        },
    ),
    OptionDef::broker(
        "log-level",
        "LEVEL",
        "info",
        "Write log lines of at least this importance: error, warn, info, debug or trace.",
        |options, value| parse(value, LEVEL).map(|level| options.log_level = level),
    )
    .reloaded(),
    OptionDef::broker(
        "log-format",
        "text|json",
        "text",
        "Write log lines for people or as JSON objects.",
        |options, value| parse(value, FORMAT).map(|format| options.log_format = format),
    ),
    OptionDef::broker(
        "log-dest",
        "PLACES",
        "stderr",
        "Write log lines there: stderr, file:PATH, syslog, syslog:local0 to syslog:local7, topic \
         (below $SYS/broker/log), or none; several have commas between.",
        |options, value| LogDestination::parse(value).map(|it| options.log_destination = it),
    ),
    OptionDef::broker(
        "log-timestamp",
        "true|false",
        "true",
        "Begin log lines of text with the time.",
        |options, value| parse(value, BOOLEAN).map(|choice| options.log_timestamp = choice),
    ),
    OptionDef::broker(
        "audit-log",
        "FILE",
        "",
        "Append an audit log to this file: logins, sessions, subscriptions, denials and \
         administrative acts, as JSON lines of which each has the hash of the one before.",
        |options, value| {
            options.audit_log = path(value);
            Ok(())
        },
    ),
    OptionDef::broker(
        "audit-log-max-bytes",
        "BYTES",
        "104857600",
        "Begin a new audit log when the present one is as large (65536 and more); the old one is \
         FILE.1 then. 0 begins no new one.",
        |options, value| {
            let is_right = |bytes: &u64| *bytes == 0 || *bytes >= 65_536;
            let bytes = within(value, 0..=1 << 50).ok().filter(is_right);
            let expected = || Expected::refused(value, "0 or a number from 65536");
            bytes.ok_or_else(expected).map(|bytes| options.audit_log_max_bytes = bytes)
        },
    )
    .reloaded(),
    OptionDef::broker(
        "audit-log-keep",
        "COUNT",
        "10",
        "Keep this many old audit logs (at most 10000), and remove those before. 0 keeps all.",
        |options, value| {
            within(value, 0..=AUDIT_KEEP_MAX).map(|count| options.audit_log_keep = count)
        },
    )
    .reloaded(),
];

/// The largest packet of MQTT.
const BYTES_MAX: u32 = 268_435_455;

const BOOLEAN: &str = "true or false";
const LEVEL: &str = "error, warn, info, debug or trace";
const FORMAT: &str = "text or json";
const PIN: &str = "auto, none or a list of different cores such as 0,2,4-7";
const VERSION: &str = "1.2 or 1.3";
const ENGINE: &str = "auto, io-uring or poll";
const DURABILITY: &str = "commit, interval or none";
const CERTIFICATES: &str = "none, optional or required";
const CERTIFICATE_USER: &str = "none, cn or subject";
const CLIENT_ID: &str = "client or user-name";
const CLIENT_ID_OWNER: &str = "connected, session or none";
const ALGORITHM: &str = "HS256, RS256 or ES256";
