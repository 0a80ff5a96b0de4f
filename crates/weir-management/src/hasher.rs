//! Hashing passwords.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use weir_core::HashFunction;
use weir_registry::PasswordHash;

use crate::answer::Failure;

/// Hashes passwords off the async threads, as many at a time as there are processors less one.
pub(crate) struct Hasher {
    cost: u32,
    slots: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new(cost: u32) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let slots = Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)));
        Self { cost, slots }
    }

    pub(crate) async fn hash(&self, plain: String) -> Result<PasswordHash, Failure> {
        let slot = self.slots.clone().acquire_owned().await;
        let cost = self.cost;
        let hash = tokio::task::spawn_blocking(move || {
            let hash = bcrypt::hash_with_result(plain, cost);
            drop(slot);
            hash
        });
        match hash.await {
            Ok(Ok(parts)) => Ok(PasswordHash {
                function: HashFunction::Bcrypt,
                // Version 2a, which all readers of such hashes know.
                hash: parts.format_for_version(bcrypt::Version::TwoA),
                salt: Vec::new(),
            }),
            _ => {
                tracing::error!("a password could not be hashed");
                Err(Failure::internal())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plain_password_becomes_a_bcrypt_hash_of_version_2a() {
        let hash = Hasher::new(4).hash("s3cret".to_owned()).await.unwrap();
        assert!(hash.hash.starts_with("$2a$04$"), "{}", hash.hash);
        assert!(bcrypt::verify("s3cret", &hash.hash).unwrap());
    }
}
