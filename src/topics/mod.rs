//! Subscriptions and retained messages, by topic.
#![forbid(unsafe_code)]

mod buckets;
mod filter_tree;
mod groups;
mod members;
mod retained;
mod slabs;
mod subscribers;
mod subscriptions;
mod wants;
mod worker_set;

pub use filter_tree::FilterTree;
pub(crate) use groups::GroupId;
pub use groups::{Group, Interest};
pub use members::Members;
pub use retained::{Level, Levels, Page, Retained, RetainedMessage};
pub use subscribers::{Extras, Subscriber, Subscribers};
pub use subscriptions::{Matches, Place, Subscribed, Subscriptions, Unsubscribed};
pub use worker_set::WorkerSet;
