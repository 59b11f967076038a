//! One listener's policy.

use super::acl_file::Acl;
use super::error::PolicyError;
use super::files;
use super::grants::Grants;
use super::hook::HookAnswer;
use super::is_name;
use super::login::{Identity, Login, Proof, Step, Verdict};
use super::password_file::PasswordFile;
use super::password_hash::Workspace;
use super::rules::Names;
use super::scram::{METHOD, ScramExchange, WRONG_PROOF};
use super::sources::{HookSource, Sources};
use super::token::{Tokens, is_token};
use crate::mqtt::ReasonCode;
use std::path::Path;
use std::sync::Arc;

/// The rules of one listener for logins, and the permissions of its clients.
#[derive(Debug, Default)]
pub struct Policy {
    allow_anonymous: bool,
    passwords: Option<PasswordFile>,
    acl: Option<Acl>,
    /// The permissions of those for whom nothing else gives any; none allows everything.
    usual: Option<Arc<Grants>>,
    tokens: Option<Tokens>,
    hook: Option<HookSource>,
    warnings: Vec<String>,
}

impl Policy {
    /// The policy that lets everyone in, and allows everything.
    #[must_use]
    pub(crate) fn open() -> Self {
        Self { allow_anonymous: true, ..Self::default() }
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The error names the file, the line in it, the cause and the fix. One mistake in a file
    /// refuses the whole file: half a policy may allow what the other half denies.
    pub fn load(sources: &Sources) -> Result<Self, PolicyError> {
        let mut policy = Self {
            allow_anonymous: sources.allow_anonymous,
            hook: sources.hook.clone(),
            usual: sources.hides_sys.then(|| Arc::new(Grants::without_sys())),
            ..Self::default()
        };
        if let Some(path) = &sources.password_file {
            let bytes = policy.read_secret(path, "password file")?;
            policy.passwords = Some(files::parse(path, &bytes, PasswordFile::parse)?);
        }
        if let Some(path) = &sources.acl_file {
            let contents = files::read(path, "ACL file")?;
            policy.acl = Some(files::parse(path, &contents.bytes, Acl::parse)?);
        }
        if let Some(source) = &sources.jwt {
            let path = &source.key_file;
            let key = policy.read_secret(path, "token key")?;
            let tokens = Tokens::new(source, &key);
            let failed = |cause| PolicyError::token_key(path, cause);
            policy.tokens = Some(tokens.map_err(failed)?);
        }
        policy.look_for_mistakes(sources);
        Ok(policy)
    }

    /// Makes a policy from the texts of a password file and of an ACL file.
    ///
    /// # Errors
    ///
    /// The error names the number of the wrong line, and the cause.
    pub(crate) fn parse(
        allow_anonymous: bool,
        passwords: Option<&str>,
        acl: Option<&str>,
    ) -> Result<Self, PolicyError> {
        let failed = |(line, cause)| PolicyError::line(None, line, cause);
        let passwords = passwords.map(PasswordFile::parse).transpose().map_err(failed)?;
        let acl = acl.map(Acl::parse).transpose().map_err(failed)?;
        Ok(Self { allow_anonymous, passwords, acl, ..Self::default() })
    }

    fn read_secret(&mut self, path: &Path, what: &str) -> Result<Vec<u8>, PolicyError> {
        let contents = files::read(path, what)?;
        if contents.is_public() {
            let path = path.display();
            self.warnings
                .push(format!("every user of this machine can read the {what} {path}: chmod o-r"));
        }
        Ok(contents.bytes)
    }

    fn look_for_mistakes(&mut self, sources: &Sources) {
        let names_users = self.acl.as_ref().is_some_and(Acl::names_users);
        let is_nobody = !self.verifies() && !sources.certificates_name_users;
        if let Some(path) = sources.acl_file.as_ref().filter(|_| names_users && is_nobody) {
            self.warnings.push(format!(
                "the ACL file {} speaks of users, but nothing gives a client a name: set a \
                 password file, a token key, a hook or, with TLS, certificate-user",
                path.display()
            ));
        }
        // Its address is not shown: there may be a password in it.
        if self.hook.as_ref().is_some_and(HookSource::sends_in_clear) {
            self.warnings.push("passwords go to the hook in clear: give it an https:// URL".into());
        }
    }

    /// Settings that the operator may not have intended; one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// The service to ask after [`Step::AskHook`].
    #[must_use]
    pub(crate) const fn hook(&self) -> Option<&HookSource> {
        self.hook.as_ref()
    }

    /// Whether the listener verifies no one: a client without a certificate's name and without an
    /// authentication method is [`Policy::anonymous`] at once.
    #[must_use]
    pub const fn admits_all(&self) -> bool {
        self.allow_anonymous && !self.verifies()
    }

    /// Whether passwords, tokens or the hook verify user names.
    const fn verifies(&self) -> bool {
        self.passwords.is_some() || self.tokens.is_some() || self.hook.is_some()
    }

    /// The identity of a client without a verified name.
    #[must_use]
    pub fn anonymous(&self, client_id: &str) -> Identity {
        Identity::new(client_id, None, Proof::None)
    }

    /// The verdict on a login that needs no hashing, no token and no hook; none when
    /// [`Policy::verify`] has to decide.
    #[must_use]
    pub fn verify_at_once(&self, login: &Login) -> Option<Verdict> {
        if let Some(method) = &login.method {
            let is_offered = **method == *METHOD && self.scram().is_some();
            let code = ReasonCode::BadAuthenticationMethod;
            let cause = "authentication method that is not offered";
            return (!is_offered).then_some(Verdict::Refuse { code, cause });
        }
        if let Some(user) = &login.certificate {
            return Some(confirm(
                login,
                match is_name(user) {
                    true => {
                        Identity::new(&login.client_id, Some(user), Proof::Certificate).accepted()
                    }
                    false => Verdict::bad_password("certificate whose name is no user name"),
                },
            ));
        }
        if self.admits_all() {
            return Some(confirm(login, self.anonymous(&login.client_id).accepted()));
        }
        match &login.user_name {
            Some(user) if !is_name(user) => {
                Some(Verdict::bad_password("user name that is empty or has control characters"))
            }
            Some(_) if login.password.is_none() && self.hook.is_none() => {
                Some(Verdict::bad_password("user name without a password"))
            }
            None if login.password.is_none() && self.hook.is_none() => {
                Some(self.without_name(login))
            }
            _ => None,
        }
    }

    /// Verifies a login at `now_s` seconds since 1970. A hash may take 50 ms, so workers never call
    /// this function.
    #[must_use]
    pub fn verify(&self, mut login: Login, now_s: u64, workspace: &mut Workspace) -> Step {
        if let Some(verdict) = self.verify_at_once(&login) {
            return Step::Done(verdict);
        }
        let verdict = match login.method {
            Some(_) => Some(self.exchange(&mut login)),
            None => self.verify_password(&login, now_s, workspace),
        };
        match verdict {
            Some(verdict) => Step::Done(confirm(&login, verdict)),
            None => Step::AskHook(login),
        }
    }

    /// The verdict on a plain password, or a token in its place; none when the hook has to decide.
    fn verify_password(
        &self,
        login: &Login,
        now_s: u64,
        workspace: &mut Workspace,
    ) -> Option<Verdict> {
        let password = login.password.as_ref().map_or(&[][..], |password| password.bytes());
        if let Some(tokens) = self.tokens.as_ref().filter(|_| is_token(password)) {
            return Some(verify_token(tokens, login, password, now_s));
        }
        let user = match (&self.passwords, &login.user_name) {
            (Some(file), Some(user)) if file.knows(user) || self.hook.is_none() => (file, user),
            _ if self.hook.is_some() => return None,
            (_, None) => return Some(Verdict::bad_password("password without a user name")),
            (_, Some(_)) => return Some(Verdict::bad_password("password that is no token")),
        };
        let verified = user.0.verify(user.1, password, workspace);
        Some(match verified {
            Some(fingerprint) => {
                let proof = Proof::Password(fingerprint);
                Identity::new(&login.client_id, Some(user.1), proof).accepted()
            }
            None => Verdict::bad_password("wrong user name or password"),
        })
    }

    fn scram(&self) -> Option<&PasswordFile> {
        self.passwords.as_ref().filter(|passwords| passwords.has_scram())
    }

    /// Does one step of an exchange.
    fn exchange(&self, login: &mut Login) -> Verdict {
        let data = login.data.as_deref().unwrap_or_default();
        let refused = |cause| match cause {
            WRONG_PROOF => Verdict::bad_password(cause),
            _ => Verdict::not_authorized(cause),
        };
        if let Some(exchange) = login.exchange.take() {
            return exchange.finish(data).map_or_else(refused, |proved| {
                let proof = Proof::Password(proved.fingerprint);
                let identity = Identity::new(&login.client_id, Some(&proved.user), proof);
                let data = Some(proved.data);
                Verdict::Accept { identity: Arc::new(identity), data, valid_for: None }
            });
        }
        let begun = self.scram().map(|passwords| ScramExchange::begin(data, passwords));
        let begun = begun.unwrap_or(Err("SCRAM without a password file"));
        begun.map_or_else(refused, |(exchange, data)| Verdict::Continue {
            data,
            exchange: Box::new(exchange),
        })
    }

    /// The verdict on a login that only the rule for anonymous clients covers.
    fn without_name(&self, login: &Login) -> Verdict {
        match self.allow_anonymous {
            true => confirm(login, self.anonymous(&login.client_id).accepted()),
            false => Verdict::not_authorized("anonymous clients are not allowed"),
        }
    }

    /// The verdict that follows from the hook's answer about `login`.
    #[must_use]
    pub fn heed_hook(&self, login: &Login, answer: HookAnswer) -> Verdict {
        match answer {
            HookAnswer::Allow { user, rules, is_superuser } => {
                let user = user.as_deref().or(login.user_name.as_deref());
                let mut identity = Identity::new(&login.client_id, user, Proof::Hook);
                identity.rules = rules;
                identity.is_superuser = is_superuser;
                confirm(login, identity.accepted())
            }
            HookAnswer::Ignore if login.user_name.is_none() && login.password.is_none() => {
                self.without_name(login)
            }
            HookAnswer::Ignore => Verdict::bad_password("user whom the hook does not know"),
            HookAnswer::Deny => Verdict::bad_password("denied by the hook"),
            // Not the client's fault, so it does not count as a failed login.
            HookAnswer::Failed(cause) => {
                Verdict::Refuse { code: ReasonCode::ServerUnavailable, cause }
            }
        }
    }

    /// The permissions of `identity`; none when everything is allowed.
    #[must_use]
    pub fn grants(&self, identity: &Identity) -> Option<Arc<Grants>> {
        if identity.is_superuser {
            return None;
        }
        if let Some(rules) = &identity.rules {
            let names = Names::new(&identity.client_id, identity.user.as_deref());
            return Some(Arc::new(Grants::new(Arc::clone(rules), names)));
        }
        self.acl.as_ref().map(|acl| acl.grants(identity)).or_else(|| self.usual.clone())
    }

    /// Whether `identity`, established under an earlier policy, would stand under this policy.
    #[must_use]
    pub fn still_holds(&self, identity: &Identity) -> bool {
        match identity.proof {
            Proof::None => self.allow_anonymous,
            Proof::Certificate => true,
            Proof::Password(fingerprint) => {
                let passwords = self.passwords.as_ref().zip(identity.user.as_deref());
                let now = passwords.and_then(|(passwords, user)| passwords.fingerprint(user));
                now == Some(fingerprint)
            }
            Proof::Token(fingerprint) => {
                self.tokens.as_ref().is_some_and(|tokens| tokens.fingerprint == fingerprint)
            }
            Proof::Hook => self.hook.is_some(),
            Proof::Earlier => {
                let passwords = self.passwords.as_ref().zip(identity.user.as_deref());
                passwords.is_none_or(|(passwords, user)| passwords.fingerprint(user).is_some())
            }
        }
    }
}

fn verify_token(tokens: &Tokens, login: &Login, token: &[u8], now_s: u64) -> Verdict {
    let bearer = match tokens.verify(token, now_s) {
        Ok(bearer) => bearer,
        Err(cause) => return Verdict::bad_password(cause),
    };
    let proof = Proof::Token(tokens.fingerprint);
    let mut identity = Identity::new(&login.client_id, Some(&bearer.user), proof);
    identity.rules = bearer.rules;
    Verdict::Accept { identity: Arc::new(identity), data: None, valid_for: bearer.valid_for }
}

/// Refuses a verdict in another name than the client's known one. The known name is the
/// certificate's, the one from before the client authenticated again, or CONNECT's user name where
/// the password file did not verify it.
fn confirm(login: &Login, verdict: Verdict) -> Verdict {
    let Verdict::Accept { identity, .. } = &verdict else { return verdict };
    let user = identity.user.as_deref();
    let is_another = |name: Option<&str>| name.is_some_and(|name| user != Some(name));
    if login.current.as_ref().is_some_and(|current| current.user != identity.user) {
        return Verdict::not_authorized("re-authentication as another user");
    }
    if is_another(login.certificate.as_deref()) {
        return Verdict::not_authorized("another user than the certificate's");
    }
    let has_own_name = matches!(identity.proof, Proof::Token(_)) || login.method.is_some();
    if has_own_name && is_another(login.user_name.as_deref()) {
        return Verdict::bad_password("user name that is not the one verified");
    }
    verdict
}
