//! New settings for a running broker: all of them or none.

use super::audit::Audit;
use super::authentication::Desk;
use super::changes::{self, Files, Sight};
use super::configuration::Configuration;
use super::failure::Failure;
use super::logging::Log;
use super::settings;
use super::start::Notices;
use crate::audit::Entry;
use crate::base::causes;
use crate::options::{Given, ListenerOptions, OPTIONS, Options};
use crate::worker::Settings;
use std::sync::Arc;
use tokio::sync::watch;

/// The settings of a running broker, and the parts that a change reaches.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) configuration: Configuration,
    /// The last given values.
    pub(super) given: Given,
    pub(super) settings: Settings,
    /// The same, for those who observe.
    pub(super) current: watch::Sender<Settings>,
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
        self.audit.reopen();
        self.reload("SIGHUP");
    }

    /// Reads all files again: the configuration file, and every file that it names. The audit log
    /// says for whom.
    pub(super) fn reload(&mut self, actor: &str) {
        if let Err(cause) = self.read(actor) {
            tracing::error!("Not reloaded, the old settings stay: {cause}");
            let entry = Entry::new("reload_refused").text("actor", actor);
            self.audit.note(&entry.text("cause", &cause.to_string()));
        }
    }

    fn read(&mut self, actor: &str) -> Result<(), Failure> {
        let given = self.configuration.read()?;
        let mut options = Options::build(&given).map_err(Failure::usage)?;
        keep_endpoints(&mut options.listeners, &self.settings.options.listeners)?;
        for option in OPTIONS.iter().filter(|option| !option.is_reloaded) {
            if !given.agrees_with(&self.given, option) {
                tracing::warn!("{} has changed, which takes effect at the next start", option.name);
            }
        }
        let options = Arc::new(options);
        // A file that changes while it is read is found changed at the next look.
        let (watched, files) = (Watched::new(&options), Files::of(&options));
        let settings = settings::load(&options, Some(&self.settings))?;
        self.watched = watched;
        self.log.set_level(options.log_level);
        self.desk.set_policies(Arc::clone(&settings.policies));
        self.audit.reload(&options);
        let options_before = &*self.settings.options;
        let before = Sight { given: &self.given, options: options_before, files: &self.files };
        let now = Sight { given: &given, options: &options, files: &files };
        self.audit.note(&changes::entry(actor, before, now));
        self.files = files;
        self.given = given;
        self.apply(settings, "Reloaded");
        Ok(())
    }

    /// True when [`Self::look_at_files`] has files to check.
    pub(super) fn watches_files(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Reads certificates, keys, CAs and revocation lists again, once they have changed and stayed
    /// the same from one check to the next.
    pub(super) fn look_at_files(&mut self) {
        if !self.watched.have_settled(&self.settings.options) {
            return;
        }
        match settings::protocols(&self.settings.options, Some(&self.settings)) {
            Ok(protocols) => {
                let settings = Settings { protocols, ..self.settings.clone() };
                let files = Files::of_certificates(&self.settings.options);
                self.audit.note(&changes::certificates(&self.files, &files));
                self.files.update(files);
                self.apply(settings, "Certificates have changed: reloaded");
            }
            Err(error) => {
                let error = causes::line(&error);
                tracing::error!("Certificates not reloaded, the old stay: {error}");
            }
        }
    }

    fn apply(&mut self, settings: Settings, words: &'static str) {
        self.current.send_replace(settings.clone());
        self.settings = settings;
        self.notices.reload(&self.settings, words);
    }
}

/// Checks that no listener has moved, and keeps the ports that the running listeners have.
fn keep_endpoints(
    listeners: &mut [ListenerOptions],
    before: &[ListenerOptions],
) -> Result<(), Failure> {
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
