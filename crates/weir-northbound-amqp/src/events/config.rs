//! The configuration of the event store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_event_store::{Budgets, EventStore, OpenError, Options};

/// Where events wait for the applications, and what may wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Folder of the event store; one that is not absolute is below `data_dir`. It has to be on a local
    /// file system, and no other process may use it.
    pub folder: PathBuf,
    /// Bytes that the events and dead letters of one tenant may have together. One more is refused.
    pub max_bytes_per_tenant: u64,
    /// Events and dead letters that one tenant may have together. One more is refused.
    pub max_events_per_tenant: u64,
    /// Seconds that a tenant's oldest event may wait for an application before new ones are refused; 0
    /// is no limit. Dead letters do not count.
    pub max_age: u64,
    /// How often an application may give an event back before it becomes a dead letter; at least 1.
    pub max_delivery_attempts: u32,
    /// Bytes of the newest events that are kept in memory too, so that they need not be read.
    pub memory: usize,
    /// Bytes of the file system that new events leave free. Should be more than 128 MiB, so that what
    /// was accepted can always be removed.
    pub reserve: u64,
}

impl Default for EventsConfig {
    fn default() -> Self {
        let Options {
            budgets,
            max_attempts,
            memory,
            reserve,
            ..
        } = Options::default();
        Self {
            folder: PathBuf::from("events"),
            max_bytes_per_tenant: budgets.bytes,
            max_events_per_tenant: budgets.count,
            max_age: budgets.age.map_or(0, |age| age.as_secs()),
            max_delivery_attempts: max_attempts,
            memory,
            reserve,
        }
    }
}

impl EventsConfig {
    /// Opens the store. Blocks.
    ///
    /// # Errors
    /// If the store cannot be used; the variants say why.
    pub fn open(&self, data_dir: &Path) -> Result<EventStore, OpenError> {
        EventStore::open(&data_dir.join(&self.folder), self.options())
    }

    fn options(&self) -> Options {
        Options {
            budgets: Budgets {
                bytes: self.max_bytes_per_tenant,
                count: self.max_events_per_tenant,
                age: (self.max_age > 0).then(|| Duration::from_secs(self.max_age)),
            },
            max_attempts: self.max_delivery_attempts,
            memory: self.memory,
            reserve: self.reserve,
            ..Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_stores_own_defaults() {
        let config: EventsConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, EventsConfig::default());
        let (options, expected) = (config.options(), Options::default());
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }

    #[test]
    fn an_age_of_zero_is_none() {
        let aged = |max_age| {
            let config = EventsConfig {
                max_age,
                ..Default::default()
            };
            config.options().budgets.age
        };
        assert_eq!(aged(0), None);
        assert_eq!(aged(90), Some(Duration::from_secs(90)));
    }

    #[test]
    fn the_folder_is_below_the_data_unless_it_is_absolute() {
        let data = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let absolute = elsewhere.path().join("queue");
        for (folder, place) in [
            (PathBuf::from("events"), data.path().join("events")),
            (absolute.clone(), absolute),
        ] {
            let config = EventsConfig {
                folder,
                ..Default::default()
            };
            drop(config.open(data.path()).unwrap());
            assert!(place.is_dir(), "{place:?}");
        }
    }
}
