//! The figures of the broker as a whole.

use super::super::state::State;
use super::{Paint, bytes, count, milliseconds, percent, span};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use serde_json::Value;

/// From this width on the figures stand in three columns instead of two.
const WIDE: u16 = 110;

/// From this height on drops have two lines.
const HIGH: u16 = 24;

/// The lines of rates, and of delivery times.
const BLOCK_LINES: u16 = 4;

/// The space between two columns.
const GAP: u16 = 2;

const LEVELS: [&str; 3] = ["0", "1", "2"];

/// The first line: the broker, or why it is not seen.
pub(super) fn title(state: &State, paint: Paint) -> Line<'static> {
    if let Some(problem) = &state.problem {
        let words = format!("Asked again every 2 s: {problem}");
        return Line::from(words).style(paint.alarm().reversed());
    }
    let figures = &state.figures;
    if figures.is_null() {
        return Line::from("ringmq top").style(paint.head());
    }
    let number = |name: &str| count(figures["metrics"][name].as_f64().unwrap_or_default());
    let journal = figures["journal"].as_str().unwrap_or("-");
    let commit = match figures["commit"]["p99_ms"].as_f64() {
        Some(p99) if journal == "works" => format!(", commit p99 {} ms", milliseconds(p99)),
        _ => String::new(),
    };
    let style = if journal == "failing" { paint.alarm().reversed() } else { Style::new() };
    let version = figures["version"].as_str().unwrap_or_default();
    Line::from(vec![
        Span::from(format!("ringmq {version}")).style(paint.head()),
        Span::from(format!(" up {}  ", span(figures["uptime_s"].as_f64().unwrap_or_default()))),
        Span::from(format!("journal {journal}")).style(style),
        Span::from(format!(
            "  {} of {} clients{commit}",
            number("clients_connected"),
            number("sessions")
        )),
    ])
}

/// Draws the figures at the top of an area; the rest of it.
pub(super) fn draw(state: &State, paint: Paint, frame: &mut Frame<'_>, area: Rect) -> Rect {
    let workers = state.figures["workers"].as_array().map_or(0, Vec::len) as u16 + 1;
    let accounts = memory(state, paint).len() as u16;
    let needed = workers.max(accounts);
    let room = area.height.saturating_sub(4) / 3;
    let drops_lines = if area.height + 2 >= HIGH { 2 } else { 1 };
    let lines = |height| Constraint::Length(height);
    let (places, drops, list) = if area.width >= WIDE {
        let height = needed.min(room).max(2 * BLOCK_LINES);
        let parts = Layout::vertical([lines(height), lines(drops_lines), Constraint::Fill(1)]);
        let [top, middle, list] = parts.areas(area);
        let columns = [Constraint::Length(44), Constraint::Fill(3), Constraint::Fill(2)];
        let [left, right, memory] = Layout::horizontal(columns).spacing(GAP).areas(top);
        let parts = Layout::vertical([lines(BLOCK_LINES), lines(BLOCK_LINES)]);
        let [above, below] = parts.areas(left);
        ([above, below, right, memory], middle, list)
    } else {
        let height = needed.min(room.max(BLOCK_LINES));
        let parts = Layout::vertical([
            lines(BLOCK_LINES),
            lines(height),
            lines(drops_lines),
            Constraint::Fill(1),
        ]);
        let [top, under, middle, list] = parts.areas(area);
        let columns = [Constraint::Fill(1), Constraint::Fill(1)];
        let [left, right] = Layout::horizontal(columns).spacing(GAP).areas(top);
        let [workers, memory] = Layout::horizontal(columns).spacing(GAP).areas(under);
        ([left, right, workers, memory], middle, list)
    };
    draw_blocks(state, paint, frame, places);
    draw_drops(state, paint, frame, drops);
    list
}

fn draw_blocks(state: &State, paint: Paint, frame: &mut Frame<'_>, places: [Rect; 4]) {
    let [left, right, workers, accounts] = places;
    frame.render_widget(Paragraph::new(rates(state, paint)), left);
    frame.render_widget(Paragraph::new(delivery(state, paint)), right);
    frame.render_widget(Paragraph::new(loads(state, paint, workers)), workers);
    frame.render_widget(Paragraph::new(memory(state, paint)), accounts);
}

/// Messages a second, by direction and QoS.
fn rates(state: &State, paint: Paint) -> Vec<Line<'static>> {
    let rates = &state.figures["rates"];
    let head = format!("{:5}{:>6}{:>6}{:>6}{:>6}", "1/s", "QoS 0", "QoS 1", "QoS 2", "bytes");
    let row = |name: &str, messages: &str, volume: &str| {
        let [zero, one, two] =
            LEVELS.map(|qos| count(rates[messages][qos].as_f64().unwrap_or_default()));
        let volume = bytes(rates[volume].as_f64().unwrap_or_default());
        Line::from(format!("{name:5}{zero:>6}{one:>6}{two:>6}{volume:>6}"))
    };
    vec![
        Line::from(head).style(paint.head()),
        row("in", "publishes_received", "received_bytes"),
        row("out", "publishes_sent", "sent_bytes"),
    ]
}

