//! Configuration files before the real program: what is said of wrong ones, which layer wins, what
//! a reload does, and that Mosquitto's files admit nobody whom Mosquitto refuses.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

#[path = "configuration/brokers.rs"]
mod brokers;
#[path = "support/folder.rs"]
mod folder;
#[allow(dead_code)]
#[path = "transport_peer/pki.rs"]
mod pki;

use brokers::{Broker, free_port, is_admitted, output, ringmq, run};
use folder::Folder;
use std::path::Path;
use std::process::Command;

/// A file's name and text, and how the one line about it begins behind the folder.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "a.toml",
        "max-inflght = 1",
        "a.toml:1:1: \"max-inflght\" is no option here; did you mean max-",
    ),
    ("b.toml", "\n max-inflight = 0", "b.toml:2:17: max-inflight: \"0\" is not a number from 1 to"),
    ("c.toml", "pin = ", "c.toml:1:7: "),
    ("d.toml", "pin = 1\npin = 2", "d.toml:2:1: this key is given twice; keep one of them"),
    ("e.toml", "[[listener]]\nlisten = 1", "e.toml:2:10: listen takes text in quotes, and this is"),
    ("f.toml", "x = 1\ny = 2", "f.toml:1:1: \"x\" is no option here; ringmq check --example"),
    ("g.conf", "listener 1\nplugin x", "g.conf:2:1: plugin: ringmq loads no plugins"),
    ("h.conf", "allow_anonymous maybe", "h.conf:1:17: allow_anonymous: \"maybe\" is not true or"),
    (
        "i.conf",
        "\n\nlistner 1",
        "i.conf:3:1: \"listner\" is no option of Mosquitto; did you mean li",
    ),
    ("j.toml", "# \u{e4}\npin = '\u{e4}", "j.toml:2:9: "),
];

#[test]
fn a_wrong_file_gives_one_line_with_its_place() {
    let folder = Folder::new();
    for (name, text, start) in WRONG {
        let file = folder.write(name, text);
        let (status, _, error) = run(&["--config", file.to_str().unwrap()]);
        let start = format!("ringmq: {}/{start}", folder.path().display());
        assert!(error.starts_with(&start) && error.lines().count() == 1, "{start}\n{error}");
        assert_eq!(status, Some(2), "{error}");
    }
    let file = folder.write("latin.toml", b"pin = 1\n# \xE4");
    let (_, _, error) = run(&["--config", file.to_str().unwrap()]);
    assert!(error.contains("latin.toml:2:3: the text is not UTF-8"), "{error}");
    let (status, _, error) = run(&["--config", "/nonexistent.conf"]);
    assert!(error.starts_with("ringmq: /nonexistent.conf: cannot read the configuration file"));
    assert_eq!(status, Some(2));
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let folder = Folder::new();
    // Nothing starts: the file's listener is reached from everywhere, and lets nobody in.
    let file = folder.write("b.toml", "max-inflight = 1\nlisten = '0.0.0.0:1'");
    let said = |variable: Option<&str>, flags: &[&str]| {
        let mut command = ringmq();
        command.env("RINGMQ_CONFIG", &file).args(flags);
        variable.map(|value| command.env("RINGMQ_MAX_INFLIGHT", value));
        String::from_utf8(output(&mut command).stderr).unwrap()
    };
    let check = |error: String, part: &str| assert!(error.contains(part), "{error}");
    check(said(None, &[]), "b.toml:2:10: listen: mqtt://0.0.0.0:1: no option says which clients");
    check(said(Some("0"), &[]), "RINGMQ_MAX_INFLIGHT: \"0\" is not a number");
    check(said(Some("0"), &["--max-inflight", "x"]), "--max-inflight: \"x\" is not a number");
    check(said(Some("0"), &["--max-inflight", "1"]), "b.toml:2:10: listen: mqtt://0.0.0.0:1");
    check(said(None, &["--listen", "!"]), "--listen: \"!\" is not a listener");
}

