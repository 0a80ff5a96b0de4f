//! Checking passwords: off the async threads, a few at a time, and remembered for a short while.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use sha2::{Sha256, Sha512};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore};

mod load;

use load::Load;

pub use load::PasswordFigures;

/// How a password's hash was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// The modular crypt form `$2a$…`; its salt is in it.
    Bcrypt,
    /// Base64 of SHA-256 over salt and password.
    Sha256,
    /// Base64 of SHA-512 over salt and password.
    Sha512,
}

impl HashFunction {
    /// The name in the management API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bcrypt => "bcrypt",
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    /// The function of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bcrypt, Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|known| known.as_str() == name)
    }
}

/// When a secret may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Whether it may be used at all.
    pub enabled: bool,
    /// It counts only after this instant.
    pub not_before: Option<OffsetDateTime>,
    /// It counts only before this instant.
    pub not_after: Option<OffsetDateTime>,
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            enabled: true,
            not_before: None,
            not_after: None,
        }
    }
}

impl Validity {
    /// Whether a secret with this validity counts at `now`.
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        self.enabled
            && self.not_before.is_none_or(|start| now > start)
            && self.not_after.is_none_or(|end| now < end)
    }
}

/// A hashed password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordSecret {
    /// How `hash` was made.
    pub function: HashFunction,
    /// The hash in the function's textual form.
    pub hash: String,
    /// For the SHA functions.
    pub salt: Vec<u8>,
    /// When it may be used.
    pub validity: Validity,
}

impl PasswordSecret {
    /// Hashes a password that has the strength of a key: random, not chosen by a person.
    pub fn of_random(password: &str) -> Self {
        let salt = rand::rng().random::<[u8; 16]>().to_vec();
        let hash = digest::<Sha256>(&salt, password.as_bytes());
        Self {
            function: HashFunction::Sha256,
            hash,
            salt,
            validity: Validity::default(),
        }
    }

    fn matches(&self, password: &[u8]) -> bool {
        match self.function {
            HashFunction::Bcrypt => bcrypt::verify(password, &self.hash).unwrap_or(false),
            HashFunction::Sha256 => same(&digest::<Sha256>(&self.salt, password), &self.hash),
            HashFunction::Sha512 => same(&digest::<Sha512>(&self.salt, password), &self.hash),
        }
    }
}

/// The hash is a secret too.
impl std::fmt::Debug for PasswordSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordSecret")
            .field("function", &self.function)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

fn digest<D: sha2::Digest>(salt: &[u8], password: &[u8]) -> String {
    let mut hash = D::new();
    hash.update(salt);
    hash.update(password);
    BASE64.encode(hash.finalize())
}

/// Compares without telling by its duration how much is equal.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |sum, (l, r)| sum | (l ^ r))
            == 0
}

/// How long after its last use a password that was found good need not be checked again. The memory is
/// bound to the hash, so a changed secret is not remembered. A device that logs in every few minutes does
/// not stand in line with guessers.
const REMEMBERED: Duration = Duration::from_secs(600);
const REMEMBERED_SECRETS: u64 = 100_000;

/// Checks passwords against hashes.
///
/// bcrypt at cost 10 takes 72 ms: it runs on the blocking threads, as many at a time as there are
/// processors less one, one check per hash at a time, and what was found good is remembered by a
/// keyed hash, so that neither a storm of reconnecting devices nor a guesser takes the gateway down.
/// Clones share memory and queue.
#[derive(Clone)]
pub struct PasswordVerifier {
    key: Arc<[u8; 32]>,
    remembered: moka::sync::Cache<[u8; 32], ()>,
    /// One line for each hash that is checked expensively.
    lines: moka::sync::Cache<[u8; 32], Arc<Mutex<()>>>,
    slots: Arc<Semaphore>,
    load: Arc<Load>,
}