/// Delivery times of the last ten seconds, or of all when the broker is younger.
fn delivery(state: &State, paint: Paint) -> Vec<Line<'static>> {
    let head = format!("{:5}{:>6}{:>6}{:>6}{:>6}", "10 s", "p50ms", "p99ms", "p99.9", "max");
    let row = |qos: &str| {
        let spans = &state.durations["delivery"][qos];
        let times = if spans["10s"].is_object() { &spans["10s"] } else { &spans["all"] };
        let is_empty = times["count"].as_u64().unwrap_or_default() == 0;
        let [half, most, nearly_all, all] = ["p50_ms", "p99_ms", "p999_ms", "max_ms"].map(|name| {
            let time = times[name].as_f64().filter(|_| !is_empty);
            time.map_or_else(|| "-".to_owned(), milliseconds)
        });
        Line::from(format!("QoS {qos}{half:>6}{most:>6}{nearly_all:>6}{all:>6}"))
    };
    let mut lines = vec![Line::from(head).style(paint.head())];
    lines.extend(LEVELS.map(row));
    lines
}

/// The workers, those with most load first when not all have room.
fn loads(state: &State, paint: Paint, area: Rect) -> Vec<Line<'static>> {
    let is_wide = area.width >= 48;
    let mut head = format!("{:6}{:>5}{:>6}{:>6}{:>6}", "worker", "core", "load", "busy", "p99ms");
    if is_wide {
        head += &format!("{:>8}{:>6}{:>6}", "clients", "in", "out");
    }
    let mut workers: Vec<&Value> =
        state.figures["workers"].as_array().into_iter().flatten().collect();
    let room = usize::from(area.height.saturating_sub(1));
    let load = |worker: &Value| worker["load"].as_f64().unwrap_or_default();
    let left_out = if workers.len() > room { workers.len() + 1 - room.max(1) } else { 0 };
    if left_out > 0 {
        workers.sort_by(|one, other| load(other).total_cmp(&load(one)));
    }
    let shown = workers.len() - left_out;
    let mut lines = vec![Line::from(head).style(paint.head())];
    lines.extend(workers.into_iter().take(shown).map(|worker| {
        let number = |name: &str| worker[name].as_f64();
        let dash = || "-".to_owned();
        let share = |name: &str| {
            let text = number(name).map_or_else(dash, percent);
            Span::from(format!("{text:>6}")).style(paint.share(number(name).unwrap_or_default()))
        };
        let core = number("core").map_or_else(dash, count);
        let p99 = number("turn_p99_ms").map_or_else(dash, milliseconds);
        let mut spans = vec![
            Span::from(format!("{:<6}{core:>5}", number("worker").map_or_else(dash, count))),
            share("load"),
            share("core_busy"),
            Span::from(format!("{p99:>6}")),
        ];
        if is_wide {
            let [clients, received, sent] = ["clients_connected", "received_rate", "sent_rate"]
                .map(|name| number(name).map_or_else(dash, count));
            spans.push(Span::from(format!("{clients:>8}{received:>6}{sent:>6}")));
        }
        Line::from(spans)
    }));
    if left_out > 0 {
        lines.push(Line::from(format!("{left_out} with less load")).dim());
    }
    lines
}

/// Memory against its limit, then by account, the greatest first.
fn memory(state: &State, paint: Paint) -> Vec<Line<'static>> {
    let metrics = &state.figures["metrics"];
    let number = |name: &str| metrics[name].as_f64().unwrap_or_default();
    let (used, limit) = (number("memory_used"), number("memory_limit"));
    let share = if limit > 0.0 { used / limit } else { 0.0 };
    let mut accounts: Vec<(&str, f64)> = vec![("messages", number("messages_kept"))];
    let owners = metrics["memory"].as_object().into_iter().flatten();
    accounts.extend(owners.map(|(name, value)| (&**name, value.as_f64().unwrap_or_default())));
    accounts.sort_by(|one, other| other.1.total_cmp(&one.1));
    let total = match limit > 0.0 {
        true => format!("{} of {}, {}", bytes(used), bytes(limit), percent(share)),
        false => bytes(used),
    };
    let head = vec![
        Span::from("memory ").style(paint.head()),
        Span::from(total).style(paint.share(share)),
    ];
    let row = |(name, value): (&str, f64)| Line::from(format!("{name:16}{:>7}", bytes(value)));
    std::iter::once(Line::from(head)).chain(accounts.into_iter().map(row)).collect()
}

/// Drops by reason: all since the start, and those of now.
fn draw_drops(state: &State, paint: Paint, frame: &mut Frame<'_>, area: Rect) {
    let totals = state.figures["metrics"]["messages_dropped"].as_object();
    let rates = &state.figures["rates"]["messages_dropped"];
    let reasons = totals.into_iter().flatten().map(|(reason, total)| {
        let rate = rates[reason].as_f64().unwrap_or_default();
        (reason.as_str(), total.as_f64().unwrap_or_default(), rate)
    });
    let mut reasons: Vec<_> = reasons.filter(|(_, total, _)| *total > 0.0).collect();
    reasons.sort_by(|one, other| {
        (other.2, other.1).partial_cmp(&(one.2, one.1)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut spans = vec![Span::from("drops ").style(paint.head())];
    if reasons.is_empty() {
        spans.push(Span::from("none"));
    }
    for (reason, total, rate) in reasons {
        spans.push(Span::from(format!("{reason} {}", count(total))));
        if rate > 0.0 {
            spans.push(Span::from(format!(" +{}/s", count(rate))).style(paint.alarm()));
        }
        spans.push(Span::from("  "));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)).wrap(Wrap { trim: true }), area);
}
