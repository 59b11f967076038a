//! `ringmq top`: the running broker in a terminal.
//!
//! One thread reads keys, one follows the live figures, one asks for clients and gives orders; all
//! send news to the thread that draws.

mod state;
mod view;

use super::asking::{Asking, Question};
use super::text;
use crate::server::failure::Failure;
use axum::http::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use serde_json::Value;
use state::{Answers, Effect, Look, News, SORTS, State};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// The time between two questions, and until a broker that is away is asked again.
const INTERVAL: Duration = Duration::from_secs(2);

/// The broker has to say something within this time.
const SILENCE_MAX: Duration = Duration::from_secs(7);

/// The clients that are listed.
const CLIENTS_MAX: usize = 100;

/// The exit status after a panic.
const PANIC_STATUS: i32 = 101;

/// Something for the thread that asks.
#[derive(Debug)]
enum Task {
    /// Another part is looked at.
    Look(Look),
    /// A client is disconnected.
    Disconnect(String),
}

/// Shows the broker until the user leaves. The exit status is 2 without a terminal, 1 when the
/// terminal fails.
pub(super) fn run(asking: Asking) -> ExitCode {
    if !std::io::stdout().is_terminal() {
        let line = "top needs a terminal on the standard output; `ringmq slow` prints once";
        return Failure::usage(line).report();
    }
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let shown = ratatui::try_init().map_err(|error| error.to_string()).and_then(|terminal| {
        end_on_panic();
        show(terminal, asking, has_colour)
    });
    ratatui::restore();
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => Failure::start(cause).report(),
    }
}

/// Ends the program on a panic of any thread, once the terminal is as it was: the picture would
/// go on without that thread.
fn end_on_panic() {
    let restore_and_tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore_and_tell(panic);
        // Each picture hides the cursor, and nothing is dropped here that would show it.
        let _ = execute!(std::io::stdout(), Show);
        std::process::exit(PANIC_STATUS);
    }));
}

fn show(mut terminal: DefaultTerminal, asking: Asking, has_colour: bool) -> Result<(), String> {
    let (news, incoming) = channel();
    let (tasks, outgoing) = channel();
    let asking = Arc::new(asking);
    spawn(&news, read_keys);
    spawn(&news, heed_signals);
    let follower = Arc::clone(&asking);
    spawn(&news, move |news| follow(&follower, &news));
    spawn(&news, move |news| ask(&asking, &outgoing, &news));
    let mut state = State::default();
    loop {
        let draw = terminal.draw(|frame| view::draw(&state, has_colour, frame));
        draw.map_err(|error| format!("the terminal cannot be drawn: {error}"))?;
        let first = match incoming.recv_timeout(SILENCE_MAX) {
            Ok(first) => first,
            Err(_) => News::Figures(Err("the broker does not answer".to_owned())),
        };
        // All that has come is drawn at once.
        for news in std::iter::once(first).chain(incoming.try_iter()) {
            match news {
                News::Key(key) => match state.press(key) {
                    Effect::Draw => {}
                    Effect::Ask => send(&tasks, Task::Look(state.look.clone()))?,
                    Effect::Disconnect(client_id) => send(&tasks, Task::Disconnect(client_id))?,
                    Effect::Leave => return Ok(()),
                },
                News::Resized => {}
                News::Figures(figures) => state.take_figures(figures),
                News::Answers(answers) => state.take_answers(*answers),
                News::Done(words) => state.said = Some(words),
                News::End(cause) => return cause.map_or(Ok(()), Err),
            }
        }
    }
}

fn send(tasks: &Sender<Task>, task: Task) -> Result<(), String> {
    tasks.send(task).map_err(|_| "the thread that asks has ended".to_owned())
}

/// Runs a source of news on a thread of its own, which ends with the program.
fn spawn(news: &Sender<News>, run: impl FnOnce(Sender<News>) + Send + 'static) {
    let news = news.clone();
    thread::spawn(move || run(news));
}

fn read_keys(news: Sender<News>) {
    loop {
        let read = match event::read() {
            Ok(Event::Key(key)) => News::Key(key),
            Ok(Event::Resize(..)) => News::Resized,
            Ok(_) => continue,
            Err(error) => News::End(Some(format!("keys cannot be read: {error}"))),
        };
        let is_end = matches!(read, News::End(_));
        if news.send(read).is_err() || is_end {
            return;
        }
    }
}

/// Leaves on SIGTERM and SIGHUP as on a key, so that the terminal is as it was.
fn heed_signals(news: Sender<News>) {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::hangup()));
        let (Ok(mut terminate), Ok(mut hangup)) = signals else { return };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        // Nobody listens any more when the program ends just now.
        let _ = news.send(News::End(None));
    });
}

/// Hands on the live figures, and asks for them again when they end.
fn follow(asking: &Asking, news: &Sender<News>) {
    loop {
        let ended = asking.follow(&get("live", Vec::new()), |figures| {
            news.send(News::Figures(Ok(figures.clone()))).is_ok()
        });
        let cause = ended.err().unwrap_or_default();
        if news.send(News::Figures(Err(cause))).is_err() {
            return;
        }
        thread::sleep(INTERVAL);
    }
}

/// Asks for what is looked at, every two seconds and when that changes; gives orders.
fn ask(asking: &Asking, tasks: &Receiver<Task>, news: &Sender<News>) {
    let mut look = Look::default();
    loop {
        if news.send(News::Answers(Box::new(answers(asking, &look)))).is_err() {
            return;
        }
        let mut next = tasks.recv_timeout(INTERVAL);
        loop {
            match next {
                Ok(Task::Look(other)) => look = other,
                Ok(Task::Disconnect(client_id)) => {
                    if news.send(News::Done(disconnect(asking, &client_id))).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = tasks.recv_timeout(Duration::ZERO);
        }
    }
}

fn answers(asking: &Asking, look: &Look) -> Answers {
    let sort = ("sort", SORTS[look.sort].to_owned());
    let query = vec![sort, ("prefix", look.prefix.clone()), ("limit", CLIENTS_MAX.to_string())];
    let page = look.client.as_ref().map(|client_id| {
        let answer = asking.ask(&get("client", vec![("id", client_id.clone())]));
        answer.map_or_else(|cause| cause, |value| text("client", &value))
    });
    Answers {
        look: look.clone(),
        clients: asking.ask(&get("clients", query)),
        durations: asking.ask(&get("durations", Vec::new())),
        page,
    }
}

/// Disconnects a client; the words for what came of it.
fn disconnect(asking: &Asking, client_id: &str) -> String {
    let query = vec![("id", client_id.to_owned())];
    let path = "client/disconnect";
    let answer = asking.ask(&Question { method: Method::POST, path, query, body: None });
    let name = client_id.escape_debug();
    answer.map_or_else(|cause| cause, |_: Value| format!("{name} is disconnected"))
}

fn get<'a>(path: &'a str, query: Vec<(&'a str, String)>) -> Question<'a> {
    Question { method: Method::GET, path, query, body: None }
}
