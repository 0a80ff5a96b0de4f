//! Which gateway, and as whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};

use super::api::Api;
use super::show::Format;
use crate::config::Config;
use crate::person::{User, gateway_url, is_this_host, no_cacert};
use crate::secrets;

/// For a connection to come about.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For an answer: many passwords to be hashed at a time take the gateway a while.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// Idle connections are given up before the gateway closes them.
const IDLE_TIME: Duration = Duration::from_secs(20);

const HEADING: &str = "Connection";

/// Options of every command that talks to a gateway.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The management API of the gateway. Default: the one that the configuration describes, on this
    /// host; without one, http://127.0.0.1:28080.
    #[arg(
        long,
        env = "WEIR_URL",
        hide_env_values = true,
        global = true,
        value_name = "URL"
    )]
    #[arg(value_parser = api_url, help_heading = HEADING)]
    url: Option<Url>,
    /// The operator's account. Default, for a gateway on this host: the one of the configuration, or
    /// that of the data folder (see `weir secret operator`). Others can see a command's arguments, so
    /// prefer the variable.
    #[arg(long, env = "WEIR_USER", hide_env_values = true, global = true)]
    #[arg(value_name = "NAME:PASSWORD", help_heading = HEADING)]
    user: Option<User>,
    /// Trust the certificates in this PEM file, and no others, for a URL that begins with https.
    #[arg(long, env = "WEIR_CACERT", global = true, value_name = "FILE", help_heading = HEADING)]
    cacert: Option<PathBuf>,
    /// The gateway's configuration file, from which the defaults of URL and user are.
    #[arg(short, long, env = "WEIR_CONFIG", global = true, value_name = "FILE")]
    #[arg(help_heading = HEADING)]
    config: Option<PathBuf>,
    /// A table for people, or the API's JSON for programs.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(super) output: Format,
}

fn api_url(text: &str) -> Result<Url, String> {
    gateway_url(text, "http", "https")
}

impl ConnectArgs {
    /// The API that the arguments mean. Nothing is sent yet.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => configured_url(&self.config()?)?,
        };
        let user = match &self.user {
            Some(user) => user.clone(),
            // The password of this host's gateway is not for others to see.
            None if !is_this_host(&url) => {
                bail!("{url} is not on this host: give --user NAME:PASSWORD or WEIR_USER")
            }
            None => configured_user(&self.config()?)
                .context("no --user or WEIR_USER, and none was found")?,
        };
        Ok(Api::new(self.client(&url)?, url, user))
    }

    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref(), std::env::vars())?)
    }

    fn client(&self, url: &Url) -> anyhow::Result<Client> {
        if url.scheme() == "http" {
            no_cacert(self.cacert.as_deref(), url)?;
        }
        let builder = ClientBuilder::new()
            .connect_timeout(CONNECT_TIME)
            .timeout(ANSWER_TIME)
            .pool_idle_timeout(IDLE_TIME)
            .redirect(Policy::none());
        // What the environment says of proxies is not meant for this host.
        let builder = match is_this_host(url) {
            true => builder.no_proxy(),
            false => builder,
        };
        let builder = match &self.cacert {
            Some(path) => {
                let named = || format!("--cacert {}", path.display());
                let pem = std::fs::read(path).with_context(named)?;
                let trusted = Certificate::from_pem_bundle(&pem).with_context(named)?;
                if trusted.is_empty() {
                    bail!("{}: no certificate in PEM form in it", named());
                }
                builder.tls_certs_only(trusted)
            }
            // The system's certificates are not needed, and need not be there.
            None if url.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        builder.build().context("cannot prepare TLS")
    }
}

fn configured_url(config: &Config) -> anyhow::Result<Url> {
    let management = &config.management;
    if !management.enabled || management.port == 0 {
        bail!("the configuration says no port for the management API: give --url");
    }
    if !management.plain {
        // The name in its certificate is not known here.
        bail!("the configuration has the management API with TLS alone: give --url https://…");
    }
    let host = match management.bind {
        IpAddr::V4(bind) if bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(bind) if bind.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        bind => bind,
    };
    let address = std::net::SocketAddr::new(host, management.port);
    Ok(format!("http://{address}").parse()?)
}

fn configured_user(config: &Config) -> anyhow::Result<User> {
    let Some(account) = &config.accounts.operator else {
        let made = secrets::read(&config.data_dir)?.operator;
        let (name, password) = (made.username, made.password);
        return Ok(User { name, password });
    };
    let Some(password) = &account.password else {
        bail!("the configuration has only the hash of the operator's password");
    };
    let (name, password) = (account.username.clone(), password.reveal().to_owned());
    Ok(User { name, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_follows_the_configuration() {
        let rows = [
            ("127.0.0.1", 28080, Some("http://127.0.0.1:28080/")),
            ("0.0.0.0", 8000, Some("http://127.0.0.1:8000/")),
            ("::", 8000, Some("http://[::1]:8000/")),
            ("10.0.0.1", 8000, Some("http://10.0.0.1:8000/")),
            ("127.0.0.1", 0, None),
        ];
        for (bind, port, expected) in rows {
            let mut config = Config::default();
            config.management.bind = bind.parse().unwrap();
            config.management.port = port;
            let url = configured_url(&config).ok();
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{bind}:{port}");
            config.management.plain = false;
            assert!(configured_url(&config).is_err());
        }
    }

    #[test]
    fn urls_that_cannot_be_an_api_are_refused() {
        for bad in ["gateway:28080", "ftp://h", "http://u:p@h", "127.0.0.1"] {
            assert!(api_url(bad).is_err(), "{bad}");
        }
        assert!(api_url("https://h/registry").is_ok());
    }
}
