//! Every transport with every way to show who one is, each with clients that others wrote, and what
//! a reload changes for who is connected. `scripts/install-test-tools.sh` installs the clients.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[path = "secure/endings.rs"]
mod endings;
#[path = "secure/layouts.rs"]
mod layouts;
#[path = "secure/matrix.rs"]
mod matrix;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
#[path = "secure/realm.rs"]
mod realm;
#[path = "secure/reload.rs"]
mod reload;
mod support;
#[path = "secure/tls.rs"]
mod tls;

use support::folder;
