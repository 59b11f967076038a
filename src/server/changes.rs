//! The changes that a reload brings, for the audit log: options with their values, and the files
//! whose contents are others now.

use crate::audit::Entry;
use crate::options::{Given, OPTIONS, OptionDef, Options};
use crate::transport::certificate_files;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Listeners and files that one entry names; the others are left out.
const NAMED_MAX: usize = 50;

/// Device, inode, size and time of change; None for a missing file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Tells whether a file has changed.
fn stamp(file: &Path) -> Stamp {
    let file = std::fs::metadata(file).ok()?;
    Some((file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
}

/// Files that the options of listeners name, as they were when they were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Stamp>);

impl Files {
    /// The paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// All files of the listeners.
    pub(super) fn of(options: &Options) -> Self {
        let mut files = Self::of_certificates(options);
        for listener in &options.listeners {
            let named = [&listener.password_file, &listener.acl_file, &listener.jwt_key_file];
            named.into_iter().flatten().for_each(|file| files.add(file.clone()));
        }
        options.admin_token_file.iter().for_each(|file| files.add(file.clone()));
        files
    }

    /// The files of TLS.
    pub(super) fn of_certificates(options: &Options) -> Self {
        let mut files = Self(BTreeMap::new());
        for listener in options.listeners.iter().filter(|listener| listener.scheme.has_tls()) {
            let lists = [&listener.tls_cert, &listener.tls_key, &listener.tls_crl];
            let folders = [&listener.tls_chain, &listener.tls_client_ca];
            let in_folders = folders.into_iter().flatten().flat_map(|path| certificate_files(path));
            let named = lists.into_iter().flatten().cloned().chain(in_folders);
            named.for_each(|file| files.add(file));
        }
        let admin = [&options.admin_tls_cert, &options.admin_tls_key, &options.admin_client_ca];
        admin.into_iter().flatten().for_each(|file| files.add(file.clone()));
        files
    }

    fn add(&mut self, file: PathBuf) {
        let stamp = stamp(&file);
        self.0.insert(file, stamp);
    }

    /// Takes over what newer ones say of the files that they have.
    pub(super) fn update(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of those that are others than before.
    fn changed_since(&self, before: &Self) -> Value {
        let is_new = |(path, stamp): &(&PathBuf, &Stamp)| before.0.get(*path) != Some(*stamp);
        let changed = self.0.iter().filter(is_new).take(NAMED_MAX);
        changed.map(|(path, _)| Entry::cut(&path.display().to_string())).collect()
    }
}

/// The entry of a reload of the files of certificates alone, since they have changed.
pub(super) fn certificates(before: &Files, now: &Files) -> Entry {
    let entry = Entry::new("reload").text("actor", "the files of certificates");
    entry.value("files", &now.changed_since(before))
}

/// The settings of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) given: &'a Given,
    pub(super) options: &'a Options,
    pub(super) files: &'a Files,
}

/// The entry of a reload for `actor`. Values that may have a secret in them are not told.
pub(super) fn entry(actor: &str, before: Sight<'_>, now: Sight<'_>) -> Entry {
    let differs = |option: &&OptionDef| !now.given.agrees_with(before.given, option);
    let (taken, later): (Vec<_>, Vec<_>) =
        OPTIONS.iter().filter(differs).partition(|option| option.is_reloaded);
    let change = |option: &OptionDef| match option.value_name {
        "URL" => json!({"option": option.name}),
        _ => {
            let shown = |sight: Sight<'_>| Entry::cut(&sight.given.shown(option));
            json!({"option": option.name, "from": shown(before), "to": shown(now)})
        }
    };
    let pairs = now.options.listeners.iter().zip(&before.options.listeners);
    let listeners = pairs.filter(|(now, before)| now != before).take(NAMED_MAX);
    let listeners = listeners.map(|(now, _)| Entry::cut(&now.to_string()));
    Entry::new("reload")
        .text("actor", actor)
        .value("options", &taken.into_iter().map(change).collect())
        .value("at_next_start", &later.into_iter().map(|option| option.name).collect())
        .value("listeners", &listeners.collect())
        .value("files", &now.files.changed_since(before.files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Value as GivenValue, find_option};

    fn given(values: &[(&str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, value) in values {
            given.add(find_option(name).unwrap(), [GivenValue::new(*value, *name)]);
        }
        given
    }

    #[test]
    fn a_reload_tells_what_has_changed_and_no_secret() {
        let file = std::env::temp_dir().join(format!("ringmq-changes-{}", std::process::id()));
        std::fs::write(&file, "one").unwrap();
        let path = file.to_str().unwrap();
        let url = "http://name:hidden@localhost/";
        let before = given(&[("acl-file", path), ("workers", "1")]);
        let now = given(&[("acl-file", path), ("max-inflight", "9"), ("http-auth-url", url)]);
        let options = [&before, &now].map(|given| Options::build(given).unwrap());
        let old_files = Files::of(&options[0]);
        std::fs::write(&file, "another").unwrap();
        let new_files = Files::of(&options[1]);
        std::fs::remove_file(&file).unwrap();
        let before = Sight { given: &before, options: &options[0], files: &old_files };
        let now = Sight { given: &now, options: &options[1], files: &new_files };
        let text = format!("{{{}}}", entry("ops", before, now).fields());
        let entry: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "event": "reload",
            "actor": "ops",
            "options": [
                {"option": "http-auth-url"},
                {"option": "max-inflight", "from": "256", "to": "9"},
            ],
            "at_next_start": ["workers"],
            "listeners": options[0].listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "files": [path],
        });
        assert_eq!(entry, expected);
    }
}
