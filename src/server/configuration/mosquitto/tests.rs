use super::*;
use crate::base::prng::Prng;
use crate::options::{
    CertificateUser, ClientCertificates, ClientIdSource, MaxMemory, Options, TlsVersion,
};

/// The options and warnings of an accepted text.
fn accepted(text: &str) -> (Options, Vec<String>) {
    let contents = read(Path::new("m.conf"), text);
    assert_eq!(contents.wrong, [], "{text}");
    let warnings = contents.warnings.iter().map(ToString::to_string).collect();
    (Options::build(&contents.given).expect(text), warnings)
}

fn options(text: &str) -> Options {
    accepted(text).0
}

fn refused(text: &str) -> Vec<String> {
    let contents = read(Path::new("m.conf"), text);
    let wrong = match &*contents.wrong {
        [] => Options::build_or_list(&contents.given).expect_err(text),
        wrong => wrong.to_vec(),
    };
    wrong.iter().map(ToString::to_string).collect()
}

fn listeners(text: &str) -> Vec<String> {
    let listeners = options(text).listeners.into_iter();
    // Not every machine that builds has IPv6.
    listeners.map(|listener| listener.to_string()).filter(|url| !url.contains('[')).collect()
}

fn anonymous(text: &str) -> Vec<bool> {
    let listeners = options(text).listeners.into_iter();
    let of_ipv4 = listeners.filter(|listener| !listener.to_string().contains('['));
    of_ipv4.map(|listener| listener.allow_anonymous.unwrap()).collect()
}

#[test]
fn nobody_comes_in_without_a_name_unless_that_is_written_or_nobody_else_can_connect() {
    assert_eq!(listeners(""), ["mqtt://127.0.0.1:1883"]);
    assert_eq!(anonymous(""), [true]);
    assert_eq!(anonymous("password_file p"), [true], "as in Mosquitto");
    assert_eq!(anonymous("allow_anonymous false"), [false]);
    assert_eq!(anonymous("listener 1 127.0.0.1"), [false]);
    assert_eq!(anonymous("port 1"), [false]);
    assert_eq!(anonymous("bind_address 127.0.0.1"), [false]);
    assert_eq!(anonymous("listener 1\nlistener 2\nallow_anonymous true"), [true, true]);
    let own = "allow_anonymous true\nlistener 1\nlistener_allow_anonymous false\nlistener 2";
    assert_eq!(anonymous(own), [false, true]);
    let own = "per_listener_settings true\nlistener 1\nlistener_allow_anonymous true\nlistener 2";
    assert_eq!(anonymous(own), [true, false]);
    let own = "per_listener_settings true\nallow_anonymous true\nlistener 1\nlistener 2\n\
               allow_anonymous true\nlistener 3\nallow_anonymous 0";
    assert_eq!(anonymous(own), [false, true, false]);
    let mut flags = Given::default();
    add(&mut flags, "listen", Value::new("127.0.0.1:4", "--listen"));
    let options = Options::build(&flags.or(read(Path::new("m.conf"), own).given)).unwrap();
    assert_eq!(options.listeners[0].allow_anonymous, Some(false), "a flag's listener");
}

#[test]
fn listeners_are_where_they_are_in_mosquitto() {
    assert_eq!(listeners("listener 1"), ["mqtt://0.0.0.0:1"]);
    assert_eq!(listeners("listener 1 # all"), ["mqtt://0.0.0.0:1"]);
    assert_eq!(listeners("  listener\t1\tlocalhost\r"), ["mqtt://127.0.0.1:1"]);
    assert_eq!(listeners("listener 0 /run/m.sock"), ["unix:/run/m.sock"]);
    assert_eq!(listeners("listener 1\nprotocol websockets"), ["ws://0.0.0.0:1/*"]);
    assert_eq!(
        listeners("listener 1\nbind_address 127.0.0.1"),
        ["mqtt://0.0.0.0:1", "mqtt://127.0.0.1:1883"]
    );
    assert_eq!(listeners("listener 1\nbind_interface lo"), ["mqtt://127.0.0.1:1"]);
    assert_eq!(listeners("listener 1 127.0.0.1\nbind_interface LO"), ["mqtt://127.0.0.1:1"]);
    let tls = "listener 1\ncertfile c\nkeyfile k\nlistener 2\nprotocol websockets\ncertfile c\n\
               keyfile k\ncafile unused";
    assert_eq!(listeners("listener 1\nlistener 2\nprotocol http_api"), ["mqtt://0.0.0.0:1"]);
    assert_eq!(listeners(tls), ["mqtts://0.0.0.0:1", "wss://0.0.0.0:2/*"]);
    let families = options("listener 1\nsocket_domain ipv4").listeners;
    assert_eq!(families.len(), 1);
}

