//! Which gateway, and as whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use rand::RngExt as _;
use reqwest::Url;
use weir_amqp_engine::{ClientSasl, CloseReason, SaslCode, condition};
use weir_amqp_transport::{
    Client, ClientOptions, ClientTls, ConnectError, Credit, Receiver, Sender,
};

use crate::config::Config;
use crate::person::{User, gateway_url, host, is_this_host, no_cacert};
use crate::secrets;

/// For a device that takes commands to be known to the gateway, until "nobody" is the answer.
const CREDIT_TIME: Duration = Duration::from_secs(2);
/// For what became of a command; Hono's command router gives up after 8 seconds.
const OUTCOME_TIME: Duration = Duration::from_secs(10);
/// The gateway's ports for applications.
const PORT: u16 = 15672;
const TLS_PORT: u16 = 15671;

const HEADING: &str = "Connection";

/// Options of every command that is an application.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The gateway's AMQP 1.0 endpoint, amqp://HOST:PORT, or amqps://HOST:PORT with TLS; the ports are
    /// 15672 and 15671 if left out. Default: the one that the configuration describes, on this host;
    /// without one, amqp://127.0.0.1:15672.
    #[arg(
        long,
        env = "WEIR_AMQP_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    #[arg(value_parser = amqp_url, help_heading = HEADING)]
    url: Option<Url>,
    /// The application's account. Default, for a gateway on this host: the one of the configuration, or
    /// that of the data folder (see `weir secret application`). Others can see a command's arguments,
    /// so prefer the variable.
    #[arg(long, env = "WEIR_AMQP_USER", hide_env_values = true)]
    #[arg(value_name = "NAME:PASSWORD", help_heading = HEADING)]
    user: Option<User>,
    /// Trust the certificates in this PEM file, and no others, for a URL that begins with amqps. Those
    /// of the system are often in /etc/ssl/certs/ca-certificates.crt.
    #[arg(long, env = "WEIR_CACERT", value_name = "FILE", help_heading = HEADING)]
    cacert: Option<PathBuf>,
    /// The gateway's configuration file, from which the defaults of URL and user are.
    #[arg(short, long, env = "WEIR_CONFIG", value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
}

fn amqp_url(text: &str) -> Result<Url, String> {
    let url = gateway_url(text, "amqp", "amqps")?;
    match matches!(url.path(), "" | "/") && url.query().is_none() {
        true => Ok(url),
        false => Err("has more than host and port".to_owned()),
    }
}

impl ConnectArgs {
    /// Connects to the gateway that the arguments mean.
    pub(super) async fn connect(&self) -> anyhow::Result<Gateway> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => configured_url(&self.config()?)?,
        };
        let user = match &self.user {
            Some(user) => user.clone(),
            // The password of this host's gateway is not for others to see.
            None if !is_this_host(&url) => {
                bail!("{url} is not on this host: give --user NAME:PASSWORD or WEIR_AMQP_USER")
            }
            None => configured_user(&self.config()?)
                .context("no --user or WEIR_AMQP_USER, and none was found")?,
        };
        let sasl = ClientSasl::Plain {
            username: user.name.clone(),
            password: user.password,
        };
        let tls = self.tls(&url)?;
        let usual = if tls.is_some() { TLS_PORT } else { PORT };
        let port = url.port().unwrap_or(usual);
        let options = ClientOptions {
            tls,
            container_id: format!("weir-{}", random_id()),
            credit_timeout: CREDIT_TIME,
            outcome_timeout: OUTCOME_TIME,
            ..ClientOptions::new(host(&url), port, sasl)
        };
        let user = user.name;
        match Client::connect(options).await {
            Ok(client) => Ok(Gateway::new(client, user)),
            Err(error) => Err(not_connected(error, &url, &user)),
        }
    }

    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref(), std::env::vars())?)
    }

    fn tls(&self, url: &Url) -> anyhow::Result<Option<ClientTls>> {
        if url.scheme() != "amqps" {
            no_cacert(self.cacert.as_deref(), url)?;
            return Ok(None);
        }
        let Some(path) = &self.cacert else {
            bail!("{url} needs --cacert FILE: the certificates to trust");
        };
        Ok(Some(ClientTls::trusting(path).context("--cacert")?))
    }
}

/// Letters and digits that nobody else has.
pub(super) fn random_id() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

fn configured_url(config: &Config) -> anyhow::Result<Url> {
    let amqp = &config.northbound.amqp;
    if !amqp.plain {
        // The name in its certificate is not known here.
        bail!("the configuration has the applications' port with TLS alone: give --url amqps://…");
    }
    if amqp.port == 0 {
        bail!("the configuration says no port for applications: give --url");
    }
    let host = match amqp.bind {
        IpAddr::V4(bind) if bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(bind) if bind.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        bind => bind,
    };
    Ok(format!("amqp://{}", SocketAddr::new(host, amqp.port)).parse()?)
}

