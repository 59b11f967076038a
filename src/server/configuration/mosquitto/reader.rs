//! The lines of a file and of the files that it includes, each put where it belongs.
//!
//! A section is a listener: the lines between its `listener` line and the next. The lines above all
//! listeners are the section of the default listener, also in an included file. After an included
//! file, the section of its `include_dir` line goes on.

use super::super::source::{self, nearest, shown};
use super::table::{Kind, Meaning, meaning, names};
use crate::limits::{CONFIGURATION_FAULTS_MAX, CONFIGURATION_VALUES_MAX};
use crate::options::Wrong;
use std::path::{Path, PathBuf};

/// An option as the file has it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    /// The text behind the name; only its first word for a kind of one word.
    pub(super) value: String,
    /// The file and the line in it.
    pub(super) origin: String,
    /// The file, the line and the column of the value.
    pub(super) value_origin: String,
}

/// A listener, or a bridge.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// The line that begins it; None for the default listener.
    pub(super) listener: Option<Line>,
    pub(super) lines: Vec<Line>,
}

/// Everything in the files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The sections, that of the default listener first.
    pub(super) sections: Vec<Section>,
    /// Lines about access that count for all listeners.
    pub(super) security: Vec<Line>,
    /// Lines that count for the broker.
    pub(super) broker: Vec<Line>,
    /// Whether each section has its own lines about access.
    pub(super) is_per_listener: bool,
    /// The bridges: the line that begins each, and the lines that describe it.
    pub(super) bridges: Vec<Section>,
    pub(super) wrong: Vec<Wrong>,
    pub(super) warnings: Vec<Wrong>,
    /// The kinds of refused sections that have begun.
    refused: Vec<String>,
    /// Lines read so far that are neither empty nor comments.
    lines: usize,
}

impl Line {
    fn wrong(&self, cause: impl std::fmt::Display) -> Wrong {
        Wrong::new(&self.origin, cause)
    }

    /// True when the value begins with one of these words.
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        self.value.split_whitespace().next().is_some_and(|word| words.contains(&word))
    }

    /// A boolean's value.
    pub(super) fn is_true(&self) -> bool {
        self.is_any(&["true", "1"])
    }
}

/// The last line in `lines` with one of these names.
pub(super) fn last<'a>(lines: &'a [Line], name: &str) -> Option<&'a Line> {
    lines.iter().rfind(|line| line.name == name)
}

impl Files {
    /// Reads a file's text.
    pub(super) fn read(path: &Path, text: &str) -> Self {
        let mut files = Self { sections: vec![Section::default()], ..Self::default() };
        files.read_text(path, text, true);
        files
    }

    fn read_text(&mut self, path: &Path, text: &str, is_main: bool) {
        let mut section = 0;
        for (index, text) in text.lines().enumerate() {
            let Some(line) = split(path, index + 1, text) else { continue };
            if self.is_over(&line) {
                return;
            }
            match line.name.as_str() {
                "listener" => {
                    self.sections.push(Section { listener: Some(line), lines: Vec::new() });
                    section = self.sections.len() - 1;
                }
                "connection" => {
                    self.bridges.push(Section { listener: Some(line), lines: Vec::new() });
                }
                "include_dir" if is_main => self.include(&line),
                "include_dir" => self.warn(&line, "only the main file includes others"),
                _ => self.take(line, section),
            }
        }
    }

    /// True when no more lines are read: a file of another format has countless faults, and the
    /// first are enough.
    fn is_over(&mut self, line: &Line) -> bool {
        let faults = self.wrong.len();
        self.lines += 1;
        if faults == CONFIGURATION_FAULTS_MAX {
            self.wrong.push(line.wrong("from here on nothing is read; correct the others first"));
        } else if faults < CONFIGURATION_FAULTS_MAX && self.lines > CONFIGURATION_VALUES_MAX {
            let cause = format!("the files have more than {CONFIGURATION_VALUES_MAX} lines");
            self.wrong.push(line.wrong(cause));
            return true;
        }
        faults >= CONFIGURATION_FAULTS_MAX || self.lines > CONFIGURATION_VALUES_MAX
    }

    fn take(&mut self, mut line: Line, section: usize) {
        let Some(meaning) = meaning(&line.name) else { return self.refuse_unknown(&line) };
        if let Meaning::Listener(kind) | Meaning::Security(kind) | Meaning::Broker(kind) = meaning
            && let Err(wrong) = check(&mut line, kind)
        {
            self.wrong.push(wrong);
            return;
        }
        match meaning {
            Meaning::Structure => self.settle_scope(&line),
            Meaning::Listener(kind) => self.put(line, kind, section),
            Meaning::Security(kind) if self.is_per_listener => self.put(line, kind, section),
            Meaning::Security(kind) => {
                if kind == Kind::Text && last(&self.security, &line.name).is_some() {
                    return self.refuse_repeated(&line);
                }
                self.security.push(line);
            }
            Meaning::Broker(_) => self.broker.push(line),
            Meaning::Bridge => match self.bridges.last_mut() {
                Some(bridge) => bridge.lines.push(line),
                None => {
                    let name = &line.name;
                    let cause = format!("{name} describes a bridge, and there is none above it");
                    self.wrong.push(line.wrong(cause));
                }
            },
            Meaning::Ignored(unless, why) if !line.is_any(unless) => self.warn(&line, why),
            Meaning::Refused(unless, fix) if !line.is_any(unless) => self.refuse(&line, fix),
            Meaning::Part(of) => self.take_part(&line, of),
            Meaning::Ignored(..) | Meaning::Refused(..) => {}
        }
    }

