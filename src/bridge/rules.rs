//! The topics that a bridge carries, and their names on the other side.

use crate::mqtt::matches;
use crate::options::BridgeTopic;

/// The rules of a bridge, in their order: the first one that fits a topic decides.
#[derive(Debug, Clone)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    is_out: bool,
    is_in: bool,
    qos: u8,
    local: Side,
    remote: Side,
}

/// One side of a rule.
#[derive(Debug, Clone)]
struct Side {
    prefix: String,
    /// The prefix and the pattern behind it: a topic filter.
    filter: String,
}

impl Rules {
    /// The rules in the order of the options.
    #[must_use]
    pub(crate) fn new(topics: &[BridgeTopic]) -> Self {
        let side = |prefix: &str, topic: &BridgeTopic| Side {
            prefix: prefix.to_owned(),
            filter: format!("{prefix}{}", topic.pattern),
        };
        let rule = |topic: &BridgeTopic| Rule {
            is_out: topic.is_out,
            is_in: topic.is_in,
            qos: topic.qos,
            local: side(&topic.local_prefix, topic),
            remote: side(&topic.remote_prefix, topic),
        };
        Self(topics.iter().map(rule).collect())
    }

    /// The filters that the bridge subscribes to here, and their QoS: what goes out.
    pub(crate) fn local_filters(&self) -> impl Iterator<Item = (&str, u8)> {
        let out = self.0.iter().filter(|rule| rule.is_out);
        out.map(|rule| (&*rule.local.filter, rule.qos))
    }

    /// The filters that the bridge subscribes to there, and their QoS: what comes in.
    pub(crate) fn remote_filters(&self) -> impl Iterator<Item = (&str, u8)> {
        let incoming = self.0.iter().filter(|rule| rule.is_in);
        incoming.map(|rule| (&*rule.remote.filter, rule.qos))
    }

    /// The name there of a topic here; None when no rule lets it out.
    #[must_use]
    pub(crate) fn outward(&self, topic: &str) -> Option<String> {
        let mut out = self.0.iter().filter(|rule| rule.is_out);
        out.find_map(|rule| translate(topic, &rule.local, &rule.remote))
    }

    /// The name here of a topic there; None when no rule lets it in.
    #[must_use]
    pub(crate) fn inward(&self, topic: &str) -> Option<String> {
        let mut incoming = self.0.iter().filter(|rule| rule.is_in);
        incoming.find_map(|rule| translate(topic, &rule.remote, &rule.local))
    }

    /// The bytes by which a topic becomes longer on its way out, and on its way in, at most.
    #[must_use]
    pub(crate) fn growth_max(&self) -> (usize, usize) {
        let lengths = self.0.iter().map(|rule| (rule.local.prefix.len(), rule.remote.prefix.len()));
        lengths.fold((0, 0), |(out, inward), (local, remote)| {
            (out.max(remote.saturating_sub(local)), inward.max(local.saturating_sub(remote)))
        })
    }
}

fn translate(topic: &str, from: &Side, to: &Side) -> Option<String> {
    let rest = topic.strip_prefix(&*from.prefix)?;
    matches(&from.filter, topic).then(|| format!("{}{rest}", to.prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, way: &str, local: &str, remote: &str) -> BridgeTopic {
        BridgeTopic {
            pattern: pattern.into(),
            is_out: way != "in",
            is_in: way != "out",
            qos: 1,
            local_prefix: local.into(),
            remote_prefix: remote.into(),
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules::new(&[
            rule("sensors/#", "both", "home/", "site1/"),
            rule("", "out", "state", "site1/status"),
            rule("+/door", "in", "", "far/"),
            rule("#", "out", "", "rest/"),
        ]);
        let outward = |topic| rules.outward(topic);
        assert_eq!(outward("home/sensors/a").as_deref(), Some("site1/sensors/a"));
        assert_eq!(outward("home/sensors").as_deref(), Some("site1/sensors"));
        assert_eq!(outward("state").as_deref(), Some("site1/status"));
        assert_eq!(outward("state/a").as_deref(), Some("rest/state/a"));
        assert_eq!(outward("$SYS/a"), None);
        assert_eq!(rules.inward("site1/sensors/a/b").as_deref(), Some("home/sensors/a/b"));
        assert_eq!(rules.inward("far/front/door").as_deref(), Some("front/door"));
        assert_eq!(rules.inward("site1/status"), None);
        assert_eq!(rules.local_filters().count(), 3);
        assert_eq!(rules.remote_filters().next(), Some(("site1/sensors/#", 1)));
        assert_eq!(rules.growth_max(), (7, 0));
    }
}