#[test]
fn check_says_everything_at_once_and_looks_into_the_files_that_are_named() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "x = 1\npin = true\nmax-inflight = 0\nlistener = 3");
    let (status, text, _) = run(&["check", file.to_str().unwrap()]);
    for place in ["a.toml:1:1: ", "a.toml:2:7: ", "a.toml:3:16: ", "a.toml:4:12: "] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert_eq!((status, text.lines().count()), (Some(2), 4), "{text}");

    folder.write("acl", "topic read\n");
    folder.write("passwords", "nobody\n");
    let named = "password-file = 'passwords'\n[[listener]]\nlisten = '127.0.0.1:1'\n\
                 [[listener]]\nlisten = 'mqtts://127.0.0.1:2'\nacl-file = 'acl'\n\
                 password-file = ''\ntls-cert = 'c'\ntls-key = 'k'\n";
    let file = folder.write("b.toml", named);
    let (status, text, _) = run(&["check", file.to_str().unwrap()]);
    for word in ["check-", "/passwords line 1", "/acl line 1", "/c: "] {
        let word = word.replace("check-", folder.path().to_str().unwrap());
        assert!(text.contains(&word), "{word}: {text}");
    }
    assert_eq!((status, text.lines().count()), (Some(2), 3), "{text}");

    let file = folder.write("c.conf", "autosave_interval 1\nlistener 1 127.0.0.1\n");
    let (status, text, _) = run(&["check", file.to_str().unwrap()]);
    assert!(
        text.starts_with("warning: ") && text.contains("c.conf:1:1: autosave_interval"),
        "{text}"
    );
    assert!(text.ends_with("listens on mqtt://127.0.0.1:1\n"), "{text}");
    assert_eq!(status, Some(0));

    for arguments in [&["check"][..], &["check", "a", "b"], &["check", "--nonsense"]] {
        let (status, _, error) = run(arguments);
        assert_eq!((status, error.lines().count()), (Some(2), 1), "{error}");
    }
}

#[test]
fn the_files_of_packages_let_no_stranger_in() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let check = |name| run(&["check", packaging.join(name).to_str().unwrap()]);
    let (status, text, _) = check("ringmq.toml");
    let local = "nothing is wrong\n  listens on mqtt://127.0.0.1:1883\n";
    assert!(status == Some(0) && text.ends_with(local), "{text}");
    // Other machines reach it, so that its owner has to say who comes in.
    let (status, text, _) = check("container.toml");
    let only = text.lines().count() == 1 && text.contains("; give --password-file FILE, or");
    assert!(status == Some(2) && only, "{text}");
}

#[test]
fn only_regular_files_are_read_whatever_names_them() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let fifo = path("fifo");
    assert!(output(Command::new("mkfifo").arg(&fifo)).status.success());
    let own = pki::self_signed(pki::client_params("server", 1));
    folder.write("good.pem", own.certificate.pem());
    pki::private(folder.write("good.key", own.key.serialize_pem()));
    let with = |option: &str, file: &str| {
        let mut options = vec![
            ("tls-cert", path("good.pem")),
            ("tls-key", path("good.key")),
            ("client-certificates", "required".to_owned()),
            ("tls-client-ca", path("good.pem")),
        ];
        options.retain(|(name, _)| *name != option);
        options.push((option, file.to_owned()));
        let lines: Vec<_> =
            options.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        folder.write("a.toml", format!("listen = 'mqtts://127.0.0.1:1'\n{}", lines.concat()))
    };
    let of_toml = [
        "tls-cert",
        "tls-key",
        "tls-chain",
        "tls-client-ca",
        "tls-crl",
        "password-file",
        "acl-file",
        "jwt-key-file",
    ];
    let kinds = [(&*fifo, "it is a FIFO; give a regular file"), ("/dev/zero", "it is a device;")];
    for (file, cause) in kinds {
        for option in of_toml {
            let written = with(option, file);
            let (status, text, _) = run(&["check", written.to_str().unwrap()]);
            assert!(text.contains(cause) && text.contains(file), "{option}: {text}");
            assert_eq!((status, text.lines().count()), (Some(2), 1), "{option}: {text}");
        }
        let (status, _, error) = run(&["--config", file]);
        assert!(error.contains(cause), "{error}");
        assert_eq!(status, Some(2));
        let (_, text, _) = run(&["check", file]);
        assert!(text.contains(cause), "{text}");
        let (status, _, error) = run(&["passwd", "--batch", file, "alice"]);
        assert!(error.contains(cause) && status != Some(0), "{error}");
        // A link to a regular file is one.
        let link = path("link.pem");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(path("good.pem"), &link).unwrap();
        let (status, text, _) = run(&["check", with("tls-cert", &link).to_str().unwrap()]);
        assert_eq!(status, Some(0), "{text}");
    }
    let folder_itself = path("");
    let (_, text, _) = run(&["check", with("tls-cert", &folder_itself).to_str().unwrap()]);
    assert!(text.contains("it is a folder"), "{text}");
}