#[test]
fn what_stands_above_all_listeners_is_the_default_ones() {
    let (options, warnings) = accepted("certfile c\nkeyfile k\nlistener 2 127.0.0.1");
    let urls: Vec<_> = options.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(urls[..2], ["mqtt://127.0.0.1:2", "mqtts://0.0.0.0:1883"]);
    assert!(warnings[0].starts_with("m.conf:1:1: certfile stands above all listeners"));
    let (options, warnings) = accepted("tls_version tlsv1.3\nlistener 2 127.0.0.1");
    assert_eq!(options.listeners.len(), 1);
    assert!(warnings[0].contains("changes nothing"), "{warnings:?}");
}

#[test]
fn security_counts_for_all_or_for_each() {
    let files = |text: &str| -> Vec<_> {
        let listeners = options(text).listeners.into_iter();
        let of_ipv4 = listeners.filter(|listener| !listener.to_string().contains('['));
        of_ipv4.map(|l| l.password_file.map(|file| file.to_str().unwrap().to_owned())).collect()
    };
    let all = "listener 1\nlistener 2\npassword_file p q\n";
    assert_eq!(files(all), [Some("p q".to_owned()), Some("p q".to_owned())]);
    let each = format!("per_listener_settings true\n{all}");
    assert_eq!(files(&each), [None, Some("p q".to_owned())]);
}

#[test]
fn client_certificates_are_asked_for_as_written() {
    let text = "listener 1 127.0.0.1\ncertfile c\nkeyfile k\ncafile a\nrequire_certificate true\n\
                use_subject_as_username true\ncrlfile r\ntls_version tlsv1.3";
    let listener = options(text).listeners.remove(0);
    assert_eq!(listener.client_certificates, ClientCertificates::Required);
    assert_eq!(listener.certificate_user, CertificateUser::Subject);
    assert_eq!((listener.tls_client_ca, listener.tls_chain), (vec!["a".into()], vec!["a".into()]));
    assert_eq!((listener.tls_crl.len(), listener.tls_min_version), (1, TlsVersion::V1_3));
    let folder = options(&format!("{text}\ncapath d")).listeners.remove(0);
    assert_eq!(folder.tls_client_ca, ["a", "d"].map(std::path::PathBuf::from));
    let alone = options(&text.replace("cafile", "capath")).listeners.remove(0);
    assert_eq!(alone.tls_client_ca, [std::path::PathBuf::from("a")]);
    let both = format!("{text}\nuse_identity_as_username true");
    assert_eq!(options(&both).listeners[0].certificate_user, CertificateUser::CommonName);
}

#[test]
fn names_of_certificates_that_no_client_is_asked_for_let_nobody_in() {
    for name in ["use_identity_as_username", "use_subject_as_username"] {
        let text = format!("{TLS}cafile a\n{name} true\nallow_anonymous true\npassword_file p\n");
        for text in [text.clone(), format!("per_listener_settings true\n{text}")] {
            let (options, warnings) = accepted(&text);
            let listener = &options.listeners[0];
            assert_eq!(listener.client_certificates, ClientCertificates::None);
            assert_eq!(listener.allow_anonymous, Some(false), "{text}");
            assert_eq!(listener.password_file, None, "{text}");
            let expected = format!(": {name} lets no client in, as in Mosquitto");
            assert!(warnings.len() == 1 && warnings[0].contains(&expected), "{warnings:?}");
        }
    }
}

