//! What tenants have used of their limits, kept in the data folder over restarts.
//!
//! The file is written every ten seconds if something has changed, and when the gateway stops. One that
//! is killed forgets what was counted since. A file that makes no sense keeps no gateway from starting: it
//! is put aside, and counting starts anew. One that may well make sense, but that this gateway cannot read,
//! does: it must not be lost.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_core::{TenantSums, Usage, UsageSnapshot};

/// The file's name in the data folder.
const FILE: &str = "usage.json";
/// What is added to the name of one that makes no sense; from the second one on with a number.
const DAMAGED: &str = "damaged";
/// How many of those are kept. The last one makes room when there are more.
const MOST_DAMAGED: usize = 5;
/// The form of the file.
const VERSION: u32 = 1;
/// How much counting may be lost.
const INTERVAL: Duration = Duration::from_secs(10);

/// The file's contents.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    tenants: BTreeMap<String, TenantSums>,
}

/// Writes down what tenants use.
#[derive(Debug)]
pub(crate) struct Keeper {
    usage: Usage,
    path: PathBuf,
    /// What the file has.
    written: UsageSnapshot,
    /// Whether it was told that it cannot be written.
    is_failing: bool,
}

impl Keeper {
    /// Reads what was used before.
    ///
    /// # Errors
    /// If the file cannot be read, or a later version has written it.
    pub(crate) async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let shown = path.display().to_string();
        let opened = tokio::task::spawn_blocking(move || Self::restore(path)).await;
        let keeper = opened.map_err(anyhow::Error::from).flatten();
        keeper.with_context(|| format!("cannot read what tenants have used: {shown}"))
    }

    fn restore(path: PathBuf) -> anyhow::Result<Self> {
        let written = match fs::read(&path) {
            Ok(text) => match parse(&text) {
                Ok(snapshot) => snapshot,
                Err(Unusable::Later(version)) => {
                    anyhow::bail!("version {version} is later than {VERSION}")
                }
                Err(Unusable::Damaged(error)) => {
                    put_aside(&path, &error)?;
                    UsageSnapshot::default()
                }
            },
            // Nothing was used so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => UsageSnapshot::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            usage: Usage::restore(written.clone()),
            path,
            written,
            is_failing: false,
        })
    }

    /// The counters that it keeps.
    pub(crate) fn usage(&self) -> Usage {
        self.usage.clone()
    }

    /// Keeps the file up to date until `stop` is cancelled, and writes it a last time then.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let keeper = Arc::new(Mutex::new(self));
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => is_last = true,
            }
            let keeper = keeper.clone();
            let written = tokio::task::spawn_blocking(move || {
                // What a panic has left is put right by the next time.
                let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
                keeper.update();
            });
            if let Err(error) = written.await {
                tracing::error!(%error, "what tenants use was not written down");
            }
        }
    }

    /// Writes what has changed. If that fails, it is told once, and tried again the next time.
    fn update(&mut self) {
        let snapshot = self.usage.snapshot();
        if snapshot == self.written {
            return;
        }
        let path = self.path.display();
        match write(&self.path, &snapshot) {
            Ok(()) => {
                self.written = snapshot;
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(%path, "what tenants have used is written down again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%path, %error, "what tenants have used cannot be written down");
                }
            }
        }
    }
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// A later version of the gateway has written it.
    #[error("version {0} is not known")]
    Later(u64),
    /// No gateway has written it.
    #[error(transparent)]
    Damaged(#[from] serde_json::Error),
}

fn parse(text: &[u8]) -> Result<UsageSnapshot, Unusable> {
    /// What all versions have.
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    let Head { version } = serde_json::from_slice(text)?;
    if version > VERSION.into() {
        return Err(Unusable::Later(version));
    }
    let Contents { version, tenants } = serde_json::from_slice(text)?;
    if version != VERSION {
        let error = serde::de::Error::custom(format_args!("there is no version {version}"));
        return Err(Unusable::Damaged(error));
    }
    Ok(UsageSnapshot { tenants })
}

/// Gives a file another name, which no other one has as long as few are kept.
fn put_aside(path: &Path, error: &serde_json::Error) -> anyhow::Result<()> {
    let name = |number: usize| match number {
        1 => path.with_added_extension(DAMAGED),
        number => path.with_added_extension(format!("{DAMAGED}-{number}")),
    };
    let free = (1..MOST_DAMAGED).find(|number| !name(*number).exists());
    let aside = name(free.unwrap_or(MOST_DAMAGED));
    let moved = fs::rename(path, &aside);
    moved.with_context(|| format!("it is damaged ({error}) and cannot be put aside"))?;
    tracing::error!(
        path = %path.display(),
        %error,
        aside = %aside.display(),
        "what tenants have used cannot be read: counting starts anew"
    );
    Ok(())
}

