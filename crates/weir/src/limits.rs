//! What the machine allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors kept for what is not a device's connection: applications, operators, connections
/// that are being refused, listeners, the registry.
const RESERVED_FILES: u64 = 1200;
/// Where a process's file limit is unlimited, connections are not.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// Raises the number of files this process may open as far as it may by itself.
pub(crate) fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Staying at the present limit is safe; the connection limit follows it.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
}

/// The number of connections: as configured, or the file limit less a reserve.
pub(crate) fn max_connections(configured: usize) -> usize {
    if configured > 0 {
        return configured;
    }
    let files = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(MOST_CONNECTIONS);
    // Where the limit is small, half of it has to do.
    let reserved = RESERVED_FILES.min(files / 2);
    let connections = (files - reserved).clamp(1, MOST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// How many passwords may be hashed at a time: all processors but one, so that messages go on.
pub(crate) fn password_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// The machine's name, for the metrics label `host`.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