impl PasswordVerifier {
    /// A verifier that checks `parallel` expensive hashes at a time; 0 counts as 1.
    pub fn new(parallel: usize) -> Self {
        Self {
            key: Arc::new(rand::rng().random()),
            remembered: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED_SECRETS)
                .time_to_idle(REMEMBERED)
                .build(),
            lines: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED_SECRETS)
                .time_to_idle(REMEMBERED)
                .build(),
            slots: Arc::new(Semaphore::new(parallel.max(1))),
            load: Arc::default(),
        }
    }

    /// How much there is to check now.
    pub fn figures(&self) -> PasswordFigures {
        self.load.figures()
    }

    /// Whether `password` is that of any secret that counts at `now`.
    pub async fn verify(
        &self,
        secrets: &[PasswordSecret],
        password: &[u8],
        now: OffsetDateTime,
    ) -> bool {
        let usable = || secrets.iter().filter(|secret| secret.validity.holds(now));
        if usable().any(|secret| self.remembers(&self.tag(secret, password))) {
            return true;
        }
        for secret in usable() {
            if self.matches(secret, password).await {
                return true;
            }
        }
        false
    }

    /// Whether a pair was found good; that it is asked for counts as use.
    fn remembers(&self, tag: &[u8; 32]) -> bool {
        self.remembered.get(tag).is_some()
    }

    async fn matches(&self, secret: &PasswordSecret, password: &[u8]) -> bool {
        let tag = self.tag(secret, password);
        if secret.function != HashFunction::Bcrypt {
            let is_good = secret.matches(password);
            if is_good {
                self.remembered.insert(tag, ());
            }
            return is_good;
        }
        // Whoever guesses one device's password waits in that device's line, and a storm of one
        // device's reconnects is checked once; the others take turns with it.
        let waiting = self.load.waits();
        let line = self.lines.get_with(self.tag(secret, b""), Arc::default);
        let turn = line.lock_owned().await;
        if self.remembers(&tag) {
            return true;
        }
        // The semaphore is never closed, so an error cannot occur; refusing is the safe answer.
        let Ok(slot) = self.slots.clone().acquire_owned().await else {
            return false;
        };
        drop(waiting);
        let running = self.load.runs();
        let (secret, password) = (secret.clone(), password.to_vec());
        let remembered = self.remembered.clone();
        // Turn and slot go with the check: it goes on when whoever asked has gone.
        let check = move || {
            let is_good = secret.matches(&password);
            if is_good {
                remembered.insert(tag, ());
            }
            drop((turn, slot, running));
            is_good
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    /// What is remembered of a good pair of hash and password: neither can be had from it.
    fn tag(&self, secret: &PasswordSecret, password: &[u8]) -> [u8; 32] {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.key) else {
            return [0; 32];
        };
        for part in [secret.hash.as_bytes(), &secret.salt, password] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordVerifier").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn secret(function: HashFunction, hash: &str, salt: &[u8]) -> PasswordSecret {
        let (hash, salt) = (hash.to_owned(), salt.to_vec());
        PasswordSecret {
            function,
            hash,
            salt,
            validity: Validity::default(),
        }
    }

    fn secrets() -> Vec<PasswordSecret> {
        vec![
            secret(
                HashFunction::Sha256,
                &digest::<Sha256>(b"", b"sha-256"),
                b"",
            ),
            secret(
                HashFunction::Sha512,
                &digest::<Sha512>(b"salt", b"sha-512"),
                b"salt",
            ),
            secret(
                HashFunction::Bcrypt,
                &bcrypt::hash("bcrypt", 4).unwrap(),
                b"",
            ),
        ]
    }

    #[tokio::test]
    async fn each_hash_function_knows_its_password() {
        let verifier = PasswordVerifier::new(1);
        let now = OffsetDateTime::now_utc();
        for password in ["sha-256", "sha-512", "bcrypt"] {
            assert!(
                verifier.verify(&secrets(), password.as_bytes(), now).await,
                "{password}"
            );
            assert!(
                verifier.verify(&secrets(), password.as_bytes(), now).await,
                "{password}, again"
            );
        }
        assert!(!verifier.verify(&secrets(), b"wrong", now).await);
    }

    #[test]
    fn a_sha_256_hash_is_the_base64_of_the_digest() {
        // echo -n secret | openssl dgst -sha256 -binary | base64
        let known = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";
        assert!(secret(HashFunction::Sha256, known, b"").matches(b"secret"));
        assert!(!secret(HashFunction::Sha256, known, b"salt").matches(b"secret"));
    }

    #[tokio::test]
    async fn a_guesser_waits_in_a_line_of_his_own() {
        let verifier = PasswordVerifier::new(1);
        let now = OffsetDateTime::now_utc();
        let bcrypt = |password: &str| {
            [secret(
                HashFunction::Bcrypt,
                &bcrypt::hash(password, 4).unwrap(),
                b"",
            )]
        };
        let (victim, other) = (bcrypt("victim"), bcrypt("other"));
        // Nobody can check anything while the only slot is taken.
        let slot = verifier.slots.clone().acquire_owned().await.unwrap();
        let guesses: Vec<_> = (0..50)
            .map(|guess| {
                let (verifier, victim) = (verifier.clone(), victim.clone());
                let check = async move {
                    verifier
                        .verify(&victim, format!("guess {guess}").as_bytes(), now)
                        .await
                };
                tokio::spawn(check)
            })
            .collect();
        tokio::task::yield_now().await;
        let mut good = tokio::spawn({
            let verifier = verifier.clone();
            async move { verifier.verify(&other, b"other", now).await }
        });
        tokio::task::yield_now().await;
        drop(slot);
        assert!((&mut good).await.unwrap());
        let done = guesses.iter().filter(|guess| guess.is_finished()).count();
        assert!(
            done <= 2,
            "{done} guesses were checked before another device's password"
        );
        for guess in guesses {
            assert!(!guess.await.unwrap());
        }
    }

    #[tokio::test]
    async fn checks_are_counted_and_so_are_those_who_wait_for_theirs() {
        let verifier = PasswordVerifier::new(1);
        let now = OffsetDateTime::now_utc();
        let slot = verifier.slots.clone().acquire_owned().await.unwrap();
        let checks = ["one", "two"].map(|password| {
            let hash = bcrypt::hash(password, 4).unwrap();
            let (verifier, secret) = (verifier.clone(), secret(HashFunction::Bcrypt, &hash, b""));
            tokio::spawn(async move { verifier.verify(&[secret], b"wrong", now).await })
        });
        tokio::task::yield_now().await;
        let figures = |checks, waiting| PasswordFigures {
            checks,
            running: 0,
            waiting,
        };
        assert_eq!(verifier.figures(), figures(0, 2));
        drop(slot);
        for check in checks {
            assert!(!check.await.unwrap());
        }
        assert_eq!(verifier.figures(), figures(2, 0));
        // A digest is cheap.
        let _is_good = verifier.verify(&secrets()[..1], b"sha-256", now).await;
        assert_eq!(verifier.figures(), figures(2, 0));
    }

    #[tokio::test]
    async fn a_changed_hash_is_not_remembered() {
        let verifier = PasswordVerifier::new(1);
        let now = OffsetDateTime::now_utc();
        let old = [PasswordSecret::of_random("old")];
        assert!(verifier.verify(&old, b"old", now).await);
        assert!(
            !verifier
                .verify(&[PasswordSecret::of_random("new")], b"old", now)
                .await
        );
    }

    #[tokio::test]
    async fn a_remembered_secret_still_has_to_be_valid() {
        let verifier = PasswordVerifier::new(1);
        let now = OffsetDateTime::now_utc();
        let mut secret = PasswordSecret::of_random("s");
        secret.validity.not_after = Some(now);
        let secret = [secret];
        assert!(
            verifier
                .verify(&secret, b"s", now - Duration::seconds(1))
                .await
        );
        assert!(!verifier.verify(&secret, b"s", now).await);
    }

    #[test]
    fn validity_has_open_ends() {
        let now = OffsetDateTime::now_utc();
        let (before, after) = (now - Duration::seconds(1), now + Duration::seconds(1));
        let rows = [
            (true, None, None, true),
            (false, None, None, false),
            (true, Some(before), Some(after), true),
            (true, Some(now), None, false),
            (true, None, Some(now), false),
            (true, Some(after), None, false),
        ];
        for (enabled, not_before, not_after, expected) in rows {
            let validity = Validity {
                enabled,
                not_before,
                not_after,
            };
            assert_eq!(validity.holds(now), expected, "{validity:?}");
        }
    }

    #[test]
    fn neither_hash_nor_salt_is_shown() {
        let shown = format!("{:?}", secret(HashFunction::Sha256, "HASH", b"SALT"));
        assert!(
            !shown.contains("HASH") && !shown.contains("SALT"),
            "{shown}"
        );
    }
}
