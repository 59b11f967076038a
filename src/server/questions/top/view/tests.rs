use super::super::state::{Answers, Look, State};
use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use serde_json::{Value, json};

fn figures() -> Value {
    let worker = |number: u16, load: f64| {
        json!({
            "worker": number, "core": number, "core_busy": load + 0.05, "load": load,
            "turn_p99_ms": 0.4, "clients_connected": 3, "received_rate": 10.0, "sent_rate": 20.0,
        })
    };
    json!({
        "version": "9.8.7",
        "uptime_s": 90_061,
        "journal": "works",
        "commit": { "count": 1, "p50_ms": 1.0, "p99_ms": 2.5, "max_ms": 3.0 },
        "metrics": {
            "clients_connected": 12, "sessions": 14,
            "memory_used": 300 << 20, "memory_limit": 1024 << 20, "messages_kept": 200 << 20,
            "memory": { "sessions": 50 << 20, "journal": 1 << 20, "retained": 0 },
            "messages_dropped": { "queue_full": 700, "expired": 0 },
        },
        "rates": {
            "publishes_received": { "0": 12_345.0, "1": 7.0, "2": 0.0 },
            "publishes_sent": { "0": 98_765.0, "1": 8.5, "2": 0.0 },
            "received_bytes": 2_000_000.0, "sent_bytes": 5_000.0,
            "messages_dropped": { "queue_full": 3.0, "expired": 0.0 },
        },
        "workers": (0..6).map(|number| worker(number, f64::from(number) / 7.0)).collect::<Vec<_>>(),
    })
}

fn client(name: &str) -> Value {
    json!({
        "client_id": name, "user": "someone", "connected": true, "worker": 1, "blocked": false,
        "address": "127.0.0.1:40000", "version": "5.0", "queued_bytes": 4096,
        "queued_messages": 41, "inflight_messages": 42, "dropped_messages": 43, "oldest_s": 4.4,
        "ack_mean_ms": 4.5, "messages_sent": 46, "subscriptions": 47,
    })
}

fn known(names: &[&str]) -> State {
    let mut state = State::default();
    state.take_figures(Ok(figures()));
    let times =
        json!({ "count": 5, "p50_ms": 0.25, "p99_ms": 1.5, "p999_ms": 12.34, "max_ms": 250.0 });
    let clients: Vec<_> = names.iter().map(|name| client(name)).collect();
    state.take_answers(Answers {
        look: Look::default(),
        clients: Ok(json!({ "clients": clients, "next": null })),
        durations: Ok(json!({ "delivery": { "1": { "all": {}, "10s": times } } })),
        page: None,
    });
    state
}

