//! ACL files: what they refuse, and that rules mean what a naive reading of them says.

use super::{acl_policy, identity};
use proptest::prelude::*;
use ringmq::access::{Grants, Reach};
use ringmq::mqtt::matches;
use std::sync::Arc;

fn grants(text: &str, client_id: &str, user: Option<&str>) -> Arc<Grants> {
    let policy = acl_policy(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    policy.grants(&identity(client_id, user)).expect("there is an ACL file")
}

#[test]
fn users_patterns_and_anonymous_clients_have_their_own_rules() {
    let text = "# a comment\n\
        topic read public/#\n\
        \n\
        user Alice Cooper\n\
        topic sensors/#\n\
        topic deny sensors/secret\n\
        topic write with space/+/x\n\
        user bob\n\
        topic read sensors/#\n\
        pattern readwrite devices/%c/#\n\
        pattern read users/%u/inbox\n\
        user Alice Cooper\n\
        \ttopic read  later \n";
    let alice = grants(text, "c1", Some("Alice Cooper"));
    assert!(alice.may_write("sensors/a") && alice.may_read("sensors/a"));
    assert!(!alice.may_write("sensors/secret") && !alice.may_read("sensors/secret"));
    assert!(alice.may_write("with space/y/x") && !alice.may_read("with space/y/x"));
    assert!(alice.may_read("later") && !alice.may_read("public/a"));
    assert!(alice.may_read("users/Alice Cooper/inbox") && !alice.may_read("users/bob/inbox"));
    let bob = grants(text, "c2", Some("bob"));
    assert!(bob.may_read("sensors/secret") && !bob.may_write("sensors/a"));
    assert!(bob.may_write("devices/c2") && !bob.may_write("devices/c1"));
    let nobody = grants(text, "c3", None);
    assert!(nobody.may_read("public/a") && !nobody.may_write("public/a"));
    assert!(nobody.may_write("devices/c3/x") && !nobody.may_read("users//inbox"));
    let other = grants(text, "c4", Some("carol"));
    assert!(!other.may_read("public/a") && other.may_read("users/carol/inbox"));
}

#[test]
fn clients_with_the_same_rules_share_them() {
    let policy = acl_policy("topic a\nuser u\ntopic b\npattern read users/%u\n").unwrap();
    let of = |client_id, user| policy.grants(&identity(client_id, user)).unwrap();
    assert!(Arc::ptr_eq(&of("1", Some("u")), &of("2", Some("u"))));
    assert!(Arc::ptr_eq(&of("1", None), &of("2", None)));
    assert!(!Arc::ptr_eq(&of("1", Some("x")), &of("1", Some("y"))));
    assert!(of("1", Some("x")).may_read("users/x") && !of("1", Some("x")).may_read("users/y"));
    let policy = acl_policy("user u\ntopic b\n").unwrap();
    let of = |client_id, user| policy.grants(&identity(client_id, user)).unwrap();
    assert!(Arc::ptr_eq(&of("1", Some("x")), &of("1", Some("y"))));
}

#[test]
fn v18_an_empty_file_denies_everything() {
    for text in ["", "\n", "# nothing\n\n", "user a\n"] {
        for user in [None, Some("a"), Some("b")] {
            let grants = grants(text, "c", user);
            assert!(!grants.may_read("t") && !grants.may_write("t"), "{text:?}");
            assert_eq!(grants.reach("#"), Reach::None);
        }
    }
    let policy = ringmq::testing::open_policy();
    assert!(policy.grants(&identity("c", None)).is_none());
}

#[test]
fn v18_a_wrong_line_refuses_the_file_and_is_named() {
    let wrong = [
        ("topics a", "correct the first word"),
        ("user", "no name"),
        ("user  ", "no name"),
        ("topic", "neither"),
        ("topic read", "no topic"),
        ("topic deny", "no topic"),
        ("topic maybe a", "neither read"),
        ("topic a/#/b", "#"),
        ("topic a+", "+"),
        ("topic read $share/g/a", "$share"),
        ("pattern read a-%c", "whole levels"),
        ("pattern read a/%u%c/b", "whole levels"),
        ("topic read a\0b", "control"),
        ("topic read a\u{1b}[0m", "control"),
    ];
    for (line, cause) in wrong {
        let error = acl_policy(&format!("user a\n\n{line}\ntopic read b\n")).unwrap_err();
        assert!(error.contains("line 3: ") && !error.contains('\n'), "{line}: {error}");
        assert!(error.contains(cause) || line == "topic", "{line}: {error}");
    }
    let error = acl_policy("user a\ntopic read sens").unwrap_err();
    assert!(error.contains("line 2") && error.contains("ends within"), "{error}");
    let folder = super::Folder::new();
    let load = |path| {
        let acl_file = Some(path);
        super::load(&ringmq::access::Sources { acl_file, ..Default::default() })
    };
    let error = load(folder.write("acl", b"user a\n# \xff\n")).unwrap_err();
    assert!(error.contains("line 2") && error.contains("UTF-8"), "{error}");
    let error = load(folder.path().join("missing")).unwrap_err();
    assert!(error.contains("missing") && error.contains("No such file"), "{error}");
    assert!(load(folder.path().to_owned()).is_err(), "a folder");
}

#[test]
fn v18_no_cut_within_a_line_is_taken() {
    let text = "user a\ntopic read a/#\ntopic deny a/b\npattern write %c/#\n";
    for end in 1..text.len() {
        let is_whole = text.as_bytes()[end - 1] == b'\n';
        assert_eq!(acl_policy(&text[..end]).is_ok(), is_whole, "{:?}", &text[..end]);
    }
}

#[test]
fn wildcards_do_not_cover_topics_with_a_dollar() {
    let text = "topic #\ntopic read +/broker\npattern %c/#\n";
    let client = grants(text, "$SYS", None);
    assert!(client.may_read("a/broker") && !client.may_read("$SYS/broker"));
    assert!(!client.may_write("$SYS/x"));
    assert_eq!(client.reach("$SYS/#"), Reach::None);
    assert_eq!(client.reach("#"), Reach::All);
    let client = grants("topic read $SYS/#\n", "c", None);
    assert!(client.may_read("$SYS/broker") && !client.may_read("a"));
    assert_eq!(client.reach("$SYS/+"), Reach::All);
    assert_eq!(client.reach("#"), Reach::None);
    assert_eq!(client.reach("+/broker"), Reach::None);
}

#[test]
fn v1_deep_topics_and_filters_need_no_stack() {
    let deep = "/".repeat(65_535);
    let text = format!("topic {deep}\ntopic deny /{deep}\npattern {deep}%c\n");
    let check = move || {
        let client = grants(&text, "c", None);
        assert!(client.may_write(&deep) && client.may_read(&format!("{deep}c")));
        assert!(!client.may_read(&format!("/{deep}")));
        assert_eq!(client.reach(&deep), Reach::All);
        assert_eq!(client.reach(&format!("{deep}#")), Reach::Part);
    };
    std::thread::Builder::new().stack_size(128 * 1024).spawn(check).unwrap().join().unwrap();
}

/// An identifier that cannot be a level grants nothing, and a denial that speaks of it holds for
/// everything that comes after it.
#[test]
fn v15_identifiers_that_are_no_level() {
    for id in ["+", "#", "a/b", "/", "a+", "#a", ""] {
        let text = "pattern devices/%c\npattern devices/%c/x\npattern read free\n";
        let client = grants(text, id, None);
        for topic in ["devices/a", "devices/a/b", "devices/", "devices//", "devices/+", "devices"] {
            assert!(!client.may_write(topic) && !client.may_read(topic), "{id} {topic}");
        }
        assert!(client.may_read("free"));
        assert_eq!(client.reach("devices/#"), Reach::None);
        let client = grants("pattern #\npattern deny private/%c/#\n", id, None);
        assert!(!client.may_read("anything"), "{id}");
        assert_eq!(client.reach("#"), Reach::None);
        let client = grants("topic own\npattern deny private/%u/#\npattern #\n", "c", None);
        assert!(client.may_read("private/x"), "without a name the denial is nobody's");
    }
}

/// What a line of the file says.
#[derive(Debug, Clone)]
struct Line {
    keyword: &'static str,
    access: &'static str,
    filter: String,
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "$s", "+", "%c", "%u"])
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(level(), 1..4);
    (levels, any::<bool>()).prop_filter_map("not empty", |(mut levels, is_open)| {
        if is_open {
            levels.push("#");
        }
        let filter = levels.join("/");
        (!filter.is_empty()).then_some(filter)
    })
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let keyword = prop::sample::select(vec!["topic", "topic", "pattern"]);
    let access = prop::sample::select(vec!["read", "write", "readwrite", "deny"]);
    let line = (keyword, access, filter());
    prop::collection::vec(
        line.prop_map(|(keyword, access, filter)| Line { keyword, access, filter }),
        0..6,
    )
}

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| format!("{} {} {}\n", line.keyword, line.access, line.filter);
    format!("user u\n{}", lines.iter().map(line).collect::<String>())
}

