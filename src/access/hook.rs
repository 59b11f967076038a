//! The question to the hook and the hook's answer. The server sends the one and receives the other.

use super::claims::{self, Object};
use super::login::Login;
use super::rules::Rules;
use crate::base::ids::ListenerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The hook's answer about one login.
#[derive(Debug)]
pub enum HookAnswer {
    /// The client has the name that it claims.
    Allow {
        /// The user's name, if it differs from the name in the question.
        user: Option<Box<str>>,
        /// The client's rules, used instead of the ACL file.
        rules: Option<Arc<Rules>>,
        /// The client may do everything.
        is_superuser: bool,
    },
    /// The client is refused.
    Deny,
    /// The hook does not know the client: the rule for anonymous ones decides.
    Ignore,
    /// The answer is missing or malformed; holds the cause.
    Failed(&'static str),
}

#[derive(Serialize)]
struct Question<'a> {
    client_id: &'a str,
    user_name: Option<&'a str>,
    password: Option<&'a str>,
    address: Option<String>,
    listener: ListenerId,
}

#[derive(Deserialize)]
struct Answer {
    result: Decision,
    #[serde(default)]
    is_superuser: bool,
    #[serde(default)]
    user_name: Option<Box<str>>,
    #[serde(default)]
    acl: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
    Ignore,
}

/// The body of the request about `login`; none when the password is not UTF-8, which JSON cannot
/// carry. The body holds the password, so its memory is overwritten when it is dropped.
#[must_use]
pub fn hook_question(login: &Login) -> Option<Zeroizing<Vec<u8>>> {
    let password = login.password.as_ref().map(|password| std::str::from_utf8(password.bytes()));
    let question = Question {
        client_id: &login.client_id,
        user_name: login.user_name.as_deref(),
        password: password.transpose().ok()?,
        address: login.address.map(|address| address.to_string()),
        listener: login.listener,
    };
    // Large enough at once: a vector that grows leaves copies behind.
    let texts = [Some(question.client_id), question.user_name, question.password];
    let bytes: usize = texts.iter().flatten().map(|text| text.len() * 6).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(bytes + 256));
    serde_json::to_writer(&mut *body, &question).ok()?;
    Some(body)
}

impl HookAnswer {
    /// Reads a response. Any unknown content is a failure, and so a denial.
    #[must_use]
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let allow = |user, rules, is_superuser| Self::Allow { user, rules, is_superuser };
        match status {
            204 => return allow(None, None, false),
            200 => {}
            _ => return Self::Failed("the hook answered with another status than 200 or 204"),
        }
        let Ok(Object(answer)) = serde_json::from_slice::<Object<Answer>>(body) else {
            return Self::Failed("the hook's answer is not understood");
        };
        match answer.result {
            Decision::Deny => Self::Deny,
            Decision::Ignore => Self::Ignore,
            Decision::Allow
                if answer.user_name.as_deref().is_some_and(|name| !super::is_name(name)) =>
            {
                Self::Failed("the hook answered with an unusable user name")
            }
            Decision::Allow => match claims::rules(answer.acl.as_ref()) {
                Ok(rules) => allow(answer.user_name, rules, answer.is_superuser),
                Err(_) => Self::Failed("the hook answered with an acl that is not understood"),
            },
        }
    }
}