/// Written whole under another name first: a crash must not leave half a file behind.
fn write(path: &Path, snapshot: &UsageSnapshot) -> io::Result<()> {
    let contents = Contents {
        version: VERSION,
        tenants: snapshot.tenants.clone(),
    };
    let draft = path.with_added_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&serde_json::to_vec(&contents)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The new name has to outlive a power cut too.
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    fn snapshot(consumed: u64) -> UsageSnapshot {
        let sum = json!({
            "effective-since": "2020-01-01T00:00:00Z",
            "period": {"mode": "days", "no-of-days": 100_000},
            "since": "2020-01-01T00:00:00Z",
            "consumed": consumed,
        });
        serde_json::from_value(json!({"tenants": {"acme": {"data-volume": sum}}})).unwrap()
    }

    /// Has a gateway that has used so much run to its end.
    async fn run(folder: &Path, used: UsageSnapshot) {
        let mut keeper = Keeper::open(folder).await.unwrap();
        keeper.usage = Usage::restore(used);
        let stop = CancellationToken::new();
        stop.cancel();
        keeper.run(stop).await;
    }

    #[tokio::test]
    async fn what_was_used_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let none = Keeper::open(folder.path()).await.unwrap();
        assert_eq!(none.usage().snapshot(), UsageSnapshot::default());
        run(folder.path(), snapshot(7)).await;
        let first = Keeper::open(folder.path()).await.unwrap();
        assert_eq!(first.usage().snapshot(), snapshot(7));
        run(folder.path(), snapshot(8)).await;
        let second = Keeper::open(folder.path()).await.unwrap();
        assert_eq!(second.usage().snapshot(), snapshot(8));

        let file = folder.path().join("usage.json");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "no draft is left");
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), UsageSnapshot::default()).await;
        assert!(!folder.path().join("usage.json").exists());
        run(folder.path(), snapshot(7)).await;
        let mut keeper = Keeper::open(folder.path()).await.unwrap();
        fs::remove_file(folder.path().join("usage.json")).unwrap();
        keeper.update();
        assert!(!folder.path().join("usage.json").exists());
    }

    #[tokio::test]
    async fn a_file_that_makes_no_sense_is_put_aside() {
        let whole = serde_json::to_string(&Contents {
            version: VERSION,
            tenants: snapshot(7).tenants,
        });
        let whole = whole.unwrap();
        let rows = [
            String::new(),
            "{}".to_owned(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"version\":1", "\"version\":0"),
            whole.replace("\"version\":1", "\"version\":-1"),
            whole.replace("\"consumed\":7", "\"consumed\":-7"),
            whole.replace("\"consumed\"", "\"konsumed\""),
        ];
        for damaged in rows {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("usage.json");
            fs::write(&file, &damaged).unwrap();
            let keeper = Keeper::open(folder.path()).await.unwrap();
            assert_eq!(keeper.usage().snapshot(), UsageSnapshot::default());
            assert!(!file.exists(), "{damaged}");
            let aside = fs::read_to_string(folder.path().join("usage.json.damaged"));
            assert_eq!(aside.unwrap(), damaged);
            run(folder.path(), snapshot(8)).await;
            let next = Keeper::open(folder.path()).await.unwrap();
            assert_eq!(next.usage().snapshot(), snapshot(8));
        }
    }

    #[tokio::test]
    async fn of_files_that_make_no_sense_a_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["1st", "2nd", "3rd", "4th", "5th", "6th"] {
            fs::write(folder.path().join("usage.json"), text).unwrap();
            Keeper::open(folder.path()).await.unwrap();
        }
        let kept = fs::read_dir(folder.path()).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        });
        let expected = [
            ("usage.json.damaged", "1st"),
            ("usage.json.damaged-2", "2nd"),
            ("usage.json.damaged-3", "3rd"),
            ("usage.json.damaged-4", "4th"),
            ("usage.json.damaged-5", "6th"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(kept.collect::<BTreeMap<_, _>>(), expected.into());
    }

    #[tokio::test]
    async fn a_file_that_may_make_sense_elsewhere_keeps_the_gateway_from_starting() {
        let later = r#"{"version":2,"tenants":[],"more":true}"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("usage.json");
        fs::write(&file, later).unwrap();
        let refused = Keeper::open(folder.path()).await.unwrap_err();
        let text = format!("{refused:#}");
        assert!(text.contains("usage.json"), "{text}");
        assert!(text.ends_with("version 2 is later than 1"), "{text}");
        assert_eq!(fs::read_to_string(&file).unwrap(), later);

        // A folder cannot be read as a file by anybody, root neither.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let refused = Keeper::open(folder.path()).await.unwrap_err();
        let text = format!("{refused:#}");
        assert!(text.contains("Is a directory"), "{text}");
        assert!(file.is_dir());

        // Nor can one that is in the way of a damaged file be replaced by it.
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "{").unwrap();
        for number in ["", "-2", "-3", "-4", "-5"] {
            let name = format!("usage.json.damaged{number}");
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let refused = Keeper::open(folder.path()).await.unwrap_err();
        let text = format!("{refused:#}");
        assert!(text.contains("cannot be put aside"), "{text}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(folder.path()).await.unwrap();
        keeper.usage = Usage::restore(snapshot(7));
        // A folder is in the way.
        let draft = folder.path().join("usage.json.new");
        fs::create_dir(&draft).unwrap();
        keeper.update();
        assert!(keeper.is_failing);
        fs::remove_dir(&draft).unwrap();
        keeper.update();
        assert!(!keeper.is_failing);
        let next = Keeper::open(folder.path()).await.unwrap();
        assert_eq!(next.usage().snapshot(), snapshot(7));
    }
}