#[test]
fn a_reload_does_not_wait_for_a_fifo() {
    let folder = Folder::new();
    let port = free_port();
    folder.write("users", "");
    let text =
        format!("listen = '127.0.0.1:{port}'\npassword-file = 'users'\nallow-anonymous = true\n");
    let broker = Broker::ringmq(&folder.write("a.toml", text), port);
    let users = folder.path().join("users");
    std::fs::remove_file(&users).unwrap();
    assert!(output(Command::new("mkfifo").arg(&users)).status.success());
    broker.reload("Not reloaded, the old settings stay");
    assert!(broker.log().contains("users cannot be used: it is a FIFO"), "{}", broker.log());
    assert!(is_admitted(port, &[]));
    std::fs::remove_file(&users).unwrap();
    folder.write("users", "");
    broker.reload("Reloaded");
}

/// The time for this is that for all programs that end by themselves, see `brokers.rs`.
#[test]
fn check_soon_ends_with_a_file_of_nothing_but_faults() {
    let folder = Folder::new();
    let filled = |line: &dyn Fn(usize) -> String, head: &str| {
        let mut text = head.to_owned();
        let mut number = 0;
        while text.len() < (1 << 20) - 200 {
            text += &line(number);
            number += 1;
        }
        text
    };
    let long = "x".repeat(1 << 19);
    let files: [(&str, String); 9] = [
        ("keys.toml", filled(&|n| format!("max-inflght{n} = 1\n"), "")),
        ("long.toml", format!("{long} = 1\n{long}y = 2")),
        ("listeners.toml", filled(&|n| format!("[[listener]]\nlistn{n} = 1\n"), "")),
        ("list.toml", filled(&|n| format!("'127.0.0.1:{n}',"), "listen = [") + "]"),
        ("values.toml", filled(&|_| "1,".to_owned(), "tls-crl = [") + "]"),
        ("keys.conf", filled(&|n| format!("max_inflght{n} 1\n"), "")),
        ("ignored.conf", filled(&|n| format!("pid_file {n}\n"), "")),
        ("listeners.conf", filled(&|n| format!("listener {n} 127.0.0.1\n"), "")),
        ("text.conf", filled(&|n| format!("{n}{}\n", "y".repeat(900)), "")),
    ];
    for (name, text) in files {
        let file = folder.write(name, text);
        let (status, said, _) = run(&["check", file.to_str().unwrap()]);
        assert_eq!(status, Some(2), "{name}");
        let lines = said.lines().count();
        assert!((1..=250).contains(&lines), "{name}: {lines} lines");
        assert!(said.len() < 100_000, "{name}: {} bytes", said.len());
    }
}

#[test]
fn a_broken_file_changes_nothing_and_a_good_one_counts() {
    let folder = Folder::new();
    let port = free_port();
    let write = |text: &str| {
        folder.write("a.toml", format!("listen = '127.0.0.1:{port}'\n{text}"));
    };
    write("allow-anonymous = true\n");
    let broker = Broker::ringmq(&folder.path().join("a.toml"), port);
    assert!(is_admitted(port, &[]));
    write("allow-anonymous = flase\n");
    broker.reload("Not reloaded, the old settings stay");
    assert!(broker.log().contains("a.toml:2:19: "), "{}", broker.log());
    assert!(is_admitted(port, &[]));
    write("allow-anonymous = false\nmax-inflight = 0\n");
    broker.reload("a.toml:3:16: max-inflight: \"0\" is not a number");
    assert!(is_admitted(port, &[]), "all of a file or nothing");
    write("allow-anonymous = false\npassword-file = 'nonexistent'\n");
    broker.reload("Not reloaded, the old settings stay");
    assert!(is_admitted(port, &[]));
    write("allow-anonymous = false\nmax-connections = 5\n");
    broker.reload("max-connections has changed, which takes effect at the next start");
    assert!(!is_admitted(port, &[]));
    write("allow-anonymous = true\n");
    broker.reload("Reloaded");
    assert!(is_admitted(port, &[]));
    write("allow-anonymous = true\nmax-packet-size = 16384\n");
    broker.reload("Reloaded");
    let large = folder.write("large", vec![b'x'; 20_000]);
    let mut command = Command::new("mosquitto_pub");
    // Of 5.0 the client would keep the packet back by itself.
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "311", "-q", "1", "-t", "t"]);
    assert!(!output(command.arg("-f").arg(large)).status.success());
    assert!(is_admitted(port, &[]));
}

