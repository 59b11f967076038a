//! Clients come, are refused and go.

use crate::driver::{By, Drive, Driver, Kept, Live, certificate, flags};
use crate::support::passwords;
use crate::support::peer::{
    Peer, connect, connect_stored, connect_v3, packet, socket, text, tls_client,
};
use crate::support::server::eventually;
use ringmq::access::Login;
use ringmq::base::ids::{LinkId, WorkerId};
use ringmq::server::authentication::{Desk, DeskSettings};
use ringmq::testing::open_policy;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// CONNECT of version 3.1.
fn connect_v31(client_id: &str) -> Vec<u8> {
    packet(0x10, &[&text("MQIsdp")[..], &[3, 2, 0, 60], &text(client_id)].concat())
}

pub(crate) const TRANSPORTS: Driver = Driver {
    drive: Drive::Live(
        |folder| {
            let socket = format!("unix:{}", folder.path().join("socket").display());
            let listeners = ["mqtt", "mqtts", "ws", "wss"].map(|it| format!("{it}://127.0.0.1:0"));
            let listeners = listeners.iter().chain([&socket]);
            let listeners = listeners.flat_map(|url| flags(&["--listen", url])).collect();
            [listeners, certificate(folder)].concat()
        },
        |live| {
            let authority = std::fs::read_to_string(live.folder.path().join("authority.pem"));
            let config = tls_client(&authority.unwrap(), None);
            let port = |index| live.server.port(index);
            let mut peers = vec![
                (Peer::plain(port(0)), connect_v3("a", None)),
                (Peer::tls(port(1), &config), connect("b", None)),
                (Peer::websocket(port(2)), connect("c", None)),
                (Peer::websocket_tls(port(3), &config), connect("d", None)),
                (Peer::unix(&live.folder.path().join("socket")), connect_v31("e")),
            ];
            for (peer, connect) in &mut peers {
                assert_eq!(peer.connect(connect), Some(0));
            }
            let mut stranger = Peer::over(socket(port(1)));
            stranger.send_raw(b"GET / HTTP/1.1\r\n\r\n");
            assert!(stranger.closes());
            Box::new(peers)
        },
    ),
    moves: &[
        ("connections_opened", "tcp", By::Exactly(1)),
        ("connections_opened", "tls", By::Exactly(2)),
        ("connections_opened", "ws", By::Exactly(1)),
        ("connections_opened", "wss", By::Exactly(1)),
        ("connections_opened", "unix", By::Exactly(1)),
        ("connects_accepted", "3.1", By::Exactly(1)),
        ("connects_accepted", "3.1.1", By::Exactly(1)),
        ("connects_accepted", "5.0", By::Exactly(3)),
        ("handshakes", "done", By::Exactly(2)),
        ("handshakes", "failed", By::Exactly(1)),
        ("handshake", "", By::Exactly(2)),
        ("connections", "", By::To(5)),
        ("clients_connected", "", By::To(5)),
    ],
};

/// Makes a socket end with a reset.
fn reset(socket: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    let value = std::ptr::from_ref(&linger).cast();
    // SAFETY: the value is of the option's type and outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, length)
    };
    assert_eq!(done, 0);
}

pub(crate) const DEPARTURES: Driver = Driver {
    drive: Drive::Live(|_| flags(&["--listen", "mqtt://127.0.0.1:0"]), depart),
    moves: &[
        ("clients_departed", "disconnect", By::Exactly(2)),
        ("clients_departed", "closed", By::Exactly(1)),
        ("clients_departed", "network", By::Exactly(1)),
        ("clients_departed", "keep_alive", By::Exactly(1)),
        ("clients_departed", "taken_over", By::Exactly(1)),
        ("clients_departed", "protocol", By::Exactly(1)),
        ("clients_departed", "limit", By::Exactly(1)),
        ("clients_departed", "administrative", By::Exactly(1)),
        ("takeovers", "", By::Exactly(1)),
        ("sessions_expired", "", By::Exactly(1)),
        ("protocol_errors", "", By::Exactly(2)),
        ("clients_connected", "", By::To(1)),
        ("sessions", "", By::To(1)),
    ],
};

fn depart(live: &Live) -> Kept {
    let mut peer = live.connected("says so");
    peer.send(&packet(0xE0, &[]));
    assert!(peer.closes());
    // The session of this one ends a second later.
    let mut peer = live.let_in(&connect_stored("expires", 1, 0));
    peer.send(&packet(0xE0, &[]));
    assert!(peer.closes());
    drop(live.connected("closes"));
    let raw = socket(live.server.port(0));
    let mut peer = Peer::over(raw.try_clone().unwrap());
    assert_eq!(peer.connect(&connect("is reset", None)), Some(0));
    drop(peer);
    reset(raw);
    let mut silent = live.let_in(&connect_stored("is silent", 0, 1));
    assert!(silent.closes());
    let mut old = live.connected("comes twice");
    let new = live.connected("comes twice");
    assert!(old.closes());
    let mut peer = live.connected("connects again");
    peer.send(&connect("connects again", None));
    assert!(peer.closes());
    // A topic alias above the maximum.
    let mut peer = live.connected("goes too far");
    peer.send(&packet(0x30, &[&text("t")[..], &[3, 0x23, 0xff, 0xff]].concat()));
    assert!(peer.closes());
    let mut peer = live.connected("is sent away");
    live.operate("POST", "/api/v1/client/disconnect?id=is%20sent%20away");
    assert!(peer.closes());
    Box::new(new)
}

