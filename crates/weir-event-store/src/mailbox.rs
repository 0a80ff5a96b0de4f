//! What waits for the writer: bounded, and taken all at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::event::{Event, Refused};

/// How long settlements wait for others to be written with, unless an event comes, for which somebody
/// waits. Nobody waits for them.
const GATHER: Duration = Duration::from_millis(10);

/// Something for which somebody waits.
#[derive(Debug)]
pub(crate) enum Job {
    /// An event, and who is to be told that it is on the disk.
    Append(Event, oneshot::Sender<Result<(), Refused>>),
    /// Tell when what was settled before is on the disk, or could not be put there.
    Flush(oneshot::Sender<bool>),
}

/// What the writer finds when it looks.
#[derive(Debug)]
pub(crate) enum Found {
    /// Jobs, or none but settlements.
    Work(VecDeque<Job>),
    /// Nothing, for as long as it has waited.
    Nothing,
    /// The store is closed; these are the last jobs.
    Closed(VecDeque<Job>),
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    max_jobs: usize,
    max_bytes: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Something was settled.
    is_poked: bool,
    is_closed: bool,
}

fn size(job: &Job) -> usize {
    match job {
        Job::Append(event, _) => event.payload.len(),
        Job::Flush(_) => 0,
    }
}

impl Mailbox {
    pub(crate) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        Self {
            max_jobs,
            max_bytes,
            inside: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in, if there is room.
    pub(crate) fn put(&self, job: Job) -> Result<(), Refused> {
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(Refused::Closed);
        }
        let bytes = inside.bytes + size(&job);
        if inside.jobs.len() >= self.max_jobs || bytes > self.max_bytes {
            return Err(Refused::Busy);
        }
        inside.bytes = bytes;
        inside.jobs.push_back(job);
        drop(inside);
        self.changed.notify_one();
        Ok(())
    }

    /// Has the writer look at what was settled.
    pub(crate) fn poke(&self) {
        let mut inside = self.lock();
        if !inside.is_poked {
            inside.is_poked = true;
            drop(inside);
            self.changed.notify_one();
        }
    }

    /// Lets nothing more in.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits until there is something to write, for `patience` at most, and takes up to `max` jobs.
    pub(crate) fn wait(&self, max: usize, patience: Option<Duration>) -> Found {
        let is_quiet =
            |inside: &mut Inside| inside.jobs.is_empty() && !inside.is_poked && !inside.is_closed;
        let inside = self.lock();
        let mut inside = match patience {
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(inside, patience, is_quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait_while(inside, is_quiet);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        if inside.jobs.is_empty() && inside.is_poked {
            let is_idle = |inside: &mut Inside| inside.jobs.is_empty() && !inside.is_closed;
            let waited = self.changed.wait_timeout_while(inside, GATHER, is_idle);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let was_poked = std::mem::take(&mut inside.is_poked);
        let count = inside.jobs.len().min(max);
        let jobs: VecDeque<_> = inside.jobs.drain(..count).collect();
        inside.bytes -= jobs.iter().map(size).sum::<usize>();
        if inside.is_closed && inside.jobs.is_empty() {
            Found::Closed(jobs)
        } else if jobs.is_empty() && !was_poked {
            Found::Nothing
        } else {
            Found::Work(jobs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Queue;
    use bytes::Bytes;
    use time::OffsetDateTime;

    fn job(len: usize) -> Job {
        let event = Event {
            tenant: "t".into(),
            device: "d".into(),
            queue: Queue::Event,
            arrived: OffsetDateTime::UNIX_EPOCH,
            expires: None,
            payload: Bytes::from(vec![0; len]),
        };
        Job::Append(event, oneshot::channel().0)
    }

    #[test]
    fn too_many_jobs_or_bytes_are_refused_until_some_are_taken() {
        let mailbox = Mailbox::new(3, 100);
        assert!(mailbox.put(job(60)).is_ok());
        assert_eq!(mailbox.put(job(41)), Err(Refused::Busy));
        assert!(mailbox.put(job(40)).is_ok() && mailbox.put(job(0)).is_ok());
        assert_eq!(mailbox.put(job(0)), Err(Refused::Busy));
        assert!(matches!(mailbox.wait(1, None), Found::Work(jobs) if jobs.len() == 1));
        assert!(mailbox.put(job(60)).is_ok());
        mailbox.close();
        assert_eq!(mailbox.put(job(0)), Err(Refused::Closed));
        assert!(matches!(mailbox.wait(2, None), Found::Work(jobs) if jobs.len() == 2));
        assert!(matches!(mailbox.wait(2, None), Found::Closed(jobs) if jobs.len() == 1));
    }

    #[test]
    fn settlements_alone_are_work_and_quiet_is_nothing() {
        let mailbox = Mailbox::new(3, 100);
        mailbox.poke();
        assert!(matches!(mailbox.wait(9, None), Found::Work(jobs) if jobs.is_empty()));
        let patience = Some(Duration::from_millis(1));
        assert!(matches!(mailbox.wait(9, patience), Found::Nothing));
    }
}
