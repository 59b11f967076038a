//! Settings that change nothing, though their author relies on them.

use crate::options::{Durability, Given, OPTIONS, Options};
use std::env;

/// Variables of the program that are no options: the configuration file, and what commands read.
const OTHERS: [&str; 3] = ["RINGMQ_CONFIG", "RINGMQ_ADMIN", "RINGMQ_ADMIN_TOKEN"];

/// Warns of variables that no option has, and of options that need another one.
pub(super) fn warn(given: &Given, options: &Options) {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for line in unknown(names).chain(idle(given, options)) {
        tracing::warn!("{line}");
    }
}

/// Lines about variables whose names are like those of options.
fn unknown(names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let known: Vec<String> = OPTIONS.iter().map(|option| option.variable()).collect();
    let is_unknown = move |name: &String| {
        name.starts_with("RINGMQ_") && !known.contains(name) && !OTHERS.contains(&&**name)
    };
    names.filter(is_unknown).map(|name| {
        let near = OPTIONS.iter().map(|option| option.variable());
        let near = near.map(|known| (strsim::damerau_levenshtein(&known, &name), known)).min();
        let hint = near.filter(|(distance, _)| *distance <= 3);
        let hint = hint.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
        format!("The variable {name} is no option's and is ignored{hint}")
    })
}

/// Lines about options that need another one.
fn idle(given: &Given, options: &Options) -> impl Iterator<Item = String> {
    let in_memory = options.data_dir.is_none();
    let needs = [
        ("durability", in_memory, "--data-dir"),
        (
            "durability-interval-ms",
            in_memory || options.durability == Durability::Commit,
            "--data-dir and --durability interval",
        ),
        ("audit-log-max-bytes", options.audit_log.is_none(), "--audit-log"),
        ("audit-log-keep", options.audit_log.is_none(), "--audit-log"),
        ("admin-token-file", options.admin_listen.is_none(), "--admin-listen"),
    ];
    let idle = needs.into_iter().filter(|(name, lacks, _)| *lacks && given.has(name));
    let lines: Vec<String> =
        idle.map(|(name, _, other)| format!("--{name} changes nothing without {other}")).collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Value, find_option};

    #[test]
    fn variables_that_no_option_has_are_told_with_the_nearest() {
        let names = ["PATH", "RINGMQ_CONFIG", "RINGMQ_LISTEN", "RINGMQ_LISTN", "RINGMQ_WHATEVER"];
        let lines: Vec<String> = unknown(names.map(str::to_owned).into_iter()).collect();
        assert_eq!(
            lines,
            [
                "The variable RINGMQ_LISTN is no option's and is ignored; did you mean \
                 RINGMQ_LISTEN?",
                "The variable RINGMQ_WHATEVER is no option's and is ignored",
            ]
        );
    }

    #[test]
    fn options_that_need_another_one_are_told() {
        let told = |values: &[(&str, &str)]| -> Vec<String> {
            let mut given = Given::default();
            for (name, value) in values {
                given.add(find_option(name).unwrap(), [Value::new(*value, "here")]);
            }
            let options = Options::build(&given).unwrap();
            idle(&given, &options).collect()
        };
        let without = ["--durability changes nothing without --data-dir"];
        assert_eq!(told(&[("durability", "none")]), without);
        assert_eq!(told(&[("durability", "none"), ("data-dir", "/a")]), [""; 0]);
        let interval = told(&[("durability-interval-ms", "5"), ("data-dir", "/a")]);
        assert!(interval[0].ends_with("--durability interval"), "{interval:?}");
        assert_eq!(told(&[]), [""; 0]);
    }
}
