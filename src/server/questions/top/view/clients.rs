//! The table of clients.

use super::super::state::{SORTS, State};
use super::{Paint, bytes, count, cut, milliseconds, span};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

/// The least room of a client identifier.
const NAME_WIDTH_MIN: usize = 16;

/// From this room of an identifier on its connection is told as well.
const NAME_WIDTH_ENOUGH: usize = 24;

/// The cells of a connection: its worker, version, address and user.
const CONNECTION_WIDTH: usize = 52;

/// A column of figures.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// The name by which the API sorts.
    sort: &'static str,
    field: &'static str,
    head: &'static str,
    width: usize,
    show: fn(f64) -> String,
}

const fn column(
    (sort, field): (&'static str, &'static str),
    head: &'static str,
    width: usize,
    show: fn(f64) -> String,
) -> Column {
    Column { sort, field, head, width, show }
}

/// The columns behind the identifier, the most important first.
const COLUMNS: [Column; 8] = [
    column(("queued_bytes", "queued_bytes"), "bytes", 8, bytes),
    column(("queued_messages", "queued_messages"), "queued", 8, count),
    column(("inflight_messages", "inflight_messages"), "flight", 8, count),
    column(("dropped_messages", "dropped_messages"), "drops", 8, count),
    column(("oldest", "oldest_s"), "oldest", 8, span),
    column(("ack_mean", "ack_mean_ms"), "ack ms", 8, milliseconds),
    column(("messages_sent", "messages_sent"), "sent", 8, count),
    column(("subscriptions", "subscriptions"), "subs", 8, count),
];

/// The columns that have room; that of the order is always among them.
fn columns(room: usize, sort: &str) -> Vec<Column> {
    let count = (room.saturating_sub(NAME_WIDTH_MIN) / COLUMNS[0].width).min(COLUMNS.len());
    let mut shown = COLUMNS[..count].to_vec();
    let sorted = COLUMNS[count..].iter().find(|column| column.sort == sort);
    if let (Some(sorted), Some(last)) = (sorted, shown.last_mut()) {
        *last = *sorted;
    }
    shown
}

pub(super) fn draw(state: &State, paint: Paint, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let sort = SORTS[state.look.sort];
    let shown = columns(width, sort);
    let mut name_width = width - shown.iter().map(|column| column.width).sum::<usize>();
    let has_connection = name_width >= NAME_WIDTH_ENOUGH + CONNECTION_WIDTH;
    if has_connection {
        name_width -= CONNECTION_WIDTH;
    }
    let mut lines = vec![head(state, &shown, name_width, has_connection).style(paint.head())];
    // A broker that is away is told above.
    let problem = state.list_problem.as_ref().filter(|_| state.problem.is_none());
    if let Some(problem) = problem {
        lines.push(Line::from(problem.clone()).style(paint.alarm()));
    }
    let room = usize::from(area.height).saturating_sub(lines.len());
    let most = state.clients.len().saturating_sub(room);
    let first = state.selected.saturating_sub(room / 2).min(most);
    let clients = state.clients.iter().enumerate().skip(first).take(room);
    lines.extend(clients.map(|(place, client)| {
        let mut spans = vec![name(client, name_width)];
        spans.extend(shown.iter().map(|column| {
            let figure = client[column.field].as_f64();
            let text = figure.map_or_else(|| "-".to_owned(), column.show);
            Span::from(format!("{text:>0$}", column.width))
        }));
        if has_connection {
            spans.push(Span::from(connection(client)));
        }
        let line = Line::from(spans);
        if place == state.selected { line.reversed() } else { line }
    }));
    if state.clients.is_empty() && state.list_problem.is_none() && !state.figures.is_null() {
        lines.push(Line::from("no client is listed").dim());
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn head(state: &State, shown: &[Column], name_width: usize, has_connection: bool) -> Line<'static> {
    let sort = SORTS[state.look.sort];
    let mark = |is_sorted| if is_sorted { "↓" } else { "" };
    let more = if state.has_more { "+" } else { "" };
    let prefix = match state.look.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" {prefix}*"),
    };
    let name = format!("client{} {}{more}{prefix}", mark(sort == "client_id"), state.clients.len());
    let mut text = pad(&cut(&name, name_width), name_width);
    for column in shown {
        let head = format!("{}{}", column.head, mark(column.sort == sort));
        text += &format!("{head:>0$}", column.width);
    }
    if has_connection {
        text += &format!("  {:>2} {:5} {:22} {}", "w", "MQTT", "address", "user");
    }
    Line::from(text)
}

/// The identifier, with the state of its connection unless that is as usual.
fn name(client: &Value, width: usize) -> Span<'static> {
    let state = match (client["connected"] == true, client["blocked"] == true) {
        (false, _) => " (away)",
        (true, true) => " (full)",
        (true, false) => "",
    };
    let id = client["client_id"].as_str().unwrap_or_default();
    let name = cut(id, width.saturating_sub(state.len() + 1)) + state;
    Span::from(pad(&name, width))
}

/// The worker, the version, the address and the user.
fn connection(client: &Value) -> String {
    let text = |name: &str, room| cut(client[name].as_str().unwrap_or("-"), room);
    let worker = client["worker"].as_u64().unwrap_or_default();
    format!(
        "  {worker:>2} {:5} {:22} {}",
        text("version", 5),
        text("address", 22),
        text("user", CONNECTION_WIDTH - 34)
    )
}

/// Spaces up to a width in cells, which wide characters have two of.
fn pad(text: &str, width: usize) -> String {
    let used = Span::raw(text).width();
    format!("{text}{}", " ".repeat(width.saturating_sub(used)))
}
