//! The word to the service manager: systemd, by `NOTIFY_SOCKET`, where it has started the broker
//! with `Type=notify`. Elsewhere nothing is said.

use super::observer::Observer;
use sd_notify::NotifyState::{self, Ready, Reloading, Status, Watchdog};

/// Says that the broker serves.
pub(super) fn ready() {
    say(&[Ready, Status("Serving")]);
}

/// Says that the settings are read again; [`ready`] says that they are.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    let states = [Reloading, Status("Reading the settings again")];
    say(&now.into_iter().chain(states).collect::<Vec<_>>());
}

/// Says that clients are sent away.
pub(super) fn draining() {
    say(&[Status("Sending clients away")]);
}

/// Says that the broker stops.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping, Status("Stopping")]);
}

/// Says that the broker is alive for as long as every worker ends its turns, if the service manager
/// watches over it. A worker that is stuck lets it be restarted.
pub(super) async fn stay_alive(observer: Observer) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    loop {
        if observer.all_answer().await {
            say(&[Watchdog]);
        }
        tokio::time::sleep(patience / 3).await;
    }
}

fn say(states: &[NotifyState<'_>]) {
    // Whoever does not listen does not wait either.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("The service manager hears nothing: {error}");
    }
}
