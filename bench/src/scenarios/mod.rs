//! The scenarios that are not about publishing all the time.

pub(crate) mod churn;
mod come_back;
pub(crate) mod connect;
pub(crate) mod floor;
mod pump;
mod resubscribe;
pub(crate) mod retained;
pub(crate) mod store;
mod takeover;
