//! Who may log in as an application, and what each may do.
//!
//! Without a file these are the gateway's own accounts of applications, each with the standard role
//! (`grants.rs`). With one it is what the file says and nothing else (`file.rs`). [`Permissions`]
//! keeps the users of the moment and takes up what has changed in the file; who holds users from
//! before is told by [`Users::replaced`].

mod file;
mod grants;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use weir_core::{Accounts, HashFunction, PasswordSecret, PasswordVerifier, Role};

use file::{FileLogin, FileUser};
use grants::Grants;

pub use file::Mistake;
pub(crate) use grants::Activity;
pub use watch::PermissionsError;

/// The users of the endpoint. Clones share them, also when the file is read anew.
#[derive(Clone)]
pub struct Permissions(Arc<Shared>);

struct Shared {
    current: ArcSwap<Users>,
    verifier: PasswordVerifier,
    file: Option<watch::Watched>,
}

/// The users at one time.
pub(crate) struct Users {
    by_name: HashMap<String, Arc<User>>,
    replaced: CancellationToken,
}

/// One user.
pub(crate) struct User {
    login: Login,
    grants: Grants,
    may_impersonate: bool,
}

/// How a user logs in.
#[derive(Clone, PartialEq, Eq)]
enum Login {
    /// SASL PLAIN, with this password.
    Plain(PasswordSecret),
    /// SASL EXTERNAL, with a certificate of the user's name.
    External,
}

impl Permissions {
    /// The gateway's own accounts of applications, who may do what Hono's standard role allows.
    pub fn of_accounts(accounts: &Accounts) -> Self {
        let users = accounts.of(Role::Application).map(|(name, secret)| {
            let user = User {
                login: Login::Plain(secret.clone()),
                grants: Grants::standard(),
                may_impersonate: false,
            };
            (name.to_owned(), Arc::new(user))
        });
        let users = Users::new(users.collect());
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(users),
            verifier: accounts.verifier().clone(),
            file: None,
        }))
    }

    /// The users of a file, in Hono's form `permissions.json`.
    ///
    /// # Errors
    /// If it cannot be read, or says something it must not say.
    pub async fn load(path: PathBuf, verifier: PasswordVerifier) -> Result<Self, PermissionsError> {
        let (file, users) = watch::Watched::load(path).await?;
        let users = Users::of_file(users, None, &verifier).await;
        Ok(Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(users),
            verifier,
            file: Some(file),
        })))
    }

    /// The users of the moment.
    pub(crate) fn current(&self) -> Arc<Users> {
        self.0.current.load_full()
    }

    /// Whether the password is the user's, and passwords are what the user logs in with.
    pub(crate) async fn verify(&self, user: &User, password: &[u8]) -> bool {
        let Login::Plain(secret) = &user.login else {
            return false;
        };
        let now = OffsetDateTime::now_utc();
        let secrets = std::slice::from_ref(secret);
        self.0.verifier.verify(secrets, password, now).await
    }

    /// Puts others in the place of the users, and tells who holds them.
    async fn replace(&self, users: HashMap<String, FileUser>) {
        let before = self.0.current.load_full();
        let users = Users::of_file(users, Some(&before), &self.0.verifier).await;
        self.0.current.store(Arc::new(users));
        before.replaced.cancel();
    }
}

impl std::fmt::Debug for Permissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permissions")
            .field("file", &self.0.file)
            .finish_non_exhaustive()
    }
}

impl Users {
    fn new(by_name: HashMap<String, Arc<User>>) -> Self {
        Self {
            by_name,
            replaced: CancellationToken::new(),
        }
    }

    /// What a file says, its plain passwords hashed. A plain password that has not changed keeps its
    /// hash, by which those who logged in with it are known.
    async fn of_file(
        users: HashMap<String, FileUser>,
        before: Option<&Self>,
        verifier: &PasswordVerifier,
    ) -> Self {
        let mut by_name = HashMap::new();
        for (name, user) in users {
            let login = match user.login {
                FileLogin::External => Login::External,
                FileLogin::Hashed(secret) => Login::Plain(secret),
                FileLogin::Plain(password) => {
                    let known = before.and_then(|before| before.by_name.get(&name));
                    let known = known.and_then(|known| known.hashed_here());
                    Login::Plain(hash(&password, known, verifier).await)
                }
            };
            let user = User {
                login,
                grants: user.grants,
                may_impersonate: user.may_impersonate,
            };
            by_name.insert(name, Arc::new(user));
        }
        Self::new(by_name)
    }

    /// The user of that name.
    pub(crate) fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Cancelled as soon as there are others.
    pub(crate) fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }
}

impl User {
    /// Whether the user may do that at the address, whatever is there.
    pub(crate) fn may(&self, activity: Activity, address: &str) -> bool {
        self.grants.allow(activity, address)
    }

    /// Whether the user may log in for another one.
    pub(crate) fn may_impersonate(&self) -> bool {
        self.may_impersonate
    }

    /// Whether the user logs in with a certificate instead of a password.
    pub(crate) fn is_external(&self) -> bool {
        self.login == Login::External
    }

    /// Whether who has logged in as that other one could have logged in as this one.
    pub(crate) fn logs_in_like(&self, other: &Self) -> bool {
        self.login == other.login
    }

    /// The hash that this process has made of a plain password.
    fn hashed_here(&self) -> Option<&PasswordSecret> {
        match &self.login {
            Login::Plain(secret) if secret.function == HashFunction::Sha256 => Some(secret),
            _ => None,
        }
    }
}

/// A hash that never leaves the memory, so a fast one will do: who could read it there could read
/// the file.
async fn hash(
    password: &str,
    known: Option<&PasswordSecret>,
    verifier: &PasswordVerifier,
) -> PasswordSecret {
    if let Some(known) = known {
        let now = OffsetDateTime::now_utc();
        let secrets = std::slice::from_ref(known);
        if verifier.verify(secrets, password.as_bytes(), now).await {
            return known.clone();
        }
    }
    PasswordSecret::of_random(password)
}