#[test]
fn sessions_are_anybodys_unless_identifiers_are_user_names() {
    let options = options("listener 1 ::1\nuse_username_as_clientid true\nlistener 2 ::1");
    assert_eq!(options.client_id_owner, crate::options::ClientIdOwner::None);
    let sources = [options.listeners[0].client_id, options.listeners[1].client_id];
    assert_eq!(sources, [ClientIdSource::UserName, ClientIdSource::Client]);
}

#[test]
fn each_listener_limits_versions_and_qos() {
    use crate::options::MqttVersion::{V5, V31, V311};
    let of = |text: &str| {
        let listener = options(text).listeners.remove(0);
        (listener.mqtt_versions, listener.max_qos)
    };
    assert_eq!(
        of("listener 1 ::1\naccept_protocol_versions 3, 4,5 # all"),
        (vec![V31, V311, V5], 2)
    );
    assert_eq!(
        of("listener 1 ::1\naccept_protocol_versions 3\naccept_protocol_versions 5"),
        (vec![V5], 2)
    );
    assert_eq!(of("listener 1 ::1\nmax_qos 1\nlistener 2\nmax_qos 0"), (vec![], 1));
    assert_eq!(of("listener 1 ::1\nmax_qos 0\nmaximum_qos 1"), (vec![], 1));
    assert_eq!(of("max_qos 0"), (vec![], 0), "the local one");
    let (options, warnings) = accepted("max_qos 1\nlistener 2 ::1");
    assert_eq!(options.listeners.iter().map(|it| it.max_qos).collect::<Vec<_>>()[..2], [2, 1]);
    assert!(warnings[0].contains("opens one more, on port 1883"), "{warnings:?}");
}

#[test]
fn client_identifiers_are_as_in_mosquitto() {
    let of = |text: &str| -> Vec<_> {
        let of_it = |it: crate::options::ListenerOptions| {
            (it.allow_empty_client_id, it.assigned_client_id_prefix.into_string())
        };
        options(text).listeners.into_iter().map(of_it).collect()
    };
    let shown = |is_allowed, prefix: &str| (is_allowed, prefix.to_owned());
    assert_eq!(of("listener 1 ::1"), [shown(true, "auto-")]);
    let all = "allow_zero_length_clientid false\nauto_id_prefix a b\n";
    assert_eq!(of(all)[0], shown(false, "a b"));
    let two = "listener 1 ::1\nlistener_auto_id_prefix c\nlistener 2 ::1\n";
    assert_eq!(of(&format!("{all}{two}")), [shown(false, "c"), shown(false, "a b")]);
    assert_eq!(of(&format!("{two}{all}")), [shown(false, "c"), shown(false, "a b")]);
    let each = of(&format!("per_listener_settings true\n{two}{all}"));
    assert_eq!(each, [shown(true, "c"), shown(false, "a b")]);
    let local = of(&format!("per_listener_settings true\n{all}"));
    assert_eq!(local[0], shown(false, "a b"));
    let prefixes = |text: &str| options(text).listeners.remove(0).client_id_prefixes;
    assert_eq!(prefixes("listener 1 ::1\nclientid_prefixes a b"), ["a b".into()]);
    assert_eq!(prefixes("clientid_prefixes a\nclientid_prefixes b"), ["b".into()], "the last");
    assert!(prefixes("").is_empty());
}

