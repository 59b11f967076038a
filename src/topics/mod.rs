//! Who wants this topic, and what is retained on it.
#![forbid(unsafe_code)]

mod filter_tree;
mod levels;
mod retained;
mod subscribers;
mod subscriptions;

pub use filter_tree::{FilterTree, NodeId};
pub use retained::{Page, Retained, RetainedMessage};
pub use subscribers::{Extras, Subscriber, Subscribers};
pub use subscriptions::{
    Group, GroupId, Interest, Matches, Place, Subscribed, Subscriptions, Unsubscribed, WorkerSet,
};
