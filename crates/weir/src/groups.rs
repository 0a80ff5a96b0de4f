//! The groups of tasks that a gateway is made of.

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The group of which a task ends before the gateway is told to stop, and how it has ended. Without those that
/// watch, the gateway would go on with limits, certificates and metrics as they were.
pub(crate) async fn first_lost(
    stop: &CancellationToken,
    northbound: &mut JoinSet<()>,
    devices: &mut JoinSet<()>,
    watch: &mut JoinSet<()>,
) -> Option<(&'static str, Result<(), JoinError>)> {
    tokio::select! {
        // Told to stop, they end too.
        biased;
        () = stop.cancelled() => None,
        Some(ended) = northbound.join_next() => Some(("northbound", ended)),
        Some(ended) = devices.join_next() => Some(("devices", ended)),
        Some(ended) = watch.join_next() => Some(("watch", ended)),
    }
}

/// Waits until all tasks of a group have ended, and says so loudly if one did not end by itself.
pub(crate) async fn ended(group: &str, tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(group, %error, "a part failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_of_any_group_that_ends_by_itself_is_missed() {
        for ends in ["northbound", "devices", "watch", "none"] {
            let stop = CancellationToken::new();
            let group = |name| {
                let mut group = JoinSet::new();
                group.spawn(std::future::pending());
                if name == ends {
                    group.spawn(async {});
                }
                group
            };
            // Nothing need listen to devices.
            let mut devices = match ends {
                "devices" => group("devices"),
                _ => JoinSet::new(),
            };
            let (mut northbound, mut watch) = (group("northbound"), group("watch"));
            if ends == "none" {
                northbound.spawn(async {});
                stop.cancel();
            }
            let lost = first_lost(&stop, &mut northbound, &mut devices, &mut watch).await;
            let lost = lost.map_or("none", |(group, _)| group);
            assert_eq!(lost, ends);
        }
    }
}
