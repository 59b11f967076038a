//! The knowledge behind the picture, and the effect of keys on it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

/// The columns by which clients are sorted, as the API names them: `s` goes to the next.
pub(super) const SORTS: [&str; 9] = [
    "queued_bytes",
    "queued_messages",
    "inflight_messages",
    "dropped_messages",
    "oldest",
    "ack_mean",
    "messages_sent",
    "subscriptions",
    "client_id",
];

/// The rows of a page up or down.
const PAGE_ROWS: usize = 10;

/// The columns of a step to the right, where text is wider than the terminal.
const STEP_COLUMNS: u16 = 10;

/// The most characters of a filter.
const PREFIX_MAX: usize = 256;

/// The part of the broker that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// The place of the column in [`SORTS`].
    pub(super) sort: usize,
    /// The beginning of the identifiers that are listed.
    pub(super) prefix: String,
    /// The client whose page is shown.
    pub(super) client: Option<String>,
}

/// The page of one client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The lines, escaped; or why the broker tells none.
    pub(super) text: String,
    /// The first line that is shown.
    pub(super) line: u16,
    /// The first column that is shown.
    pub(super) column: u16,
}

/// The thing that takes the keys before all others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Dialog {
    /// Nothing: keys move, sort and look.
    #[default]
    None,
    /// A filter is typed; the filter from before comes back with Esc.
    Filter { before: String },
    /// The order to disconnect this client waits for a yes.
    Disconnect { client_id: String },
    /// The keys are told.
    Keys,
}

/// News for the picture.
#[derive(Debug)]
pub(super) enum News {
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size, so that it has to be drawn again.
    Resized,
    /// The figures of the overview, or why there are none.
    Figures(Result<Value, String>),
    /// The answers to the question for what is looked at.
    Answers(Box<Answers>),
    /// The words for what has become of an order.
    Done(String),
    /// The end, for this reason if it is none of the user's.
    End(Option<String>),
}

/// The answers about clients and durations.
#[derive(Debug)]
pub(super) struct Answers {
    /// The look that they are for.
    pub(super) look: Look,
    /// The list of clients.
    pub(super) clients: Result<Value, String>,
    /// Durations of all kinds.
    pub(super) durations: Result<Value, String>,
    /// The page of the client, if one is looked at.
    pub(super) page: Option<String>,
}

/// The thing to do after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing but to draw.
    Draw,
    /// Another part of the broker is looked at.
    Ask,
    /// The client with this identifier is disconnected.
    Disconnect(String),
    /// The end.
    Leave,
}

/// Everything that is known, and the place where the user is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The last figures of `/api/v1/live`; null before the first.
    pub(super) figures: Value,
    /// The last answer of `/api/v1/durations`.
    pub(super) durations: Value,
    /// The clients, in the order of the look.
    pub(super) clients: Vec<Value>,
    /// More clients exist than are listed.
    pub(super) has_more: bool,
    /// The place of the selected client among them.
    pub(super) selected: usize,
    /// The part that is looked at.
    pub(super) look: Look,
    /// The page of the client that is looked at.
    pub(super) page: Page,
    /// The dialog that is open.
    pub(super) dialog: Dialog,
    /// Why there are no figures.
    pub(super) problem: Option<String>,
    /// Why the list of clients is not as asked for.
    pub(super) list_problem: Option<String>,
    /// Words about the last order, until the next key.
    pub(super) said: Option<String>,
}

impl State {
    /// The identifier of a listed client.
    fn id(client: &Value) -> &str {
        client["client_id"].as_str().unwrap_or_default()
    }

    fn selected_id(&self) -> Option<String> {
        let listed = self.clients.get(self.selected).map(|client| Self::id(client).to_owned());
        self.look.client.clone().or(listed)
    }

