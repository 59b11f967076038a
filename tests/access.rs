//! Who may enter, and what they may do, through the public interface.

#[path = "access/acl.rs"]
mod acl;
#[path = "access/desk.rs"]
mod desk;
#[path = "support/folder.rs"]
#[allow(unreachable_pub, missing_docs, missing_debug_implementations)]
mod folder;
#[path = "access/hook.rs"]
mod hook;
#[path = "access/mosquitto.rs"]
mod mosquitto;
#[path = "access/order.rs"]
mod order;
#[path = "access/passwords.rs"]
mod passwords;
#[path = "access/scram.rs"]
mod scram;
#[path = "access/tokens.rs"]
mod tokens;

use folder::Folder;
use ringmq::access::{Identity, Login, Policy, Proof, Secret, Sources, Step, Verdict, Workspace};
use ringmq::base::causes;
use std::path::Path;
use std::sync::Arc;

/// Some time in 2033, so that no test depends on the clock.
const NOW_S: u64 = 2_000_000_000;

/// The policy, or the line that an operator sees.
fn load(sources: &Sources) -> Result<Policy, String> {
    Policy::load(sources).map_err(|error| causes::line(&error))
}

fn acl_policy(text: &str) -> Result<Policy, String> {
    let folder = Folder::new();
    let acl_file = Some(folder.write("acl", text));
    load(&Sources { allow_anonymous: true, acl_file, ..Sources::default() })
}

fn password_policy(text: impl AsRef<[u8]>) -> Result<Policy, String> {
    let folder = Folder::new();
    let path = folder.write("passwords", text);
    load_passwords(&path)
}

fn load_passwords(path: &Path) -> Result<Policy, String> {
    load(&Sources { password_file: Some(path.into()), ..Sources::default() })
}

fn identity(client_id: &str, user: Option<&str>) -> Identity {
    Identity {
        user: user.map(Into::into),
        client_id: client_id.into(),
        proof: Proof::None,
        rules: None,
        is_superuser: false,
    }
}

fn login(user: Option<&str>, password: Option<&str>) -> Login {
    Login {
        client_id: "client".into(),
        user_name: user.map(Into::into),
        password: password.map(|password| Secret::new(password.as_bytes())),
        ..Login::default()
    }
}

fn verify(policy: &Policy, login: Login) -> Verdict {
    match policy.verify(login, NOW_S, &mut Workspace::default()) {
        Step::Done(verdict) => verdict,
        Step::AskHook(_) => panic!("the hook is asked"),
    }
}

/// Who was accepted, or the cause of the refusal.
fn outcome(verdict: &Verdict) -> Result<Arc<Identity>, &'static str> {
    match verdict {
        Verdict::Accept { identity, .. } => Ok(Arc::clone(identity)),
        Verdict::Refuse { cause, .. } => Err(cause),
        Verdict::Continue { .. } => Err("continue"),
    }
}

fn user_of(policy: &Policy, user: &str, password: &str) -> Result<Arc<Identity>, &'static str> {
    outcome(&verify(policy, login(Some(user), Some(password))))
}
