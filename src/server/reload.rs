//! New settings for a running broker: all of them or none.

use super::audit::Audit;
use super::authentication::Desk;
use super::changes::{self, Files, Sight};
use super::configuration::Configuration;
use super::failure::Failure;
use super::logging::Log;
use super::service;
use super::settings::{self, AdminSettings};
use super::start::Notices;
use crate::audit::Entry;
use crate::options::{Given, ListenerOptions, LogLevel, OPTIONS, Options};
use crate::worker::Settings;
use std::sync::Arc;
use tokio::sync::watch;

/// All that a running broker goes by.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    /// The settings of the workers.
    pub(super) settings: Settings,
    /// The values that were given, with their places.
    pub(super) given: Arc<Given>,
    /// The operators' way in.
    pub(super) admin: AdminSettings,
}

/// The settings of a running broker, and the parts that a change reaches.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) configuration: Configuration,
    pub(super) current: watch::Sender<InForce>,
    pub(super) notices: Notices,
    pub(super) desk: Arc<Desk>,
    pub(super) log: Log,
    pub(super) watched: Watched,
    pub(super) audit: Audit,
    /// All files of the settings, as they were when they were read.
    pub(super) files: Files,
}

impl Reloader {
    /// Heeds SIGHUP: begins a new audit log if the present one was renamed, and reloads.
    pub(super) fn hang_up(&mut self) {
        self.reopen();
        // The log has the cause of a refusal.
        let _ = self.reload("SIGHUP");
    }

    /// Goes on in a new log and audit log, where the old ones were moved away.
    pub(super) fn reopen(&self) {
        self.audit.reopen();
        self.log.reopen();
    }

    /// Reads all files again: the configuration file, and every file that it names. The audit log
    /// says for whom.
    ///
    /// # Errors
    /// The cause for which the old settings stay, which the log has as well.
    pub(super) fn reload(&mut self, actor: &str) -> Result<(), String> {
        service::reloading();
        let read = self.read(actor);
        service::ready();
        read.map_err(|cause| {
            let cause = cause.to_string();
            tracing::error!("Not reloaded, the old settings stay: {cause}");
            let entry = Entry::new("reload_refused").text("actor", actor);
            self.audit.note(&entry.text("cause", &cause));
            cause
        })
    }

    fn read(&mut self, actor: &str) -> Result<(), Failure> {
        let before = self.current.borrow().clone();
        let given = self.configuration.read()?;
        let mut options = Options::build(&given).map_err(Failure::usage)?;
        keep_endpoints(&mut options, &before.settings.options)?;
        for option in OPTIONS.iter().filter(|option| !option.is_reloaded) {
            if !given.agrees_with(&before.given, option) {
                tracing::warn!("{} has changed, which takes effect at the next start", option.name);
            }
        }
        if options.bridges != before.settings.options.bridges {
            tracing::warn!("Bridges have changed, which takes effect at the next start");
        }
        let options = Arc::new(options);
        // A file that changes while it is read is found changed at the next look.
        let (watched, files) = (Watched::new(&options), Files::of(&options));
        let settings = settings::load(&options, Some(&before.settings))?;
        let admin = settings::admin(&options, Some(&before.admin))?;
        self.watched = watched;
        self.log.set_level(options.log_level);
        self.desk.set_policies(Arc::clone(&settings.policies));
        self.audit.reload(&options);
        let options_before = &*before.settings.options;
        let sight = Sight { given: &before.given, options: options_before, files: &self.files };
        let now = Sight { given: &given, options: &options, files: &files };
        self.audit.note(&changes::entry(actor, sight, now));
        self.files = files;
        self.apply(InForce { settings, given: Arc::new(given), admin }, "Reloaded");
        Ok(())
    }

    /// Logs lines of at least this importance from now on, until the next reload.
    pub(super) fn set_log_level(&self, level: LogLevel) {
        self.log.set_level(level);
        tracing::warn!("Log lines from level {level} on are written now, until the next reload");
    }

    /// True when [`Self::look_at_files`] has files to check.
    pub(super) fn watches_files(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Reads certificates, keys, CAs and revocation lists again, once they have changed and stayed
    /// the same from one check to the next.
    pub(super) fn look_at_files(&mut self) {
        let before = self.current.borrow().clone();
        let options = &before.settings.options;
        if !self.watched.have_settled(options) {
            return;
        }
        let protocols =
            settings::protocols(options, Some(&before.settings)).map_err(Failure::usage);
        let read = protocols
            .and_then(|protocols| Ok((protocols, settings::admin(options, Some(&before.admin))?)));
        match read {
            Ok((protocols, admin)) => {
                let files = Files::of_certificates(options);
                self.audit.note(&changes::certificates(&self.files, &files));
                self.files.update(files);
                let settings = Settings { protocols, ..before.settings };
                let in_force = InForce { settings, admin, ..before };
                self.apply(in_force, "Certificates have changed: reloaded");
            }
            Err(error) => tracing::error!("Certificates not reloaded, the old stay: {error}"),
        }
    }

    fn apply(&mut self, in_force: InForce, words: &'static str) {
        let settings = in_force.settings.clone();
        self.current.send_replace(in_force);
        self.notices.reload(&settings, words);
    }
}

/// Checks that no listener has moved, and keeps the ports that the running ones have.
fn keep_endpoints(options: &mut Options, before: &Options) -> Result<(), Failure> {
    options.admin_listen = before.admin_listen;
    options.admin_socket = before.admin_socket.clone();
    options.metrics_listen = before.metrics_listen;
    let (listeners, before) = (&mut options.listeners, &before.listeners);
    let is_same = |(new, old): (&ListenerOptions, &ListenerOptions)| {
        new.scheme == old.scheme && new.endpoint.is_at(&old.endpoint)
    };
    if listeners.len() != before.len() || !listeners.iter().zip(before).all(is_same) {
        return Err(Failure::usage("the listeners have changed, which needs a restart"));
    }
    for (new, old) in listeners.iter_mut().zip(before) {
        new.endpoint = old.endpoint.clone();
    }
    Ok(())
}

/// The files of TLS, as the last check saw them.
#[derive(Debug)]
pub(super) struct Watched {
    files: Files,
    has_changed: bool,
}

impl Watched {
    pub(super) fn new(options: &Options) -> Self {
        Self { files: Files::of_certificates(options), has_changed: false }
    }

    /// True when no file is watched.
    fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// True once after a change, when two checks in a row saw the same.
    fn have_settled(&mut self, options: &Options) -> bool {
        let files = Files::of_certificates(options);
        if files != self.files {
            self.files = files;
            self.has_changed = true;
            return false;
        }
        std::mem::take(&mut self.has_changed)
    }
}
