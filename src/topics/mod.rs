//! Subscriptions and retained messages, by topic.
#![forbid(unsafe_code)]

mod filter_tree;
mod levels;
mod members;
mod retained;
mod subscribers;
mod subscriptions;

pub use filter_tree::FilterTree;
pub use members::Members;
pub use retained::{Page, Retained, RetainedMessage};
pub use subscribers::{Extras, Subscriber, Subscribers};
pub(crate) use subscriptions::GroupId;
pub use subscriptions::{
    Group, Interest, Matches, Place, Subscribed, Subscriptions, Unsubscribed, WorkerSet,
};