    fn put(&mut self, line: Line, kind: Kind, section: usize) {
        let is_default = matches!(&*line.name, "port" | "bind_address");
        let lines = &mut self.sections[if is_default { 0 } else { section }].lines;
        if kind == Kind::Text && last(lines, &line.name).is_some() {
            return self.refuse_repeated(&line);
        }
        lines.push(line);
    }

    /// Reads `per_listener_settings`, which stays true once it is true.
    fn settle_scope(&mut self, line: &Line) {
        let mut line = line.clone();
        if let Err(wrong) = check(&mut line, Kind::Boolean) {
            self.wrong.push(wrong);
        } else if line.is_true() && !self.security.is_empty() {
            let fix = "per_listener_settings has to stand above all lines about access";
            self.wrong.push(line.wrong(fix));
        } else {
            self.is_per_listener |= line.is_true();
        }
    }

    /// Takes a line of a plugin. The beginning of that section was refused already, or
    /// is missing.
    fn take_part(&mut self, line: &Line, of: &str) {
        if !self.refused.iter().any(|refused| refused.contains(of)) {
            let cause = format!("{} belongs to a {of}, and there is none above it", line.name);
            self.wrong.push(line.wrong(cause));
        }
    }

    fn include(&mut self, line: &Line) {
        let files = match conf_files(Path::new(&line.value)) {
            Ok(files) if !line.value.is_empty() => files,
            Ok(_) => return self.wrong.push(line.wrong("include_dir names no folder")),
            Err(error) => {
                let cause = format!("include_dir: cannot read {}: {error}", line.value);
                return self.wrong.push(line.wrong(cause));
            }
        };
        for file in files {
            if self.wrong.len() > CONFIGURATION_FAULTS_MAX {
                return;
            }
            match source::read(&file) {
                Ok(text) => self.read_text(&file, &text, false),
                Err(wrong) => self.wrong.push(wrong),
            }
        }
    }

    fn warn(&mut self, line: &Line, why: &str) {
        if self.warnings.len() >= CONFIGURATION_FAULTS_MAX {
            return;
        }
        let cause = format!("{} has no counterpart and is ignored: {why}", line.name);
        self.warnings.push(line.wrong(cause));
    }

    fn refuse(&mut self, line: &Line, fix: &str) {
        if !self.refused.contains(&line.name) {
            self.refused.push(line.name.clone());
        }
        self.wrong.push(line.wrong(format!("{}: {fix}", line.name)));
    }

    fn refuse_repeated(&mut self, line: &Line) {
        self.wrong.push(line.wrong(format!("{} is given twice; keep one of them", line.name)));
    }

    fn refuse_unknown(&mut self, line: &Line) {
        let fix = match nearest(&line.name, names()) {
            Some(known) => format!("did you mean {known}?"),
            None => "correct or remove it".to_owned(),
        };
        let name = shown(&line.name);
        self.wrong.push(line.wrong(format!("{name} is no option of Mosquitto; {fix}")));
    }
}

/// Splits a line into name and value; None for an empty line or a comment.
fn split(path: &Path, number: usize, text: &str) -> Option<Line> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return None;
    }
    let (name, value) = trimmed.split_once([' ', '\t']).unwrap_or((trimmed, ""));
    let value = value.trim();
    let start = text.trim_end().len() - value.len();
    let column = |offset: usize| text[..offset].chars().count() + 1;
    let path = path.display();
    let name_start = text.len() - text.trim_start().len();
    Some(Line {
        name: name.to_owned(),
        value: value.to_owned(),
        origin: format!("{path}:{number}:{}", column(name_start)),
        value_origin: format!("{path}:{number}:{}", column(start)),
    })
}

/// Cuts the value to its kind, or describes the values that were expected.
fn check(line: &mut Line, kind: Kind) -> Result<(), Wrong> {
    let name = &line.name;
    let refused = |cause: String| Err(Wrong::new(&line.value_origin, cause));
    let Some(word) = line.value.split_whitespace().next() else {
        return refused(format!("{name} has no value"));
    };
    let is_right = match kind {
        Kind::Boolean => matches!(word, "true" | "false" | "1" | "0"),
        Kind::Number => word.parse::<i64>().is_ok(),
        Kind::Word | Kind::Text | Kind::Texts => true,
    };
    if !is_right {
        let expected = if kind == Kind::Boolean { "true or false" } else { "a number" };
        return refused(format!("{name}: {word:?} is not {expected}"));
    }
    if matches!(kind, Kind::Boolean | Kind::Number | Kind::Word) {
        line.value = word.to_owned();
    }
    Ok(())
}

/// The files in `folder` whose names end in `.conf`, upper case before lower case letter by letter.
fn conf_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.len() > ".conf".len() && name.ends_with(".conf") && path.is_file() {
            files.push(path);
        }
    }
    let key = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.chars().map(|c| (c.to_ascii_lowercase(), c)).collect::<Vec<_>>()
    };
    files.sort_by_cached_key(key);
    Ok(files)
}