#[test]
fn limits_of_the_broker_are_translated() {
    let options = options(
        "max_inflight_messages 0\nmax_queued_messages 0\nmax_queued_bytes 100000\n\
         max_keepalive 30\nretain_available false\npersistent_client_expiration 2w\n\
         message_size_limit 100000\nlog_type error\nlog_type debug\nlistener 1\n\
         max_connections 5\nmax_topic_alias 3",
    );
    assert_eq!((options.max_inflight, options.max_queued_messages), (65_535, 10_000_000));
    assert_eq!((options.max_queued_bytes, options.max_keep_alive), (100_000, 30));
    assert_eq!((options.retain_available, options.max_session_expiry), (false, 1_209_600));
    assert_eq!(options.max_anonymous_expiry, 1_209_600);
    assert_eq!((options.max_payload_size, options.max_packet_size), (100_000, 2_000_000));
    assert_eq!(options.log_level, crate::options::LogLevel::Debug);
    assert_eq!((options.max_connections, options.max_topic_alias), (5, 3));
    assert_eq!(self::options("max_packet_size 999999999").max_packet_size, 268_435_455);
    assert_eq!(self::options("max_packet_size 20").max_packet_size, 20);
    assert_eq!(self::options("max_queued_bytes 0").max_queued_bytes, 1 << 40);
    let memory = |line: &str| self::options(line).max_memory;
    assert_eq!(memory("memory_limit 100000000"), MaxMemory::Bytes(100_000_000));
    assert_eq!(memory("memory_limit 5"), MaxMemory::Bytes(33_554_432));
    assert_eq!(memory("memory_limit 0"), MaxMemory::Percent(80));
    let kept = self::options("persistence true\npersistence_location /var/lib/m/");
    assert_eq!(kept.data_dir.as_deref(), Some("/var/lib/m/ringmq".as_ref()));
    assert_eq!(kept.mosquitto_db.as_deref(), Some("/var/lib/m/mosquitto.db".as_ref()));
    assert_eq!(self::options("persistence_location /var/lib/m/").data_dir, None);
    let sum = "listener 1\nmax_connections 5\nlistener 2\nmax_connections 6";
    assert_eq!(self::options(sum).max_connections, 11);
    let none = "listener 1\nmax_connections 5\nlistener 2";
    assert_eq!(self::options(none).max_connections, 0);
}

#[test]
fn what_has_no_counterpart_is_named_unless_it_changes_nothing() {
    let warned = [
        ("retain_expiry_interval 5", "as soon as its Message Expiry Interval is over"),
        ("autosave_interval 1", "before it acknowledges"),
        ("log_dest stdout", "m.conf:1:10: log_dest stdout: ringmq logs to the standard error"),
        ("listener 1\nciphers AES", "m.conf:2:1: ciphers has no"),
        ("listener 1\ncertfile c\nkeyfile k\ntls_version tlsv1.1", "at least tlsv1.2"),
    ];
    for (text, start) in warned {
        let (_, warnings) = accepted(text);
        assert!(warnings.len() == 1 && warnings[0].contains(start), "{text}: {warnings:?}");
    }
    let silent = "persistence false\nset_tcp_nodelay true\nsys_interval 0\nlog_dest stderr\n\
                  allow_zero_length_clientid true\nuser root\nlistener 1\nmax_qos 2\n\
                  use_username_as_clientid false\nrequire_certificate false\nprotocol mqtt\n";
    assert_eq!(accepted(silent).1, [""; 0]);
}

