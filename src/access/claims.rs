//! Rules from a token's claim or from the hook's answer, in the two forms that EMQX knows:
//!
//! ```json
//! {"pub": ["a/${clientid}"], "sub": ["b/#"], "all": ["c"]}
//! [{"permission": "deny", "action": "subscribe", "topic": "a/secret"},
//!  {"permission": "allow", "action": "all", "topic": "a/#"}]
//! ```
//!
//! The rules of the second form are asked in their order. `${clientid}` or `%c` and `${username}`
//! or `%u` have to be whole levels. Any unknown part is an error, since a rule that is left out may
//! have been the one that denies. Conditions on QoS and RETAIN are errors too: rules here have
//! none.

use super::rules::{CLIENT_ID, Effect, Rule, Rules, USER};
use crate::limits::CLAIMED_RULES_MAX;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A value written as a JSON object. Serde alone would also accept an array of the fields' values.
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists<'a> {
    #[serde(default, borrow, rename = "pub")]
    publish: Vec<Cow<'a, str>>,
    #[serde(default, borrow, rename = "sub")]
    subscribe: Vec<Cow<'a, str>>,
    #[serde(default, borrow)]
    all: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim<'a> {
    permission: Permission,
    action: Action,
    #[serde(borrow)]
    topic: Cow<'a, str>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Permission {
    Allow,
    Deny,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
    All,
}

/// Parses the rules in `acl`; none when `acl` is absent.
pub(super) fn rules(acl: Option<&Value>) -> Result<Option<Arc<Rules>>, &'static str> {
    let rules = match acl {
        None | Some(Value::Null) => return Ok(None),
        Some(acl @ Value::Object(_)) => {
            let lists = Lists::deserialize(acl).map_err(|_| "acl that is not understood")?;
            from_lists(&lists)?
        }
        Some(Value::Array(claims)) => claims.iter().map(from_claim).collect::<Result<_, _>>()?,
        Some(_) => return Err("acl that is neither an object nor an array"),
    };
    if rules.len() > CLAIMED_RULES_MAX {
        return Err("acl with more than 1024 rules");
    }
    Ok(Some(Arc::new(Rules::new(rules, Arc::default()))))
}

fn from_lists(lists: &Lists<'_>) -> Result<Vec<Rule>, &'static str> {
    let of = |action| move |topic: &Cow<'_, str>| rule(Permission::Allow, action, topic);
    let publish = lists.publish.iter().map(of(Action::Publish));
    let subscribe = lists.subscribe.iter().map(of(Action::Subscribe));
    publish.chain(subscribe).chain(lists.all.iter().map(of(Action::All))).collect()
}

fn from_claim(claim: &Value) -> Result<Rule, &'static str> {
    let claim = Object::<Claim<'_>>::deserialize(claim);
    let Object(claim) = claim.map_err(|_| "rule in acl that is not understood")?;
    rule(claim.permission, claim.action, &claim.topic)
}

fn rule(permission: Permission, action: Action, topic: &str) -> Result<Rule, &'static str> {
    let level = |level| match level {
        "${clientid}" => CLIENT_ID,
        "${username}" => USER,
        _ => level,
    };
    let filter = topic.split('/').map(level).collect::<Vec<_>>().join("/");
    // Either a placeholder that is none here, or one that is no whole level; and `eq ` would want
    // the wildcards behind it to be taken literally.
    if filter.contains("${") || filter.starts_with("eq ") {
        return Err("topic in acl that is not understood");
    }
    let effect = Effect {
        is_allowed: permission == Permission::Allow,
        reads: action != Action::Publish,
        writes: action != Action::Subscribe,
    };
    Rule::pattern(effect, &filter).map_err(|_| "topic in acl that is no topic filter")
}