fn drawn(state: &State, has_colour: bool, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(state, has_colour, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(state: &State, size: (u16, u16)) -> Vec<String> {
    let buffer = drawn(state, true, size);
    let rows = buffer.content().chunks(usize::from(size.0));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>()).collect()
}

fn press(state: &mut State, codes: &[KeyCode]) {
    codes.iter().for_each(|code| drop(state.press((*code).into())));
}

const IN: &str = "in    12.3k     7     0  1.9M";
const OUT: &str = "out   98.8k   8.5     0  4.9K";
const DELIVERY: &str = "QoS 1  0.25  1.50  12.3   250";
const DROPS: &str = "drops queue_full 700 +3/s";
const ROW: &str = "4.0K      41      42      43    4.4s";

/// The line that begins so, from a column on.
#[track_caller]
fn stands(lines: &[String], y: usize, x: usize, text: &str) {
    let rest: String = lines[y].chars().skip(x).collect();
    assert!(rest.starts_with(text), "{text:?} is not at {x}, {y}:\n{}", lines.join("\n"));
}

#[test]
fn figures_stand_where_they_should_in_the_least_terminal() {
    let shown = lines(&known(&["alpha", "beta"]), (60, 20));
    stands(&shown, 0, 0, "ringmq 9.8.7 up 1d01h  journal works  12 of 14 clients");
    stands(&shown, 2, 0, IN);
    stands(&shown, 3, 0, OUT);
    stands(&shown, 3, 31, DELIVERY);
    stands(&shown, 4, 31, "QoS 2     -     -     -     -");
    stands(&shown, 5, 0, "worker core  load  busy p99ms");
    stands(&shown, 6, 0, "5         5   71%   76%  0.40");
    stands(&shown, 5, 31, "memory 300M of 1.0G, 29%");
    stands(&shown, 6, 31, "messages           200M");
    let list = shown.iter().position(|line| line.starts_with("client 2")).unwrap();
    stands(&shown, list - 1, 0, DROPS);
    stands(&shown, list, 0, "client 2              bytes↓  queued  flight   drops  oldest");
    stands(&shown, list + 1, 0, "alpha");
    assert!(shown[list + 1].contains(ROW) && shown[list + 2].starts_with("beta"));
    stands(&shown, 19, 0, KEYS);
    assert!(list <= 11, "the list has room: {list}");
}

#[test]
fn a_usual_terminal_shows_more() {
    let shown = lines(&known(&["alpha"]), (80, 24));
    stands(
        &shown,
        0,
        0,
        "ringmq 9.8.7 up 1d01h  journal works  12 of 14 clients, commit p99 2.50 ms",
    );
    stands(&shown, 3, 0, OUT);
    stands(&shown, 3, 41, DELIVERY);
    stands(&shown, 10, 0, "2 with less load");
    let list = shown.iter().position(|line| line.starts_with("client 1")).unwrap();
    stands(&shown, list - 2, 0, DROPS);
    assert!(shown[list].ends_with("oldest  ack ms    sent    subs"), "{}", shown[list]);
    stands(&shown, 23, 0, KEYS);
}

#[test]
fn a_wide_terminal_has_three_columns_and_connections() {
    let shown = lines(&known(&["alpha"]), (140, 40));
    stands(&shown, 2, 0, IN);
    stands(&shown, 7, 0, DELIVERY);
    stands(&shown, 1, 46, "worker core  load  busy p99ms clients    in   out");
    stands(&shown, 2, 46, "0         0    0%    5%  0.40       3    10    20");
    stands(&shown, 7, 46, "5         5   71%   76%");
    assert!(shown[1].contains("memory 300M of 1.0G, 29%"), "{}", shown[1]);
    let list = shown.iter().position(|line| line.starts_with("client 1")).unwrap();
    assert!(shown[list + 1].contains("5.0   127.0.0.1:40000        someone"));
}

#[test]
fn too_small_a_terminal_is_told_so() {
    for size in [(59, 20), (60, 19), (1, 1)] {
        let shown = lines(&known(&["alpha"]), size);
        assert!(!shown.join("").contains("alpha"), "{size:?}");
    }
    assert!(lines(&known(&[]), (59, 20))[0].contains("60x20"));
}

#[test]
fn text_of_clients_does_nothing_to_the_terminal() {
    let wicked = "\u{1b}[2J\u{1b}]0;x\u{7}\n\u{202e}end";
    let long = "宽".repeat(2000);
    let mut state = known(&[wicked, &long, "c"]);
    let is_harmless = |shown: &[String]| {
        let all = shown.join("");
        assert!(!all.contains(|it: char| it.is_control() || it == '\u{202e}'), "{all:?}");
        all
    };
    let shown = lines(&state, (60, 20));
    assert!(is_harmless(&shown).contains("\\u{1b}["), "{shown:?}");
    assert!(shown.iter().any(|line| line.starts_with("c  ") && line.contains(ROW)));
    assert!(shown.iter().any(|line| line.starts_with("宽") && line.contains(ROW)));
    press(&mut state, &[KeyCode::Char('K')]);
    assert!(is_harmless(&lines(&state, (60, 20))).contains("disconnect \\u{1b}"));
    press(&mut state, &[KeyCode::Char('n'), KeyCode::Enter]);
    is_harmless(&lines(&state, (60, 20)));
    press(&mut state, &[KeyCode::Esc, KeyCode::Down, KeyCode::Char('K')]);
    assert!(lines(&state, (60, 20))[19].trim_end().ends_with("…? y/n"));
}

#[test]
fn a_broker_that_is_away_and_refusals_are_said_in_words() {
    let mut state = known(&["alpha"]);
    state.take_figures(Err("no broker answers".to_owned()));
    stands(&lines(&state, (60, 20)), 0, 0, "Asked again every 2 s: no broker answers");
    state.take_figures(Err("not here ".repeat(12) + "at all"));
    stands(&lines(&state, (60, 20)), 2, 0, "here not here at all");
    stands(&lines(&State::default(), (60, 20)), 0, 0, "ringmq top  ");
    let words = "a token is needed: `ringmq token` shows it; or ask over the broker's Unix \
                 socket, or give --token-file";
    state.said = Some(words.to_owned());
    let shown = lines(&state, (60, 20));
    let foot = shown[18..].iter().map(|line| line.trim_end()).collect::<Vec<_>>().join(" ");
    assert_eq!(foot, words);
    press(&mut state, &[KeyCode::Char('j')]);
    stands(&lines(&state, (60, 20)), 19, 0, KEYS);
}

#[test]
fn the_selected_client_is_always_in_sight() {
    let names: Vec<String> = (0..100).map(|number| format!("client-{number:02}")).collect();
    let mut state = known(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for place in 0..100 {
        let buffer = drawn(&state, false, (60, 20));
        let rows = buffer.content().chunks(60);
        let reversed: Vec<String> = rows
            .filter(|row| row[0].modifier.contains(ratatui::style::Modifier::REVERSED))
            .map(|row| row[..9].iter().map(|cell| cell.symbol()).collect())
            .collect();
        assert_eq!(reversed, [format!("client-{place:02}")]);
        press(&mut state, &[KeyCode::Char('j')]);
    }
}

#[test]
fn the_column_of_the_order_is_always_shown() {
    let mut state = known(&["alpha"]);
    for sort in 0..super::super::state::SORTS.len() {
        let shown = lines(&state, (60, 20));
        let marks = shown.iter().map(|line| line.matches('↓').count()).sum::<usize>();
        assert_eq!(marks, 1, "{sort}: {}", shown.join("\n"));
        press(&mut state, &[KeyCode::Char('s')]);
    }
}

#[test]
fn no_colour_means_none() {
    let is_plain = |buffer: &Buffer| {
        let plain = ratatui::style::Color::Reset;
        buffer.content().iter().all(|cell| cell.fg == plain && cell.bg == plain)
    };
    let mut state = known(&["alpha"]);
    assert!(!is_plain(&drawn(&state, true, (80, 24))));
    for code in ['?', 'K'] {
        press(&mut state, &[KeyCode::Char(code)]);
        assert!(is_plain(&drawn(&state, false, (80, 24))));
        press(&mut state, &[KeyCode::Esc]);
    }
    state.take_figures(Err("away".to_owned()));
    assert!(is_plain(&drawn(&state, false, (80, 24))));
}

#[test]
fn keys_and_pages_are_shown() {
    let mut state = known(&["alpha"]);
    press(&mut state, &[KeyCode::Char('?')]);
    let shown = lines(&state, (60, 20)).join("\n");
    for line in ALL_KEYS.lines() {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    press(&mut state, &[KeyCode::Esc, KeyCode::Enter]);
    state.page.text = "one: 1\ntwo: 2\n".to_owned();
    let shown = lines(&state, (60, 20));
    stands(&shown, 1, 0, "client alpha");
    stands(&shown, 2, 0, "one: 1");
    press(&mut state, &[KeyCode::Down]);
    stands(&lines(&state, (60, 20)), 2, 0, "two: 2");
}

#[test]
fn numbers_are_short() {
    let shown = [0.0, 0.4, 7.0, 99.96, 9999.0, 12_345.0, 999_999.0, 1e6, 4.56e9].map(count);
    assert_eq!(shown, ["0", "0.4", "7", "100", "9999", "12.3k", "1.0M", "1.0M", "4.6G"]);
    let shown = [0.0, 999.0, 1024.0, 150_000.0, 3e12].map(bytes);
    assert_eq!(shown, ["0B", "999B", "1.0K", "146K", "2.7T"]);
    let shown = [0.004, 9.99, 12.34, 250.4, 123_456.0].map(milliseconds);
    assert_eq!(shown, ["0.00", "9.99", "12.3", "250", "123s"]);
    let shown = [4.42, 61.0, 3_700.0, 90_061.0].map(span);
    assert_eq!(shown, ["4.4s", "1m01s", "1h01m", "1d01h"]);
}
