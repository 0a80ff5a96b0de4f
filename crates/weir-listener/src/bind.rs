//! Where a listener is, and whether it may be there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use crate::tls::Acceptor;
use crate::{Counts, TlsPort};

/// Connections that the system keeps ready to be accepted, if it allows as many: all devices may come at
/// once.
const BACKLOG: u32 = 4096;

/// Where a listener is to listen.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The listener's section in the configuration, for messages.
    pub name: &'static str,
    /// The address of both ports.
    pub ip: IpAddr,
    /// The port without TLS, if there is to be one; 0 takes a free one.
    pub plain: Option<u16>,
    /// Whether plain text is allowed where others than this host can connect.
    pub allow_insecure: bool,
    /// The port with TLS, if there is to be one.
    pub tls: Option<TlsPort>,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A plain port would be reachable from other hosts.
    #[error(
        "{name}: refusing to listen without TLS on {address}, which other hosts can reach; {}\
         set {name}.allow_insecure = true if that is meant",
        plain_off(name, *has_tls)
    )]
    Insecure {
        /// The listener's section in the configuration.
        name: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// Whether the listener would be left with a TLS port.
        has_tls: bool,
    },
    /// Neither a plain port nor one with TLS is wanted.
    #[error(
        "{name}: no port to listen on: the plain one is switched off, and TLS needs a certificate"
    )]
    Nowhere {
        /// The listener's section in the configuration.
        name: &'static str,
    },
    /// The operating system refused.
    #[error("{name}: cannot listen on port {} of {}", address.port(), address.ip())]
    Io {
        /// The listener's section in the configuration.
        name: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

fn plain_off(name: &str, has_tls: bool) -> String {
    if has_tls {
        format!("set {name}.plain = false to serve TLS alone, or ")
    } else {
        String::new()
    }
}

/// Is told of connections that were closed without a word.
pub(crate) struct OnRefusal(Box<dyn Fn() + Send + Sync>);

impl OnRefusal {
    pub(crate) fn tell(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for OnRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnRefusal")
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    pub(crate) name: &'static str,
    pub(crate) counts: Arc<Counts>,
    pub(crate) on_refusal: Option<OnRefusal>,
    pub(crate) plain: Option<TcpListener>,
    pub(crate) tls: Option<(TcpListener, Acceptor)>,
    address: SocketAddr,
}

impl Listener {
    /// Opens the ports, and logs where each one is.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn bind(bind: Bind) -> Result<Self, BindError> {
        let Bind { name, ip, .. } = bind;
        let has_tls = bind.tls.is_some();
        let mut addresses = Vec::new();
        let plain = match bind.plain {
            Some(port) => {
                let address = SocketAddr::new(ip, port);
                if !ip.is_loopback() && !bind.allow_insecure {
                    return Err(BindError::Insecure {
                        name,
                        address,
                        has_tls,
                    });
                }
                let (tcp, address) = open(name, address)?;
                addresses.push((address, false));
                Some(tcp)
            }
            None => None,
        };
        let tls = match bind.tls {
            Some(port) => {
                let (tcp, address) = open(name, SocketAddr::new(ip, port.port))?;
                addresses.push((address, true));
                Some((tcp, Acceptor::new(name, port)))
            }
            None => None,
        };
        let Some(&(address, _)) = addresses.first() else {
            return Err(BindError::Nowhere { name });
        };
        for (address, tls) in addresses {
            // A name of its own for each port: scripts look their ports up by it.
            let suffix = if tls { "-tls" } else { "" };
            tracing::info!(listener = %format_args!("{name}{suffix}"), %address, tls, "listening");
        }
        Ok(Self {
            name,
            counts: Arc::new(Counts::new(name)),
            on_refusal: None,
            plain,
            tls,
            address,
        })
    }

    /// Has `told` called for each connection that is closed without a word because there is no place for
    /// it. It may not wait.
    pub fn on_refusal(self, told: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            on_refusal: Some(OnRefusal(Box::new(told))),
            ..self
        }
    }

    /// How many connections there were; it goes on counting.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// The address it listens on, with the real port: the plain one's if that is open, else the one
    /// with TLS.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address of the port with TLS, if it is open.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        let (tcp, _) = self.tls.as_ref()?;
        tcp.local_addr().ok()
    }
}

fn open(name: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let error = |source| BindError::Io {
        name,
        address,
        source,
    };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let listen = |socket: TcpSocket| {
        // As tokio's own: a gateway that is started again gets its port at once.
        socket.set_reuseaddr(cfg!(unix))?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let tcp = socket.and_then(listen).map_err(error)?;
    let address = tcp.local_addr().map_err(error)?;
    Ok((tcp, address))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn local(port: u16) -> Bind {
        Bind {
            name: "mqtt",
            ip: Ipv4Addr::LOCALHOST.into(),
            plain: Some(port),
            allow_insecure: false,
            tls: None,
        }
    }

    #[tokio::test]
    async fn a_plain_listener_on_all_addresses_has_to_be_asked_for() {
        let ip = Ipv4Addr::UNSPECIFIED.into();
        let error = Listener::bind(Bind { ip, ..local(0) }).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("mqtt.allow_insecure = true"), "{text}");
        assert!(!text.contains("mqtt.plain"), "{text}");
        let allowed = Bind {
            ip,
            allow_insecure: true,
            ..local(0)
        };
        assert!(Listener::bind(allowed).await.is_ok());
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = Listener::bind(local(0)).await.unwrap();
        let port = first.local_addr().port();
        let error = Listener::bind(local(port)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("mqtt: cannot listen on port {port}"))
        );
    }

    #[tokio::test]
    async fn a_listener_without_any_port_is_a_mistake() {
        let nowhere = Bind {
            plain: None,
            ..local(0)
        };
        let error = Listener::bind(nowhere).await.unwrap_err();
        assert!(matches!(error, BindError::Nowhere { name: "mqtt" }));
    }
}