    /// Takes the figures of the overview.
    pub(super) fn take_figures(&mut self, figures: Result<Value, String>) {
        match figures {
            // The first event has the past alone.
            Ok(figures) if figures["metrics"].is_object() => {
                self.figures = figures;
                self.problem = None;
            }
            Ok(_) => {}
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Takes answers; those to an earlier look are of no use any more.
    pub(super) fn take_answers(&mut self, answers: Answers) {
        if let Ok(durations) = answers.durations {
            self.durations = durations;
        }
        if answers.look != self.look {
            return;
        }
        if let Some(text) = answers.page {
            self.page.text = text;
        }
        match answers.clients {
            Ok(mut value) => {
                // The selection stays with its client, wherever that now stands.
                let selected = self.clients.get(self.selected).map(|it| Self::id(it).to_owned());
                self.has_more = !value["next"].is_null();
                self.clients = match value["clients"].take() {
                    Value::Array(clients) => clients,
                    _ => Vec::new(),
                };
                let place =
                    self.clients.iter().position(|it| Some(Self::id(it)) == selected.as_deref());
                let last = self.clients.len().saturating_sub(1);
                self.selected = place.unwrap_or(self.selected).min(last);
                self.list_problem = None;
            }
            Err(problem) => self.list_problem = Some(problem),
        }
    }

    /// Heeds a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::Draw;
        }
        self.said = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Effect::Leave } else { Effect::Draw };
        }
        match std::mem::take(&mut self.dialog) {
            Dialog::None if self.look.client.is_some() => self.press_in_page(key.code),
            Dialog::None => self.press_in_list(key.code),
            Dialog::Filter { before } => self.press_in_filter(key.code, before),
            Dialog::Disconnect { client_id } => match key.code {
                KeyCode::Char('y') => Effect::Disconnect(client_id),
                KeyCode::Char('n') | KeyCode::Esc => Effect::Draw,
                _ => {
                    self.dialog = Dialog::Disconnect { client_id };
                    Effect::Draw
                }
            },
            Dialog::Keys if key.code == KeyCode::Char('q') => Effect::Leave,
            Dialog::Keys => Effect::Draw,
        }
    }

    /// Keys that do the same in the list and in a client's page.
    fn press_anywhere(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('q') => return Effect::Leave,
            KeyCode::Char('?') => self.dialog = Dialog::Keys,
            KeyCode::Char('K') => {
                if let Some(client_id) = self.selected_id() {
                    self.dialog = Dialog::Disconnect { client_id };
                }
            }
            _ => {}
        }
        Effect::Draw
    }

    fn press_in_list(&mut self, code: KeyCode) -> Effect {
        let last = self.clients.len().saturating_sub(1);
        let down = |rows| self.selected.saturating_add(rows).min(last);
        match code {
            KeyCode::Esc => return Effect::Leave,
            KeyCode::Char('s') => {
                self.look.sort = (self.look.sort + 1) % SORTS.len();
                self.selected = 0;
                self.clients.clear();
                return Effect::Ask;
            }
            KeyCode::Char('/') => {
                self.dialog = Dialog::Filter { before: self.look.prefix.clone() };
            }
            KeyCode::Enter => {
                self.look.client = self.selected_id();
                self.page = Page::default();
                return if self.look.client.is_some() { Effect::Ask } else { Effect::Draw };
            }
            KeyCode::Down | KeyCode::Char('j') => self.selected = down(1),
            KeyCode::PageDown => self.selected = down(PAGE_ROWS),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE_ROWS),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => return self.press_anywhere(code),
        }
        Effect::Draw
    }

    fn press_in_page(&mut self, code: KeyCode) -> Effect {
        let page = &mut self.page;
        let last = u16::try_from(page.text.lines().count().saturating_sub(1)).unwrap_or(u16::MAX);
        let down = |rows: usize| page.line.saturating_add(rows as u16).min(last);
        match code {
            KeyCode::Esc => {
                self.look.client = None;
                return Effect::Ask;
            }
            KeyCode::Down | KeyCode::Char('j') => page.line = down(1),
            KeyCode::PageDown => page.line = down(PAGE_ROWS),
            KeyCode::Up | KeyCode::Char('k') => page.line = page.line.saturating_sub(1),
            KeyCode::PageUp => page.line = page.line.saturating_sub(PAGE_ROWS as u16),
            KeyCode::Home => page.line = 0,
            KeyCode::End => page.line = last,
            KeyCode::Right => page.column = page.column.saturating_add(STEP_COLUMNS),
            KeyCode::Left => page.column = page.column.saturating_sub(STEP_COLUMNS),
            _ => return self.press_anywhere(code),
        }
        Effect::Draw
    }

    fn press_in_filter(&mut self, code: KeyCode, before: String) -> Effect {
        match code {
            KeyCode::Enter => return Effect::Draw,
            KeyCode::Esc => {
                self.look.prefix = before;
                return Effect::Ask;
            }
            KeyCode::Backspace => drop(self.look.prefix.pop()),
            KeyCode::Char(letter) if self.look.prefix.chars().count() < PREFIX_MAX => {
                self.look.prefix.push(letter);
            }
            _ => {}
        }
        self.dialog = Dialog::Filter { before };
        self.selected = 0;
        Effect::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn press(state: &mut State, codes: &[KeyCode]) -> Effect {
        codes.iter().map(|code| state.press((*code).into())).last().expect("a key")
    }

    fn answers(look: &Look, names: &[&str]) -> Answers {
        let clients: Vec<_> = names.iter().map(|name| json!({ "client_id": name })).collect();
        Answers {
            look: look.clone(),
            clients: Ok(json!({ "clients": clients, "next": null })),
            durations: Ok(Value::Null),
            page: look.client.as_ref().map(|client_id| format!("page of {client_id}\nend\n")),
        }
    }

    fn listing(names: &[&str]) -> State {
        let mut state = State::default();
        state.take_answers(answers(&Look::default(), names));
        state
    }

    const fn letter(letter: char) -> KeyCode {
        KeyCode::Char(letter)
    }

    #[test]
    fn q_escape_and_control_c_leave() {
        for code in [letter('q'), KeyCode::Esc] {
            assert_eq!(press(&mut listing(&[]), &[code]), Effect::Leave);
        }
        let control_c = KeyEvent::new(letter('c'), KeyModifiers::CONTROL);
        for opening in ['/', '?', 'K', 'j'] {
            let mut state = listing(&["a"]);
            press(&mut state, &[letter(opening)]);
            assert_eq!(state.press(control_c), Effect::Leave, "{opening}");
        }
        assert_eq!(press(&mut listing(&[]), &[letter('c')]), Effect::Draw);
    }

    #[test]
    fn s_goes_round_the_columns() {
        let mut state = listing(&["a"]);
        for sort in (1..SORTS.len()).chain([0]) {
            assert_eq!(press(&mut state, &[letter('s')]), Effect::Ask);
            assert_eq!(state.look.sort, sort);
        }
    }

    #[test]
    fn the_selection_stays_with_its_client() {
        let mut state = listing(&["a", "b", "c"]);
        press(&mut state, &[letter('j'), KeyCode::Down, KeyCode::Down, letter('k')]);
        assert_eq!(state.selected_id().as_deref(), Some("b"));
        let look = state.look.clone();
        state.take_answers(answers(&look, &["b", "x", "a"]));
        assert_eq!(state.selected_id().as_deref(), Some("b"));
        press(&mut state, &[KeyCode::PageDown]);
        assert_eq!(state.selected_id().as_deref(), Some("a"));
        state.take_answers(answers(&look, &[]));
        assert_eq!(state.selected_id(), None);
        assert_eq!(press(&mut state, &[letter('K')]), Effect::Draw);
        assert_eq!(state.dialog, Dialog::None);
    }

    #[test]
    fn a_filter_is_typed_kept_and_given_up() {
        let mut state = listing(&["a"]);
        let typed = [letter('/'), letter('q'), letter('s'), letter('x'), KeyCode::Backspace];
        assert_eq!(press(&mut state, &typed), Effect::Ask);
        assert_eq!(state.look.prefix, "qs");
        press(&mut state, &[KeyCode::Enter, letter('/'), letter('K'), KeyCode::Esc]);
        assert_eq!((state.look.prefix.as_str(), &state.dialog), ("qs", &Dialog::None));
        let early = answers(&Look::default(), &["b"]);
        state.take_answers(early);
        assert_eq!(state.selected_id().as_deref(), Some("a"), "an answer to an earlier look");
    }

    #[test]
    fn a_client_is_looked_into_and_left() {
        let mut state = listing(&["a", "b"]);
        assert_eq!(press(&mut state, &[letter('j'), KeyCode::Enter]), Effect::Ask);
        let look = state.look.clone();
        state.take_answers(answers(&look, &["a", "b"]));
        assert_eq!(state.page.text, "page of b\nend\n");
        press(&mut state, &[KeyCode::PageDown, KeyCode::Right]);
        assert_eq!((state.page.line, state.page.column), (1, STEP_COLUMNS));
        assert_eq!(press(&mut state, &[KeyCode::Esc]), Effect::Ask);
        assert_eq!((state.look.client.is_none(), state.selected), (true, 1));
    }

    #[test]
    fn a_client_goes_only_after_a_yes() {
        let mut state = listing(&["a", "b"]);
        for no in [letter('n'), KeyCode::Esc] {
            assert_eq!(press(&mut state, &[letter('K'), KeyCode::Enter, no]), Effect::Draw);
            assert_eq!(state.dialog, Dialog::None);
            assert_eq!(press(&mut state, &[letter('y')]), Effect::Draw);
        }
        press(&mut state, &[letter('K')]);
        let look = state.look.clone();
        state.take_answers(answers(&look, &["b"]));
        assert_eq!(press(&mut state, &[letter('y')]), Effect::Disconnect("a".to_owned()));
    }

    #[test]
    fn a_broker_that_is_away_is_known_until_it_is_back() {
        let mut state = State::default();
        state.take_figures(Err("no broker answers".to_owned()));
        state.take_figures(Ok(json!({ "past": [] })));
        assert!(state.problem.is_some());
        state.take_figures(Ok(json!({ "metrics": {} })));
        assert!(state.problem.is_none());
    }
}