/// Mosquitto's reading: own rules before patterns, denials first, identifiers put in as text.
fn oracle(lines: &[Line], client_id: &str, action: &str, topic: &str) -> bool {
    for keyword in ["topic", "pattern"] {
        for is_denial in [true, false] {
            for line in lines.iter().filter(|line| line.keyword == keyword) {
                if (line.access == "deny") != is_denial {
                    continue;
                }
                let level = |level| match level {
                    "%c" if keyword == "pattern" => client_id,
                    "%u" if keyword == "pattern" => "u",
                    _ => level,
                };
                let filter = line.filter.split('/').map(level).collect::<Vec<_>>().join("/");
                if matches(&filter, topic) && is_denial {
                    return false;
                }
                if matches(&filter, topic) && line.access.contains(action) {
                    return true;
                }
            }
        }
    }
    false
}

/// Every topic of up to four levels that the filters above can tell apart.
fn topics() -> Vec<String> {
    let levels = ["a", "b", "", "$s", "u", "c", "%c"];
    let mut all: Vec<String> = levels.iter().map(ToString::to_string).collect();
    let mut last = all.clone();
    for _ in 0..3 {
        last = last.iter().flat_map(|head| levels.map(|level| format!("{head}/{level}"))).collect();
        all.extend_from_slice(&last);
    }
    all.retain(|topic| !topic.is_empty());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rules_mean_what_a_naive_reading_says(lines in lines()) {
        let client = grants(&text(&lines), "c", Some("u"));
        for topic in topics() {
            let (reads, writes) = (client.may_read(&topic), client.may_write(&topic));
            prop_assert_eq!(reads, oracle(&lines, "c", "read", &topic), "{}", topic);
            prop_assert_eq!(writes, oracle(&lines, "c", "write", &topic), "{}", topic);
        }
    }

    #[test]
    fn reach_is_certain_where_it_says_so(
        lines in lines(),
        filters in prop::collection::vec(filter(), 8),
    ) {
        let client = grants(&text(&lines), "c", Some("u"));
        let topics = topics();
        for filter in filters {
            let matching: Vec<_> = topics.iter().filter(|topic| matches(&filter, topic)).collect();
            let readable = matching.iter().filter(|topic| client.may_read(topic)).count();
            match client.reach(&filter) {
                Reach::All => prop_assert_eq!(readable, matching.len(), "{}", filter),
                Reach::None => prop_assert_eq!(readable, 0, "{}", filter),
                // Without wildcards there is one topic, and nothing to be unsure of.
                Reach::Part => prop_assert!(filter.contains(['+', '#']), "{}", filter),
            }
        }
    }

    #[test]
    fn v15_an_identifier_is_always_one_literal_level(
        id in "[ab+#/$%cu]{0,5}",
        topic in "[ab$%cu/]{1,9}",
    ) {
        let text = "user x\npattern %c/#\npattern devices/%u/#\npattern %c\n";
        for (client_id, user) in [(&*id, "x"), ("x", &*id)] {
            let client = grants(text, client_id, Some(user));
            for topic in [topic.clone(), format!("devices/{topic}"), format!("x/{topic}")] {
                if client.may_write(&topic) {
                    let mut levels = topic.split('/');
                    let first = levels.next();
                    let is_own = first == Some(client_id);
                    prop_assert!(is_own || first == Some("devices") && levels.next() == Some(user));
                    prop_assert!(!topic.starts_with('$'));
                }
            }
        }
    }
}