#[test]
fn what_is_ignored_is_logged_once_at_the_start_and_once_a_reload() {
    let folder = Folder::new();
    let port = free_port();
    let file = folder
        .write("m.conf", format!("autosave_interval 1\nlistener {port} 127.0.0.1\nuser root\n"));
    let broker = Broker::ringmq(&file, port);
    let count = || broker.log().matches("m.conf:1:1: autosave_interval has no counterpart").count();
    broker.reload("Reloaded");
    assert_eq!(count(), 2, "{}", broker.log());
}

/// Mosquitto's settings, and who is admitted: without a name, with the right password, with a
/// wrong one, with an unknown name.
const SETTINGS: &[(&str, [bool; 4])] = &[
    ("listener PORT 127.0.0.1", [false, false, false, false]),
    ("listener PORT 127.0.0.1\nallow_anonymous true", [true, true, true, true]),
    ("listener PORT 127.0.0.1\npassword_file PASSWORDS", [false, true, false, false]),
    (
        "password_file PASSWORDS\nallow_anonymous true\nlistener PORT 127.0.0.1",
        [true, true, false, false],
    ),
    ("port PORT\nbind_address 127.0.0.1", [false, false, false, false]),
    ("port PORT\nallow_anonymous true\npassword_file PASSWORDS", [true, true, false, false]),
    (
        "per_listener_settings true\nallow_anonymous true\npassword_file PASSWORDS\nport OTHER\n\
         listener PORT 127.0.0.1",
        [false, false, false, false],
    ),
    (
        "per_listener_settings true\nlistener OTHER 127.0.0.1\nallow_anonymous true\n\
         listener PORT 127.0.0.1\npassword_file PASSWORDS",
        [false, true, false, false],
    ),
    (
        "per_listener_settings false\nlistener OTHER 127.0.0.1\nallow_anonymous true\n\
         listener PORT 127.0.0.1\npassword_file PASSWORDS",
        [true, true, false, false],
    ),
    ("include_dir FOLDER/conf.d\nlistener PORT localhost", [false, true, false, false]),
    ("listener PORT\nbind_interface lo\nallow_anonymous true", [true, true, true, true]),
    // The client leaves its identifier to the broker.
    (
        "allow_zero_length_clientid false\nlistener PORT 127.0.0.1\nallow_anonymous true",
        [false, false, false, false],
    ),
    (
        "clientid_prefixes auto-\nlistener PORT 127.0.0.1\nallow_anonymous true",
        [true, true, true, true],
    ),
    (
        "clientid_prefixes other\nlistener PORT 127.0.0.1\nallow_anonymous true",
        [false, false, false, false],
    ),
];

#[test]
fn a_file_of_mosquittos_admits_the_same_clients() {
    let folder = Folder::new();
    let passwords = folder.path().join("passwords");
    let mut command = Command::new("mosquitto_passwd");
    if !output(command.args(["-b", "-c"]).arg(&passwords).args(["alice", "secret"]))
        .status
        .success()
    {
        panic!("mosquitto_passwd makes no file");
    }
    std::fs::create_dir_all(folder.path().join("conf.d")).unwrap();
    folder.write("conf.d/a.conf", format!("password_file {}\n", passwords.display()));
    for (settings, expected) in SETTINGS {
        let of_ringmq = admitted(&folder, settings, &passwords, Broker::ringmq);
        assert_eq!(of_ringmq, *expected, "{settings}");
        if Path::new("/usr/sbin/mosquitto").exists() {
            let start = |file: &Path, port| Broker::mosquitto(file, port).unwrap();
            let of_mosquitto = admitted(&folder, settings, &passwords, start);
            assert_eq!(of_mosquitto, *expected, "Mosquitto: {settings}");
        }
    }
}

fn admitted(
    folder: &Folder,
    settings: &str,
    passwords: &Path,
    start: impl Fn(&Path, u16) -> Broker,
) -> [bool; 4] {
    let port = free_port();
    let settings = settings
        .replace("PORT", &port.to_string())
        .replace("OTHER", &free_port().to_string())
        .replace("PASSWORDS", passwords.to_str().unwrap())
        .replace("FOLDER", folder.path().to_str().unwrap());
    // Else, when root runs it, Mosquitto gives up the right to read the folder.
    let file = folder.write("mosquitto.conf", format!("user root\n{settings}\n"));
    let _broker = start(&file, port);
    let clients: [&[&str]; 4] = [
        &[],
        &["-u", "alice", "-P", "secret"],
        &["-u", "alice", "-P", "wrong"],
        &["-u", "bob", "-P", "secret"],
    ];
    clients.map(|arguments| is_admitted(port, arguments))
}