/// Refused texts, with the place and a word of the cause.
const REFUSED: &[(&str, &str)] = &[
    ("nonsense 1", "m.conf:1:1: \"nonsense\" is no option of Mosquitto; correct or remove it"),
    (
        "\npassword_fil p",
        "m.conf:2:1: \"password_fil\" is no option of Mosquitto; did you mean pass",
    ),
    ("allow_anonymous  yes", "m.conf:1:18: allow_anonymous: \"yes\" is not true or false"),
    ("allow_anonymous", "m.conf:1:16: allow_anonymous has no value"),
    ("max_inflight_messages x", "m.conf:1:23: max_inflight_messages: \"x\" is not a number"),
    (
        "max_inflight_messages 70000",
        "m.conf:1:23: max_inflight_messages: \"70000\" is not a number",
    ),
    ("max_packet_size 19", "m.conf:1:17: max_packet_size: a packet has at least 20 bytes"),
    ("message_size_limit 268435456", "m.conf:1:20: message_size_limit: \"268435456\" is not a"),
    ("persistent_client_expiration 2", "m.conf:1:30: persistent_client_expiration: \"2\" is not"),
    ("persistent_client_expiration 2\u{e4}", "is not a number of h, d, w"),
    ("log_type loud", "m.conf:1:10: log_type: \"loud\" is no type"),
    ("log_dest here", "m.conf:1:10: log_dest: \"here\" is no place"),
    ("password_file a\npassword_file b", "m.conf:2:1: password_file is given twice"),
    ("listener", "listener: \"\" is no port"),
    ("listener 1\nenable_proxy_protocol 3", "m.conf:2:1: enable_proxy_protocol is 1 or 2"),
    ("plugin_use x", "loads no plugins"),
    ("listener 99999", "m.conf:1:10: listener: \"99999\" is no port"),
    ("listener 0", "m.conf:1:10: listener: port 0 needs the path of a socket"),
    ("listener 0 /s\nprotocol websockets", "m.conf:1:10: listener: a socket in the file system"),
    ("listener 1 a..b", "m.conf:1:10: listener: \"a..b\" is no address of this machine"),
    ("listener 1 ::1\nsocket_domain ipv4", "m.conf:1:10: listener: no address is left"),
    ("listener 1\nsocket_domain unix", "m.conf:2:15: socket_domain: \"unix\" is not ipv4 or ipv6"),
    ("port 0", "m.conf:1:6: listener: \"0\" is no port"),
    ("listener 1\nprotocol quic", "protocol \"quic\" is not mqtt, websockets or http_api"),
    ("listener 1\ncertfile c", "m.conf:2:1: certfile needs the certificate's key"),
    ("listener 1\nkeyfile c", "m.conf:2:1: keyfile needs the key's certificate"),
    ("listener 1\nrequire_certificate true", "m.conf:2:1: require_certificate needs TLS"),
    ("listener 1\ncafile c", "m.conf:2:1: cafile needs TLS"),
    ("certfile c", "m.conf:1:1: certfile describes a listener, and there is none"),
    ("cafile c", "m.conf:1:1: cafile describes a listener, and there is none"),
    ("listener 1\naccept_protocol_versions 4 6", "m.conf:2:1: accept_protocol_versions \"6\" is"),
    ("accept_protocol_versions 5", "m.conf:1:1: accept_protocol_versions has to stand below"),
    (
        "accept_protocol_versions 5\nlistener 1",
        "m.conf:1:1: accept_protocol_versions has to stand below",
    ),
    ("listener 1 ::1\nmax_qos 3", "m.conf:2:9: max_qos: \"3\" is not a number from 0 to 2"),
    ("listener 1\npsk_hint x", "m.conf:2:1: psk_hint: ringmq has no TLS with pre-shared keys"),
    ("psk_file x", "m.conf:1:1: psk_file: ringmq has no TLS with pre-shared keys"),
    ("plugin /p.so", "m.conf:1:1: plugin: ringmq loads no plugins"),
    ("auth_plugin /p.so\nauth_opt_a b", "m.conf:1:1: auth_plugin: ringmq loads no plugins"),
    ("auth_opt_a b", "m.conf:1:1: auth_opt_a belongs to a plugin, and there is none above it"),
    ("connection b\naddress a:1", "m.conf:1:12: the bridge carries nothing: add a topic"),
    ("connection b\naddress a:1\ntopic # up", "m.conf:3:7: topic: \"# up\" is not a rule"),
    ("connection\naddress a:1", "m.conf:1:1: connection: the bridge needs a name"),
    ("address a:1", "m.conf:1:1: address describes a bridge, and there is none above it"),
    (
        "listener 1\nbind_interface nothing0",
        "m.conf:2:16: bind_interface: there is no \"nothing0\"",
    ),
    (
        "listener 1 192.0.2.77\nbind_interface lo",
        "m.conf:2:16: bind_interface: lo has no address that the listener asks for",
    ),
    ("bind_interface lo", "m.conf:1:1: bind_interface has to stand below the listener"),
    ("listener 1\nmount_point a", "m.conf:2:1: mount_point: without it clients"),
    ("listener_auto_id_prefix a\nlistener 1", "m.conf:1:1: listener_auto_id_prefix has to stand"),
    (
        "per_listener_settings true\nallow_zero_length_clientid false\nlistener 1",
        "m.conf:2:1: allow_zero_length_clientid has to stand below",
    ),
    (
        "listener 1 ::1\nlistener_auto_id_prefix \
         123456789012345678901234567890123456789012345678901",
        "m.conf:2:25: listener_auto_id_prefix: \"1234567890123456789012345678901234567890123456789",
    ),
    (
        "allow_anonymous true\nper_listener_settings true",
        "m.conf:2:1: per_listener_settings has to",
    ),
    ("include_dir /nonexistent", "m.conf:1:1: include_dir: cannot read /nonexistent"),
];

