//! The thread that reads messages from the disk.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::disk::Bodies;
use crate::memory::Body;

/// Reads that may wait.
pub(crate) const WAITING: usize = 1024;

/// Messages by the ids of their events.
pub(crate) type ReadResult = Result<Vec<(i64, Body)>, rusqlite::Error>;

/// What is to be read, and for whom.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) ids: Vec<i64>,
    pub(crate) done: oneshot::Sender<ReadResult>,
}

/// Starts the thread. It ends when the sender is gone.
pub(crate) fn start(bodies: Bodies) -> std::io::Result<(mpsc::Sender<Read>, JoinHandle<()>)> {
    let (sender, mut reads) = mpsc::channel::<Read>(WAITING);
    let name = "events-read".to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut is_failing = false;
        while let Some(read) = reads.blocking_recv() {
            // Who has gone away gives its events back; there is nothing to read for.
            if read.done.is_closed() {
                continue;
            }
            let result = bodies.read(&read.ids);
            let was_failing = std::mem::replace(&mut is_failing, result.is_err());
            if let Err(error) = &result
                && !was_failing
            {
                // Once, and not for each try until it is over.
                tracing::error!(%error, "cannot read events");
            }
            let _ = read.done.send(result);
        }
    })?;
    Ok((sender, thread))
}
