//! Peers that mean harm, or might as well.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{interval, sleep};

use crate::devices::{LogIn, Target, connect_packet};
use crate::side::{Priority, Side};

/// What attackers do, each of so many at the same time and again when they are thrown out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// HTTP requests whose heads grow by a byte a second.
    SlowHeads,
    /// MQTT connections that send half a CONNECT.
    HalfConnects,
    /// TLS handshakes that stop after the first bytes.
    Handshakes,
    /// Logins of real devices with wrong passwords, as fast as they are refused.
    Guesses,
    /// MQTT packets and HTTP bodies of which the head says already that they are too large.
    Oversized,
}

/// Who is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    pub(crate) http: SocketAddr,
    pub(crate) mqtt_tls: SocketAddr,
    /// With good logins.
    pub(crate) mqtt: Target,
    /// With wrong passwords.
    pub(crate) guessed: Target,
}

/// What became of the attackers' connections. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fates(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
}

impl Fates {
    /// Connections that were opened, logins and requests that were refused with an answer, and
    /// connections that the gateway closed, since the last call.
    pub(crate) fn take(&self) -> (u64, u64, u64) {
        let Counts {
            opened,
            refused,
            closed,
        } = &*self.0;
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        (take(opened), take(refused), take(closed))
    }

    fn count(&self, counter: impl FnOnce(&Counts) -> &AtomicU64) {
        counter(&self.0).fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts so many attackers of each kind, all in one thread of low priority.
pub(crate) async fn start(
    attacks: Vec<(Attack, usize)>,
    victim: &Victim,
    fates: &Fates,
) -> anyhow::Result<Side> {
    let (victim, fates) = (Arc::new(victim.clone()), fates.clone());
    let work = move |ready: oneshot::Sender<()>| async move {
        for (attack, count) in attacks {
            for number in 0..count {
                let (victim, fates) = (victim.clone(), fates.clone());
                tokio::spawn(async move {
                    loop {
                        // Its own errors are what an attacker expects.
                        let _ = attack.run(&victim, number, &fates).await;
                        sleep(attack.pause()).await;
                    }
                });
            }
        }
        // Whoever waits has gone; this thread will be told.
        let _ = ready.send(());
        pending().await
    };
    Side::start(Priority::Low, work).await
}

impl Attack {
    /// Before the next attempt.
    fn pause(self) -> Duration {
        match self {
            Self::SlowHeads | Self::HalfConnects | Self::Handshakes => Duration::from_millis(100),
            Self::Guesses | Self::Oversized => Duration::from_millis(1),
        }
    }

    /// One connection, until the gateway closes it.
    async fn run(self, victim: &Victim, number: usize, fates: &Fates) -> io::Result<()> {
        let address = match self {
            Self::SlowHeads => victim.http,
            Self::HalfConnects => victim.mqtt.address,
            Self::Handshakes => victim.mqtt_tls,
            Self::Guesses => return guess(victim, number, fates).await,
            Self::Oversized if number.is_multiple_of(2) => victim.http,
            Self::Oversized => return oversized_packet(victim, number, fates).await,
        };
        let mut socket = TcpStream::connect(address).await?;
        fates.count(|counts| &counts.opened);
        socket.write_all(&self.beginning()).await?;
        match self {
            Self::SlowHeads => drip(socket, fates).await,
            Self::Oversized => push(socket, fates).await,
            Self::HalfConnects | Self::Handshakes | Self::Guesses => {
                until_closed(&mut socket, fates).await;
            }
        }
        Ok(())
    }

    fn beginning(self) -> Vec<u8> {
        match self {
            Self::SlowHeads => b"POST /telemetry HTTP/1.1\r\nHost: a\r\nX-A: ".to_vec(),
            Self::HalfConnects => {
                let connect = connect_packet("half", None);
                connect[..connect.len() / 2].to_vec()
            }
            // A record of 512 bytes with a ClientHello, of which no more than the version follows.
            Self::Handshakes => vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
            Self::Guesses => Vec::new(),
            Self::Oversized => {
                b"POST /telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n".to_vec()
            }
        }
    }
}

/// Waits for the end, and counts it and the answer before it.
async fn until_closed<S: AsyncRead + Unpin>(socket: &mut S, fates: &Fates) {
    let mut buffer = [0; 1024];
    let mut is_answered = false;
    while let Ok(1..) = socket.read(&mut buffer).await {
        is_answered = true;
    }
    if is_answered {
        fates.count(|counts| &counts.refused);
    }
    fates.count(|counts| &counts.closed);
}

async fn drip(socket: TcpStream, fates: &Fates) {
    let (mut read, mut write) = socket.into_split();
    let dripping = async {
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            if write.write_all(b"x").await.is_err() {
                // The other half will see it.
                pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = until_closed(&mut read, fates) => {}
        () = dripping => {}
    }
}

/// Sends more and more until nobody listens.
async fn push(socket: TcpStream, fates: &Fates) {
    let (mut read, mut write) = socket.into_split();
    let pushing = async {
        let block = [b'x'; 16 * 1024];
        while write.write_all(&block).await.is_ok() {}
        pending::<()>().await;
    };
    tokio::select! {
        () = until_closed(&mut read, fates) => {}
        () = pushing => {}
    }
}

async fn guess(victim: &Victim, number: usize, fates: &Fates) -> io::Result<()> {
    fates.count(|counts| &counts.opened);
    let told = victim.guessed.log_in(number).await;
    fates.count(|counts| match told {
        Ok(LogIn::Refused(_)) => &counts.refused,
        Ok(LogIn::Accepted(_)) | Err(_) => &counts.closed,
    });
    Ok(())
}

async fn oversized_packet(victim: &Victim, number: usize, fates: &Fates) -> io::Result<()> {
    let LogIn::Accepted(mut socket) = victim.mqtt.log_in(number).await? else {
        return Ok(());
    };
    fates.count(|counts| &counts.opened);
    // PUBLISH with the largest remaining length there is.
    socket.write_all(&[0x32, 0xff, 0xff, 0xff, 0x7f]).await?;
    socket.write_all(&[b'x'; 16 * 1024]).await?;
    until_closed(&mut socket, fates).await;
    Ok(())
}
