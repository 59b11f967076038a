//! Topic names and topic filters: their levels, their wildcards, and which matches which.

use super::error::ProtocolError;
use super::reason::ReasonCode;

/// Checks a topic name: at least one character, and no wildcard.
///
/// # Errors
///
/// Topic name invalid.
pub fn check_topic_name(topic: &str) -> Result<(), ProtocolError> {
    let invalid = |cause| Err(ProtocolError::new(ReasonCode::TopicNameInvalid, cause));
    // [MQTT-4.7.3-1]
    if topic.is_empty() {
        return invalid("empty topic name");
    }
    // [MQTT-3.3.2-2] [MQTT-4.7.0-1]
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
        return invalid("wildcard in a topic name");
    }
    Ok(())
}

/// A filter as a subscription names it, split from its share name.
///
/// ```
/// use ringmq_mqtt::{TopicFilter, matches};
///
/// let shared = TopicFilter::parse("$share/workers/jobs/+", 200)?;
/// assert_eq!((shared.share_name, shared.filter), (Some("workers"), "jobs/+"));
/// assert!(matches(shared.filter, "jobs/7"));
/// # Ok::<(), ringmq_mqtt::ProtocolError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFilter<'a> {
    /// The whole filter as the subscription names it, its share name included.
    pub text: &'a str,
    /// The group that shares the subscription, if it is shared.
    pub share_name: Option<&'a str>,
    /// The filter itself, its wildcards checked.
    pub filter: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Parses `text`, which may have at most `levels_max` levels behind the share name.
    ///
    /// # Errors
    ///
    /// Topic filter invalid.
    pub fn parse(text: &'a str, levels_max: usize) -> Result<Self, ProtocolError> {
        let (share_name, filter) = split_share(text)?;
        check_filter(filter)?;
        if level_count(filter) > levels_max {
            return invalid("too many levels in a topic filter");
        }
        Ok(Self { text, share_name, filter })
    }

    /// Splits the `text` of a filter that was parsed before from its share name; nothing is checked
    /// again.
    #[must_use]
    pub fn parsed(text: &'a str) -> Self {
        match text.strip_prefix("$share/").and_then(|shared| shared.split_once('/')) {
            Some((share_name, filter)) => Self { text, share_name: Some(share_name), filter },
            None => Self { text, share_name: None, filter: text },
        }
    }

    /// Whether the filter can match more than one topic name.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.filter.contains(['+', '#'])
    }
}

fn invalid<T>(cause: &'static str) -> Result<T, ProtocolError> {
    Err(ProtocolError::new(ReasonCode::TopicFilterInvalid, cause))
}

fn split_share(text: &str) -> Result<(Option<&str>, &str), ProtocolError> {
    let Some(("$share", shared)) = text.split_once('/') else {
        // [MQTT-4.8.2-1]
        return if text == "$share" { invalid("no share name") } else { Ok((None, text)) };
    };
    // [MQTT-4.8.2-2]
    let Some((share_name, filter)) = shared.split_once('/') else {
        return invalid("no topic filter behind the share name");
    };
    // [MQTT-4.8.2-1]
    if share_name.is_empty() {
        return invalid("empty share name");
    }
    // [MQTT-4.8.2-2]
    if share_name.contains(['+', '#']) {
        return invalid("wildcard in a share name");
    }
    Ok((Some(share_name), filter))
}

fn check_filter(filter: &str) -> Result<(), ProtocolError> {
    // [MQTT-4.7.3-1]
    if filter.is_empty() {
        return invalid("empty topic filter");
    }
    let mut levels = levels(filter).peekable();
    while let Some(level) = levels.next() {
        // [MQTT-4.7.1-1]
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return invalid("# that is not the whole last level");
        }
        // [MQTT-4.7.1-2]
        if level.contains('+') && level != "+" {
            return invalid("+ that is not a whole level");
        }
    }
    Ok(())
}

/// The levels of a topic name or filter; at least one, and each may be empty.
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.split('/')
}

