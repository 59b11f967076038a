//! The picture of what is known.

mod clients;
mod figures;

use super::state::{Dialog, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

/// The least terminal that has room for all parts.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 20;

/// The lines that words at the top or the bottom may take.
const WORDS_LINES_MAX: u16 = 4;

const KEYS: &str = "q leave  s sort  / filter  Enter look  K disconnect  ? keys";
const PAGE_KEYS: &str = "Esc back  arrows move  K disconnect  q leave  ? keys";

const ALL_KEYS: &str = "\
q, Ctrl-C     leave
Esc           back; leaves from the list
s             sort by the next column
/             list identifiers that begin so
Up, Down      select a client (k, j)
PageUp, PageDown, Home, End
Enter         look into the client
Left, Right   move a page that is wide
K             disconnect the client
?             these keys";

/// The styles, which have no colour when the user wants none.
#[derive(Debug, Clone, Copy)]
struct Paint {
    has_colour: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn head(self) -> Style {
        self.colour(Color::Cyan).bold()
    }

    fn alarm(self) -> Style {
        self.colour(Color::Red).bold()
    }

    /// The style of a share of something that has an end.
    fn share(self, share: f64) -> Style {
        match share {
            share if share >= 0.85 => self.alarm(),
            share if share >= 0.6 => self.colour(Color::Yellow),
            _ => Style::new(),
        }
    }
}

/// Draws everything.
pub(super) fn draw(state: &State, has_colour: bool, frame: &mut Frame<'_>) {
    let (area, paint) = (frame.area(), Paint { has_colour });
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let words = format!("{WIDTH_MIN}x{HEIGHT_MIN} or more is needed; q leaves");
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return;
    }
    let (words, style) = foot(state, paint, area.width);
    let foot = Paragraph::new(words).style(style).wrap(Wrap { trim: false });
    let foot_lines = lines_of(&foot, area.width);
    let title = Paragraph::new(figures::title(state, paint)).wrap(Wrap { trim: false });
    // Words about a broker that is away have as many lines as they need.
    let title_lines = if state.problem.is_some() { lines_of(&title, area.width) } else { 1 };
    let parts = Layout::vertical([
        Constraint::Length(title_lines),
        Constraint::Fill(1),
        Constraint::Length(foot_lines),
    ]);
    let [top, middle, bottom] = parts.areas(area);
    frame.render_widget(title, top);
    match &state.look.client {
        Some(client_id) => draw_page(state, client_id, paint, frame, middle),
        None => draw_overview(state, paint, frame, middle),
    }
    frame.render_widget(foot, bottom);
    if state.dialog == Dialog::Keys {
        draw_keys(paint, frame, middle);
    }
}

/// How many lines a paragraph takes, words that wrap early included.
fn lines_of(paragraph: &Paragraph<'_>, width: u16) -> u16 {
    let mut area = Rect::new(0, 0, width, WORDS_LINES_MAX);
    let mut buffer = ratatui::buffer::Buffer::empty(area);
    ratatui::widgets::Widget::render(paragraph, area, &mut buffer);
    let is_empty = |y: u16| (0..width).all(|x| buffer[(x, y)].symbol() == " ");
    while area.height > 1 && is_empty(area.height - 1) {
        area.height -= 1;
    }
    area.height
}

/// The last line: a question, words about an order, or the keys.
fn foot(state: &State, paint: Paint, width: u16) -> (String, Style) {
    match &state.dialog {
        Dialog::Disconnect { client_id } => {
            let room = usize::from(width).saturating_sub(20);
            let words = format!("disconnect {}? y/n", cut(client_id, room));
            (words, paint.alarm())
        }
        Dialog::Filter { .. } => {
            let prefix = state.look.prefix.escape_debug();
            (format!("identifiers that begin with: {prefix}_"), Style::new().bold())
        }
        _ => match &state.said {
            Some(words) => (words.clone(), Style::new().bold()),
            None if state.look.client.is_some() => (PAGE_KEYS.to_owned(), Style::new().dim()),
            None => (KEYS.to_owned(), Style::new().dim()),
        },
    }
}

fn draw_overview(state: &State, paint: Paint, frame: &mut Frame<'_>, area: Rect) {
    let list = if state.figures.is_null() {
        let words = if state.problem.is_some() { "" } else { "the broker is asked" };
        frame.render_widget(Line::from(words), area);
        Rect { y: area.y + 1, height: area.height - 1, ..area }
    } else {
        figures::draw(state, paint, frame, area)
    };
    clients::draw(state, paint, frame, list);
}

fn draw_page(state: &State, client_id: &str, paint: Paint, frame: &mut Frame<'_>, area: Rect) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let name = format!("client {}", cut(client_id, usize::from(area.width).saturating_sub(8)));
    frame.render_widget(Line::from(name).style(paint.head()), head);
    let lines: Vec<Line<'_>> = state.page.text.lines().map(Line::from).collect();
    let page = Paragraph::new(lines).scroll((state.page.line, state.page.column));
    frame.render_widget(page, body);
}

fn draw_keys(paint: Paint, frame: &mut Frame<'_>, area: Rect) {
    let height = ALL_KEYS.lines().count() as u16 + 2;
    let area = area.centered(Constraint::Length(46), Constraint::Length(height));
    frame.render_widget(Clear, area);
    let block = Block::bordered().title("keys").border_style(paint.head());
    frame.render_widget(Paragraph::new(ALL_KEYS).block(block), area);
}

/// A client's text without effect on the terminal, in no more cells than there are.
fn cut(text: &str, room: usize) -> String {
    // One character more than fits shows that there is more.
    let mut shown: String =
        text.chars().take(room + 1).collect::<String>().escape_debug().collect();
    let is_whole = text.chars().nth(room + 1).is_none();
    if is_whole && Span::raw(&shown).width() <= room {
        return shown;
    }
    while Span::raw(&shown).width() >= room.max(1) {
        shown.pop();
    }
    shown + "…"
}

/// A number in at most five characters.
fn count(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| value >= *size * 0.9995 && value >= 9999.5) {
        Some((size, unit)) if value / size < 99.95 => format!("{:.1}{unit}", value / size),
        Some((size, unit)) => format!("{:.0}{unit}", value / size),
        None if value > 0.0 && value < 99.95 && value.fract() > 0.0 => format!("{value:.1}"),
        None => format!("{value:.0}"),
    }
}

/// Bytes in at most six characters.
fn bytes(value: f64) -> String {
    let (mut value, mut units) = (value, ["B", "K", "M", "G", "T"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.5
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" || value >= 99.95 {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}

/// Milliseconds in at most five characters.
fn milliseconds(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value if value < 99_999.5 => format!("{value:.0}"),
        value => format!("{:.0}s", value / 1e3),
    }
}

/// A span of time by its two greatest units.
fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[cfg(test)]
mod tests;