pub(crate) const SHUTDOWN: Driver = Driver {
    drive: Drive::ToTheEnd(
        |_| flags(&["--listen", "mqtt://127.0.0.1:0"]),
        |live| Box::new([live.connected("a"), live.connected("b")]),
    ),
    moves: &[("clients_departed", "shutdown", By::Exactly(2))],
};

pub(crate) const REFUSALS: Driver = Driver {
    drive: Drive::Live(
        |folder| {
            let users = passwords(folder, &["user"], "secret");
            let more = ["--retain-available", "false", "--max-sessions", "1"];
            let base = ["--listen", "mqtt://127.0.0.1:0", "--password-file", &users];
            flags(&[&base[..], &more].concat())
        },
        refuse,
    ),
    moves: &[
        ("connects_refused", "credentials", By::Exactly(1)),
        ("connects_refused", "identifier", By::Exactly(1)),
        ("connects_refused", "version", By::Exactly(1)),
        ("connects_refused", "protocol", By::Exactly(1)),
        ("connects_refused", "limit", By::Exactly(1)),
        ("connects_refused", "other", By::Exactly(1)),
        ("logins_refused", "", By::Exactly(1)),
        ("refused_quota", "", By::Exactly(1)),
        ("login", "", By::Exactly(3)),
    ],
};

fn refuse(live: &Live) -> Kept {
    let refused = |connect: &[u8], code: u8| {
        let mut peer = live.peer();
        assert_eq!(peer.connect(connect), Some(code));
        assert!(peer.closes());
    };
    refused(&connect("a", Some(("user", "wrong"))), 0x86);
    // No identifier, and no clean session.
    let body = [&text("MQTT")[..], &[4, 0, 0, 60], &text("")].concat();
    refused(&packet(0x10, &body), 2);
    let body = [&text("MQTT")[..], &[9, 2, 0, 60, 0], &text("a")].concat();
    refused(&packet(0x10, &body), 1);
    // Data for a login, and no method.
    let body = [&text("MQTT")[..], &[5, 2, 0, 60, 4, 0x16, 0, 1, b'x'], &text("a")].concat();
    refused(&packet(0x10, &body), 0x82);
    // A will that is to be retained.
    let will = [&[0][..], &text("a"), &[0], &text("w"), &text("x")].concat();
    let body = [&text("MQTT")[..], &[5, 0x26, 0, 60], &will].concat();
    refused(&packet(0x10, &body), 0x9A);
    // A second session where one may be kept.
    let stored = |client_id: &str| {
        let head = [&text("MQTT")[..], &[5, 0xC2, 0, 60, 5, 0x11, 0, 0, 0, 99]].concat();
        let login = [text("user"), text("secret")].concat();
        packet(0x10, &[&head[..], &text(client_id), &login].concat())
    };
    let first = live.let_in(&stored("first"));
    refused(&stored("second"), 0x97);
    Box::new(first)
}

pub(crate) const NO_LOGIN_SERVICE: Driver = Driver {
    drive: Drive::Live(
        |_| {
            // Nobody listens there any more.
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let url = format!("http://{gone}/");
            flags(&["--listen", "mqtt://127.0.0.1:0", "--http-auth-url", &url])
        },
        |live| {
            let mut peer = live.peer();
            assert_eq!(peer.connect(&connect("a", Some(("user", "secret")))), Some(0x88));
            assert!(eventually(|| peer.closes()));
            Box::new(())
        },
    ),
    moves: &[
        ("connects_refused", "unavailable", By::Exactly(1)),
        ("logins_asked", "", By::Exactly(1)),
    ],
};

pub(crate) const LOGINS: Driver = Driver {
    drive: Drive::Live(
        |folder| {
            let users = passwords(folder, &["user", "other"], "secret");
            let base = ["--listen", "mqtt://127.0.0.1:0", "--password-file", &users];
            flags(&[&base[..], &["--max-login-failures", "1"]].concat())
        },
        |live| {
            let login = |user, password| live.peer().connect(&connect("a", Some((user, password))));
            assert_eq!(login("user", "secret"), Some(0));
            assert_eq!(login("user", "secret"), Some(0));
            // The second one waits for what the first one has done.
            assert_eq!(login("other", "wrong"), Some(0x86));
            assert_eq!(login("other", "secret"), Some(0));
            Box::new(())
        },
    ),
    moves: &[
        ("logins_cached", "", By::Exactly(1)),
        ("logins_hashed", "", By::Exactly(3)),
        ("logins_delayed", "", By::Exactly(1)),
        ("logins_waiting", "", By::To(0)),
    ],
};

pub(crate) const CROWD: Driver = Driver {
    drive: Drive::Desk(|| {
        // The one thread that verifies stays with the first login.
        let settings = DeskSettings { threads: 1, queue: 2, cache_s: 0, login_failures_max: 0 };
        let (taken, is_taken) = channel();
        let (ends, end) = channel::<()>();
        let end = Mutex::new(end);
        let answer = move |_, link: LinkId, _| {
            if link.slot == 0 {
                taken.send(()).unwrap();
                assert!(end.lock().unwrap().recv().is_err());
            }
        };
        let desk = Desk::start(settings, answer).unwrap();
        desk.set_policies(Arc::new([open_policy()]));
        let submit = |slot| {
            let login = Login { user_name: Some("user".into()), ..Login::default() };
            desk.submit(WorkerId(0), LinkId { slot, generation: 1 }, login);
        };
        submit(0);
        is_taken.recv().unwrap();
        (1..6).for_each(submit);
        let figures = desk.figures();
        drop(ends);
        figures
    }),
    moves: &[("logins_waiting", "", By::To(2)), ("logins_crowded_out", "", By::Exactly(3))],
};
