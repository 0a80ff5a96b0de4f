//! People and applications that log in to Weir itself, as opposed to devices.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{PasswordSecret, PasswordVerifier};

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A back-end application: consumes messages over the northbound.
    Application,
    /// An operator: uses the management API.
    Operator,
}

/// The accounts of this gateway.
#[derive(Debug)]
pub struct Accounts {
    by_name: BTreeMap<(Role, String), PasswordSecret>,
    verifier: PasswordVerifier,
}

impl Accounts {
    /// No accounts yet.
    pub fn new(verifier: PasswordVerifier) -> Self {
        Self {
            by_name: BTreeMap::new(),
            verifier,
        }
    }

    /// Adds an account, or replaces the one of that role and name.
    pub fn add(&mut self, role: Role, name: impl Into<String>, secret: PasswordSecret) {
        self.by_name.insert((role, name.into()), secret);
    }

    /// The accounts of a role: names and hashed passwords.
    pub fn of(&self, role: Role) -> impl Iterator<Item = (&str, &PasswordSecret)> {
        let all = self.by_name.iter();
        let of_role = all.filter(move |((other, _), _)| *other == role);
        of_role.map(|((_, name), secret)| (name.as_str(), secret))
    }

    /// What checks their passwords.
    pub fn verifier(&self) -> &PasswordVerifier {
        &self.verifier
    }

    /// Whether there is an account of that role and name with that password.
    pub async fn verify(&self, role: Role, name: &str, password: &[u8]) -> bool {
        let Some(secret) = self.by_name.get(&(role, name.to_owned())) else {
            return false;
        };
        let now = OffsetDateTime::now_utc();
        self.verifier
            .verify(std::slice::from_ref(secret), password, now)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_has_its_own_accounts() {
        let mut accounts = Accounts::new(PasswordVerifier::new(1));
        accounts.add(Role::Operator, "root", PasswordSecret::of_random("s3cret"));
        assert!(accounts.verify(Role::Operator, "root", b"s3cret").await);
        assert!(!accounts.verify(Role::Operator, "root", b"wrong").await);
        assert!(!accounts.verify(Role::Operator, "nobody", b"s3cret").await);
        assert!(!accounts.verify(Role::Application, "root", b"s3cret").await);
        let names = |role| accounts.of(role).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Role::Operator), ["root"]);
        assert!(names(Role::Application).is_empty());
    }
}
