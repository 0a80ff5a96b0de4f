//! Whoever reads the output.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tokio::sync::oneshot;

/// Returns when nobody reads `output` any more: the other end of a pipe is closed. Never, for a file.
///
/// Without this, a command that has nothing to write would not find out (`weir consume … | head -1`).
pub(super) async fn gone(output: OwnedFd) {
    let (tell, told) = oneshot::channel();
    // A thread of its own, which ends with the process: tokio can only wait for what does not block.
    let thread = thread::Builder::new().name("weir-output".to_owned());
    let waiting = thread.spawn(move || {
        if is_gone(&output, None) {
            let _ = tell.send(());
        }
    });
    if waiting.is_err() || told.await.is_err() {
        pending::<()>().await;
    }
}

/// Whether nobody reads it, now or before the time is over.
fn is_gone(output: &OwnedFd, time: Option<&Timespec>) -> bool {
    // Nothing is asked for: errors and hang-ups are told in any case.
    let mut one = [PollFd::new(output, PollFlags::empty())];
    let found = retry_on_intr(|| poll(&mut one, time));
    let is_over = PollFlags::ERR | PollFlags::HUP;
    found.is_ok() && one[0].revents().intersects(is_over)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    #[tokio::test]
    async fn a_reader_that_goes_away_is_noticed() {
        for is_full in [false, true] {
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            let output: OwnedFd = writer.try_clone().unwrap().into();
            assert!(!is_gone(&output, Some(&NOW)));
            writer.write_all(b"line").unwrap();
            reader.read_exact(&mut [0; 4]).unwrap();
            if is_full {
                // Then it cannot be written to when the end comes.
                rustix::io::ioctl_fionbio(&writer, true).unwrap();
                while writer.write(&[0; 4096]).is_ok() {}
            }
            assert!(!is_gone(&output, Some(&NOW)));
            drop(reader);
            gone(output).await;
        }
    }

    #[test]
    fn a_file_has_no_reader() {
        let file = tempfile::tempfile().unwrap();
        assert!(!is_gone(&file.into(), Some(&NOW)));
    }
}
