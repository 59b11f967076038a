//! The scenarios that are not about publishing all the time.

pub(crate) mod churn;
pub(crate) mod connect;
pub(crate) mod floor;
mod pump;
mod resubscribe;
pub(crate) mod retained;
mod takeover;
