//! The errors that operations share.

/// The storage did not do what it was asked. The text is for the log; it holds no secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("registry unavailable: {0}")]
pub struct Unavailable(String);

impl Unavailable {
    /// Work in a transaction panicked.
    pub(crate) fn panicked() -> Self {
        Self("a change panicked".to_owned())
    }

    /// The process ends.
    pub(crate) fn stopped() -> Self {
        Self("the registry is closed".to_owned())
    }

    /// The database says nothing, not even that it cannot.
    pub(crate) fn silent() -> Self {
        Self("the database did not answer in time".to_owned())
    }

    /// The cause, for the log.
    pub fn cause(&self) -> &str {
        &self.0
    }
}

impl From<sqlx::Error> for Unavailable {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

/// A stored object that cannot be read. serde's own text may quote it, hence the place only.
impl From<serde_json::Error> for Unavailable {
    fn from(error: serde_json::Error) -> Self {
        let column = error.column();
        Self(format!(
            "a stored object is not readable at column {column}"
        ))
    }
}

/// Why an object could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such object, or its tenant is gone.
    #[error("not found")]
    NotFound,
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an object could not be replaced or removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such object, or its tenant is gone.
    #[error("not found")]
    NotFound,
    /// It has another version than the one expected.
    #[error("resource version does not match")]
    VersionMismatch,
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