/// The number of levels of a topic name or filter: at least 1.
#[must_use]
pub fn level_count(topic: &str) -> usize {
    1 + topic.bytes().filter(|byte| *byte == b'/').count()
}

/// Whether `filter`, without share name and with its wildcards checked, matches `topic`.
///
/// The function reads section 4.7 plainly, one pair of strings at a time.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for level in levels(filter) {
        // It also stands for the parent level, so no name need be left: [MQTT-4.7.1-1].
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_7_1_filters() {
        for good in ["#", "+", "/", "a", "a/#", "+/+/#", "/+", "a//b", "$SYS/#", "$shared/g", " "] {
            assert!(TopicFilter::parse(good, 9).is_ok(), "{good}");
        }
        for bad in ["", "a#", "#a", "a/#/b", "#/", "##", "a/#b", "a+", "+a", "a/b+/c", "++", "+#"] {
            let error = TopicFilter::parse(bad, 9).expect_err(bad);
            assert_eq!(error.code, ReasonCode::TopicFilterInvalid, "{bad}");
        }
    }

    #[test]
    fn mqtt_4_8_2_share_names() {
        let parsed = TopicFilter::parse("$share/g/a/+", 2).expect("is shared");
        let whole = "$share/g/a/+";
        assert_eq!(parsed, TopicFilter { text: whole, share_name: Some("g"), filter: "a/+" });
        assert!(parsed.has_wildcards());
        let slash = TopicFilter::parse("$share/g//", 2).expect("is shared");
        assert_eq!(slash.filter, "/");
        let bad = ["$share", "$share/", "$share//t", "$share/g", "$share/g/", "$share/g+/t"];
        for bad in bad.into_iter().chain(["$share/+/t", "$share/#/t", "$share/g#/t", "$share/#"]) {
            assert!(TopicFilter::parse(bad, 9).is_err(), "{bad}");
        }
        assert!(TopicFilter::parse("$share/g/a/#/b", 9).is_err());
    }

    #[test]
    fn a_filter_that_was_parsed_is_split_alike() {
        for text in ["#", "a/+", "/", "$SYS/#", "$shared/g", "$share/g/a/+", "$share/g//", "$/g"] {
            assert_eq!(TopicFilter::parse(text, 9), Ok(TopicFilter::parsed(text)), "{text}");
        }
    }

    #[test]
    fn levels_are_limited() {
        assert!(TopicFilter::parse("a/b/c", 3).is_ok());
        assert!(TopicFilter::parse("a/b/c/", 3).is_err());
        assert!(TopicFilter::parse("$share/g/a/b/c", 3).is_ok());
        assert_eq!(level_count("/"), 2);
        assert_eq!(levels("/a/").collect::<Vec<_>>(), ["", "a", ""]);
    }

    #[test]
    fn mqtt_4_7_1_matches() {
        let yes = [("sport/#", "sport"), ("sport/#", "sport/a/b"), ("#", "/"), ("+", "a")];
        for (filter, topic) in yes.into_iter().chain([("+/+", "/finance"), ("/+", "/finance")]) {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        let no = [("sport/+", "sport"), ("+", "/finance"), ("a", "A"), ("a/b", "a"), ("a", "a/")];
        for (filter, topic) in no {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn mqtt_4_7_2_1_dollar() {
        assert!(!matches("#", "$SYS/a"));
        assert!(!matches("+/a", "$SYS/a"));
        assert!(matches("$SYS/#", "$SYS/a"));
        assert!(matches("a/+", "a/$b"));
    }

    #[test]
    fn mqtt_3_3_2_2_topic_names() {
        assert!(check_topic_name("a/$b/ /\u{FEFF}").is_ok());
        for bad in ["", "+", "a/#", "a+b"] {
            let error = check_topic_name(bad).expect_err(bad);
            assert_eq!(error.code, ReasonCode::TopicNameInvalid);
        }
    }
}