fn configured_user(config: &Config) -> anyhow::Result<User> {
    if let Some(path) = &config.northbound.amqp.permissions {
        bail!("the gateway's users are those in {}", path.display());
    }
    let Some(account) = &config.accounts.application else {
        let made = secrets::read(&config.data_dir)?.application;
        let (name, password) = (made.username, made.password);
        return Ok(User { name, password });
    };
    let Some(password) = &account.password else {
        bail!("the configuration has only the hash of the application's password");
    };
    let (name, password) = (account.username.clone(), password.reveal().to_owned());
    Ok(User { name, password })
}

/// A connection to a gateway, and who we are there.
pub(crate) struct Gateway {
    client: Client,
    user: String,
}

impl Gateway {
    /// The gateway that `client` is connected to as `user`.
    pub(crate) fn new(client: Client, user: String) -> Self {
        Self { client, user }
    }

    pub(crate) async fn receiver(&self, address: &str, credit: Credit) -> anyhow::Result<Receiver> {
        let receiver = self.client.receiver(address, credit).await;
        receiver.map_err(|error| self.not_attached(error, "receive from", address))
    }

    pub(super) async fn sender(&self, address: &str) -> anyhow::Result<Sender> {
        let sender = self.client.sender(address).await;
        sender.map_err(|error| self.not_attached(error, "send to", address))
    }

    pub(super) async fn close(self) {
        self.client.close().await;
    }

    fn not_attached(&self, error: ConnectError, verb: &str, address: &str) -> anyhow::Error {
        let condition = match &error {
            ConnectError::Refused { error: Some(error) } => &*error.condition,
            _ => "",
        };
        let user = &self.user;
        match condition {
            condition::UNAUTHORIZED_ACCESS => {
                anyhow!("user {user} is not allowed to {verb} {address}")
            }
            condition::NOT_FOUND => anyhow!("the gateway has no address {address}"),
            _ => anyhow::Error::new(error).context(format!("cannot {verb} {address}")),
        }
    }
}

fn not_connected(error: ConnectError, url: &Url, user: &str) -> anyhow::Error {
    match &error {
        ConnectError::Closed {
            reason: CloseReason::Sasl(SaslCode::Auth),
            ..
        } => anyhow!("{url} does not accept user {user} with this password"),
        ConnectError::Closed {
            reason: CloseReason::SaslMechanism,
            ..
        } => anyhow!("{url} does not let users log in with a password"),
        ConnectError::Closed {
            reason: CloseReason::ProtocolHeader | CloseReason::TransportLost,
            ..
        } if url.scheme() == "amqp" => anyhow!(
            "{url} does not answer as an AMQP 1.0 server: perhaps another port is meant, or \
             amqps:// for one with TLS"
        ),
        ConnectError::Closed { .. } | ConnectError::TimedOut(_) => {
            anyhow::Error::new(error).context(format!("cannot connect to {url}"))
        }
        // Its words have those of its cause.
        _ => anyhow!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use weir_amqp_engine::Error;

    use super::*;

    #[test]
    fn the_url_follows_the_configuration() {
        let rows = [
            ("127.0.0.1", 15672, Some("amqp://127.0.0.1:15672")),
            ("0.0.0.0", 5672, Some("amqp://127.0.0.1:5672")),
            ("::", 5672, Some("amqp://[::1]:5672")),
            ("10.0.0.1", 5672, Some("amqp://10.0.0.1:5672")),
            ("127.0.0.1", 0, None),
        ];
        for (bind, port, expected) in rows {
            let mut config = Config::default();
            config.northbound.amqp.bind = bind.parse().unwrap();
            config.northbound.amqp.port = port;
            let url = configured_url(&config).ok();
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{bind}:{port}");
            config.northbound.amqp.plain = false;
            assert!(configured_url(&config).is_err());
        }
    }

    #[test]
    fn urls_that_cannot_be_an_endpoint_are_refused() {
        for bad in [
            "gateway:15672",
            "http://h",
            "amqp://u:p@h",
            "amqp://h/telemetry",
            "amqp:h",
            "127.0.0.1",
        ] {
            assert!(amqp_url(bad).is_err(), "{bad}");
        }
        assert_eq!(host(&amqp_url("amqps://[::1]:15671").unwrap()), "::1");
    }

    #[test]
    fn a_refused_login_names_the_user() {
        let closed = |reason| ConnectError::Closed {
            reason,
            error: None,
        };
        let rows = [
            (
                closed(CloseReason::Sasl(SaslCode::Auth)),
                "does not accept user app",
            ),
            (closed(CloseReason::TransportLost), "or amqps://"),
            (
                closed(CloseReason::HandshakeTimeout),
                "cannot connect to amqp://h",
            ),
            (
                ConnectError::TimedOut(Duration::from_secs(10)),
                "cannot connect to amqp://h: no answer within 10s",
            ),
            (
                ConnectError::Refused {
                    error: Some(Error::new(condition::NOT_ALLOWED, "no")),
                },
                "refused the link: amqp:not-allowed: no",
            ),
        ];
        for (error, expected) in rows {
            let url = amqp_url("amqp://h").unwrap();
            let text = format!("{:#}", not_connected(error, &url, "app"));
            assert!(text.contains(expected), "{text}");
        }
    }
}
