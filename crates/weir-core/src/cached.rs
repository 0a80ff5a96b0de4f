//! Values that can be told that they are stale.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared value read from the registry, which its source marks when it has changed there.
///
/// Whoever keeps one asks [`Cached::is_stale`] before each use and reads it anew if so. The mark is
/// set before the change is answered, so a message that follows the answer sees the change.
#[derive(Debug)]
pub struct Cached<T>(Arc<Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    stale: AtomicBool,
    value: T,
}

impl<T> Cached<T> {
    /// A fresh value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Entry {
            stale: AtomicBool::new(false),
            value,
        }))
    }

    /// Whether the value has changed at its source since it was read.
    pub fn is_stale(&self) -> bool {
        self.0.stale.load(Ordering::Acquire)
    }

    /// Tells all who hold this value that it has changed.
    pub fn invalidate(&self) {
        self.0.stale.store(true, Ordering::Release);
    }
}

/// Whether both were handed out as one and the same.
impl<T> PartialEq for Cached<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Cached<T> {}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}