const TLS: &str = "listener 1\ncertfile c\nkeyfile k\n";

#[test]
fn what_would_make_the_broker_more_open_or_lose_messages_is_refused_with_its_place() {
    for (text, start) in REFUSED {
        let found = refused(text);
        assert!(found.len() == 1 && found[0].contains(start), "{text:?}: {found:?}");
        assert!(!found[0].contains('\n'), "{found:?}");
    }
    let of_tls = [
        ("require_certificate true", "m.conf:4:1: require_certificate needs the auth"),
        ("tls_version tlsv2", "m.conf:4:1: tls_version \"tlsv2\" is not"),
        ("tls_engine e", "m.conf:4:1: tls_engine: ringmq reads keys from files only"),
        ("tls_keyform engine", "m.conf:4:1: tls_keyform: ringmq reads keys from files only"),
    ];
    for (text, start) in of_tls {
        let found = refused(&format!("{TLS}{text}"));
        assert!(found.len() == 1 && found[0].contains(start), "{text:?}: {found:?}");
    }
}

#[test]
fn included_files_come_in_order_and_each_begins_at_the_default_listener() {
    let folder = std::env::temp_dir().join(format!("ringmq-include-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("B.conf", "listener 3 127.0.0.1\nmax_keepalive 3\n");
    write("a.conf", "listener 2 127.0.0.1\nmax_keepalive 2\ninclude_dir /nonexistent\n");
    write("c.txt", "nonsense\n");
    let text = format!(
        "listener 1 127.0.0.1\ninclude_dir {}\nprotocol websockets\nallow_anonymous true",
        folder.display()
    );
    let (options, warnings) = accepted(&text);
    let urls: Vec<_> = options.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["ws://127.0.0.1:1/*", "mqtt://127.0.0.1:2", "mqtt://127.0.0.1:3"]);
    assert_eq!(options.max_keep_alive, 3);
    assert!(warnings[0].contains("a.conf:3:1: include_dir has no counterpart"), "{warnings:?}");
    write("d.conf", "\nlistner 4\n");
    let wrong = refused(&text);
    assert!(wrong[0].contains("d.conf:2:1: \"listner\" is no option"), "{wrong:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Random lines: none makes a panic, every message is one line, and no client comes in without a
/// name unless a line allows it.
#[test]
fn no_file_is_a_panic_or_more_open_than_it_says() {
    let values = [
        "",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "20",
        "99999999999999999999",
        "127.0.0.1",
        "c",
        "2w",
        "1883",
        "1883 127.0.0.1",
        "0 /s",
        "websockets",
        "ipv4",
        "tlsv1.2",
        "\u{e4}",
        "# x",
        "all",
    ];
    // Whatever follows `bind_address` would be looked up.
    let names = table::names().filter(|name| *name != "bind_address");
    let names: Vec<&str> = names.chain(["listener", "certfile", "keyfile"]).collect();
    for seed in 0..20_000 {
        let mut prng = Prng::new(seed);
        let mut pick = |list: &[&'static str]| list[prng.below(list.len() as u64) as usize];
        let lines = (0..1 + seed % 8).map(|_| format!("{} {}", pick(&names), pick(&values)));
        let text = lines.collect::<Vec<_>>().join("\n");
        if text.contains("include_dir") {
            continue;
        }
        let contents = read(Path::new("m.conf"), &text);
        for said in contents.wrong.iter().chain(&contents.warnings) {
            assert!(!said.to_string().contains('\n'), "seed {seed}: {said}");
        }
        let Ok(options) = Options::build_or_list(&contents.given) else { continue };
        let is_open = options.listeners.iter().any(|l| l.allow_anonymous == Some(true));
        let is_local = options.listeners.iter().all(|listener| listener.endpoint.is_local());
        let is_said = text.contains("allow_anonymous true") || text.contains("allow_anonymous 1");
        assert!(!is_open || is_said || is_local || !contents.wrong.is_empty(), "{seed}: {text}");
    }
}