#[test]
fn a_file_of_mosquittos_completes_the_chain_and_says_nothing_of_it() {
    let folder = Folder::new();
    let root = pki::authority("Root");
    let between = pki::intermediate("Between", 1, &root);
    let own = pki::server(&between, &["127.0.0.1"]);
    folder.write("leaf.pem", own.certificate.pem());
    pki::private(folder.write("own.key", own.key.serialize_pem()));
    folder.write("root.pem", root.pem());
    folder.write("others.pem", [root.pem(), between.pem()].concat());
    std::fs::create_dir(folder.path().join("d")).unwrap();
    folder.write("d/between.pem", between.pem());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert!(output(Command::new("openssl").args(["rehash", &at("d")])).status.success());
    for extra in [
        format!("cafile {}", at("others.pem")),
        format!("capath {}", at("d")),
        format!("cafile {}\ncapath {}", at("root.pem"), at("d")),
    ] {
        let port = free_port();
        let file = folder.write(
            "m.conf",
            format!(
                "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\n\
                 keyfile {}\n{extra}\n",
                at("leaf.pem"),
                at("own.key")
            ),
        );
        let (status, text, _) = run(&["check", file.to_str().unwrap()]);
        assert!(status == Some(0) && !text.contains("chain"), "{text}");
        let broker = Broker::ringmq(&file, port);
        assert!(is_admitted(port, &["--cafile", &at("root.pem")]), "{extra}: {}", broker.log());
        assert!(!broker.log().contains("issuer"), "{}", broker.log());
    }
}

#[test]
fn a_file_of_mosquittos_asks_for_the_same_certificates() {
    let folder = Folder::new();
    let (ours, others) = (pki::authority("Ours"), pki::authority("Others"));
    let save = |name: &str, identity: &pki::Identity| {
        folder.write(&format!("{name}.pem"), identity.certificate.pem());
        folder.write(&format!("{name}.key"), identity.key.serialize_pem());
    };
    folder.write("ca.pem", ours.pem());
    save("server", &pki::server(&ours, &["127.0.0.1"]));
    save("right", &pki::issue(&ours, pki::client_params("right", 1)));
    save("revoked", &pki::issue(&ours, pki::client_params("revoked", 2)));
    save("stranger", &pki::issue(&others, pki::client_params("stranger", 3)));
    folder.write("crl.pem", pki::crl(&ours, &[2]));
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let start = |port: u16, extra: &str| {
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\ncafile {}\n{extra}\n",
            at("server.pem"),
            at("server.key"),
            at("ca.pem")
        );
        folder.write("mosquitto.conf", text)
    };
    let required = format!("require_certificate true\ncrlfile {}\n", at("crl.pem"));
    let settings = [
        ("allow_anonymous true", [true, true, true, true]),
        (&*format!("{required}allow_anonymous true"), [false, true, false, false]),
        (&*format!("{required}use_identity_as_username true"), [false, true, false, false]),
        (&*required, [false, false, false, false]),
        ("allow_anonymous true\nuse_identity_as_username true", [false, false, false, false]),
        ("allow_anonymous true\nuse_subject_as_username true", [false, false, false, false]),
    ];
    for (extra, expected) in settings {
        let admitted = |broker: &dyn Fn(&Path, u16) -> Option<Broker>| {
            let port = free_port();
            let _broker = broker(&start(port, extra), port)?;
            Some(["", "right", "revoked", "stranger"].map(|name| {
                let ca = at("ca.pem");
                let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}.key")));
                let own = ["--cert", &cert, "--key", &key];
                let own = if name.is_empty() { &[][..] } else { &own[..] };
                is_admitted(port, &[&["--cafile", &ca][..], own].concat())
            }))
        };
        let of_ringmq = admitted(&|file, port| Some(Broker::ringmq(file, port)));
        assert_eq!(of_ringmq, Some(expected), "{extra}");
        if let Some(of_mosquitto) = admitted(&Broker::mosquitto) {
            assert_eq!(of_mosquitto, expected, "Mosquitto: {extra}");
        }
    }
}
