//! A thread with a runtime of its own: who measures must not wait for who makes the load.

use std::future::Future;
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Work that goes on in a thread of its own until this is dropped.
pub(crate) struct Side {
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// Who gets a processor first, if there are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    Normal,
    /// For the load: what is measured is the turn that the gateway gives, not the one that the
    /// machine gives.
    Low,
}

/// Niceness of [`Priority::Low`].
const LOW: i32 = 10;

impl Side {
    /// Starts work and waits until that says that it is ready.
    ///
    /// # Errors
    /// Those of the work, if it ends before it is ready.
    pub(crate) async fn start<F, W>(priority: Priority, work: F) -> anyhow::Result<Self>
    where
        F: FnOnce(oneshot::Sender<()>) -> W + Send + 'static,
        W: Future<Output = anyhow::Result<()>>,
    {
        let (ready, is_ready) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            if priority == Priority::Low {
                // On Linux a thread's own.
                rustix::process::nice(LOW)?;
            }
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => Ok(()),
                    done = work(ready) => done,
                }
            })
        });
        let mut side = Self {
            stop,
            thread: Some(thread),
        };
        if is_ready.await.is_err() {
            side.join()?;
            return Err(anyhow!("it ended before it was ready"));
        }
        Ok(side)
    }

    /// Stops the work; its connections are closed with that.
    ///
    /// # Errors
    /// Those of the work, if it has ended by itself.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(anyhow!("a thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has called `finish`.
        let _ = self.join();
    }
}
