//! What all listeners' sections have in common: where they listen, and with which certificate.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_listener::TlsFiles;

use super::Config;

/// The certificate of all listeners with TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate chain, PEM: the gateway's certificate first, then those that issued it.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// The files for a listener that may have its own.
    pub(crate) fn files(
        &self,
        own_certificate: Option<&Path>,
        own_key: Option<&Path>,
    ) -> Option<TlsFiles> {
        let own = own_certificate.zip(own_key);
        let all = self.certificate.as_deref().zip(self.key.as_deref());
        let (certificate, key) = own.or(all)?;
        Some(TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: None,
        })
    }
}

impl Config {
    /// Plain ports alone, for the demonstration, whose clients speak no TLS.
    pub(crate) fn without_tls(&mut self) {
        macro_rules! plain {
            ($($config:expr),*) => {
                $(
                    $config.plain = true;
                    $config.tls_certificate = None;
                    $config.tls_key = None;
                )*
            };
        }
        self.tls = TlsConfig::default();
        plain!(self.http, self.mqtt, self.management, self.northbound.amqp);
        self.northbound.amqp.tls_client_ca = None;
    }
}

/// A listener's keys, whichever section they are in.
struct Section<'a> {
    name: &'static str,
    enabled: bool,
    bind: IpAddr,
    allow_insecure: bool,
    port: u16,
    tls: Option<TlsKeys<'a>>,
}

/// Those of one that can have TLS.
struct TlsKeys<'a> {
    plain: bool,
    port: u16,
    certificate: Option<&'a Path>,
    key: Option<&'a Path>,
}

/// Reads the keys, which have the same names in each section.
macro_rules! section {
    ($name:literal, $config:expr, $enabled:expr) => {
        Section {
            name: $name,
            enabled: $enabled,
            bind: $config.bind,
            allow_insecure: $config.allow_insecure,
            port: $config.port,
            tls: Some(TlsKeys {
                plain: $config.plain,
                port: $config.tls_port,
                certificate: $config.tls_certificate.as_deref(),
                key: $config.tls_key.as_deref(),
            }),
        }
    };
}

fn sections(config: &Config) -> [Section<'_>; 6] {
    [
        section!("http", config.http, config.http.enabled),
        section!("mqtt", config.mqtt, config.mqtt.enabled),
        section!("northbound.amqp", config.northbound.amqp, true),
        section!("management", config.management, config.management.enabled),
        Section {
            name: "health",
            enabled: true,
            bind: config.health.bind,
            allow_insecure: config.health.allow_insecure,
            port: config.health.port,
            tls: None,
        },
        Section {
            name: "metrics.emqx",
            enabled: config.metrics.emqx.enabled,
            bind: config.metrics.emqx.bind,
            allow_insecure: config.metrics.emqx.allow_insecure,
            port: config.metrics.emqx.port,
            tls: None,
        },
    ]
}

/// What is wrong with the listeners: key and message.
pub(super) fn mistakes(config: &Config) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    let amqp = &config.northbound.amqp;
    let own = (amqp.tls_certificate.as_deref(), amqp.tls_key.as_deref());
    if amqp.tls_client_ca.is_some() && config.tls.files(own.0, own.1).is_none() {
        let message = "has no use without a certificate (tls.certificate and tls.key)";
        mistakes.push((
            "northbound.amqp.tls_client_ca".to_owned(),
            message.to_owned(),
        ));
    }
    let pair = (config.tls.certificate.as_deref(), config.tls.key.as_deref());
    half_a_pair("tls.certificate", "tls.key", pair, &mut mistakes);
    // Port and key of all that will be opened.
    let mut ports: Vec<(u16, String)> = Vec::new();
    for section in sections(config) {
        section.mistakes(&config.tls, &mut mistakes);
        for (port, key) in section.ports(&config.tls) {
            let key = format!("{}.{key}", section.name);
            let other = ports.iter().find(|other| port != 0 && other.0 == port);
            if let Some((_, other)) = other {
                mistakes.push((key.clone(), format!("{port} is also {other}")));
                mistakes.push((other.clone(), format!("{port} is also {key}")));
            }
            ports.push((port, key));
        }
    }
    mistakes
}

impl Section<'_> {
    fn has_certificate(&self, all: &TlsConfig) -> bool {
        let files = |tls: &TlsKeys<'_>| all.files(tls.certificate, tls.key);
        self.tls.as_ref().and_then(files).is_some()
    }

    fn is_plain(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.plain)
    }

    /// The ports it will open, each with the last part of its key.
    fn ports(&self, all: &TlsConfig) -> impl Iterator<Item = (u16, &'static str)> {
        let plain = (self.enabled && self.is_plain()).then_some((self.port, "port"));
        let has_tls = self.enabled && self.has_certificate(all);
        let tls = self.tls.as_ref().filter(|_| has_tls);
        plain
            .into_iter()
            .chain(tls.map(|tls| (tls.port, "tls_port")))
    }

    fn mistakes(&self, all: &TlsConfig, mistakes: &mut Vec<(String, String)>) {
        let name = self.name;
        if let Some(tls) = &self.tls {
            let keys = [format!("{name}.tls_certificate"), format!("{name}.tls_key")];
            half_a_pair(&keys[0], &keys[1], (tls.certificate, tls.key), mistakes);
        }
        if !self.enabled {
            return;
        }
        if !self.is_plain() && !self.has_certificate(all) {
            let message = "false leaves no port at all: without a certificate (tls.certificate and \
                           tls.key) there is no TLS";
            mistakes.push((format!("{name}.plain"), message.to_owned()));
        }
        if self.is_plain() && !self.bind.is_loopback() && !self.allow_insecure {
            mistakes.push((format!("{name}.bind"), self.exposed(all)));
        }
    }

    fn exposed(&self, all: &TlsConfig) -> String {
        let (name, bind, port) = (self.name, self.bind, self.port);
        let way_out = match &self.tls {
            None => "",
            Some(_) if self.has_certificate(all) => {
                &*format!("set {name}.plain = false to serve TLS alone, or ")
            }
            Some(_) => &*format!(
                "set tls.certificate and tls.key, and {name}.plain = false to serve TLS alone, or "
            ),
        };
        format!(
            "{bind} can be reached by other hosts, and port {port} has no TLS; {way_out}set \
             {name}.allow_insecure = true if that is meant"
        )
    }
}

/// A certificate is of no use without its key, nor the other way round.
fn half_a_pair(
    certificate: &str,
    key: &str,
    pair: (Option<&Path>, Option<&Path>),
    mistakes: &mut Vec<(String, String)>,
) {
    match pair {
        (Some(_), None) => mistakes.push((certificate.to_owned(), format!("needs {key} too"))),
        (None, Some(_)) => mistakes.push((key.to_owned(), format!("needs {certificate} too"))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

    fn first_mistake(text: &str) -> Option<(String, String)> {
        mistakes(&toml::from_str(text).unwrap()).into_iter().next()
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        let rows = [
            (
                "[tls]\ncertificate = \"c.pem\"",
                "tls.certificate",
                "needs tls.key too",
            ),
            (
                "[tls]\nkey = \"k.pem\"",
                "tls.key",
                "needs tls.certificate too",
            ),
            (
                "[mqtt]\ntls_key = \"k.pem\"",
                "mqtt.tls_key",
                "needs mqtt.tls_certificate too",
            ),
            (
                "[http]\nplain = false",
                "http.plain",
                "leaves no port at all",
            ),
            (
                "[northbound.amqp]\ntls_client_ca = \"ca.pem\"",
                "northbound.amqp.tls_client_ca",
                "has no use without a certificate",
            ),
            (
                "[northbound.amqp]\nplain = false",
                "northbound.amqp.plain",
                "leaves no port at all",
            ),
            (
                &format!("{PAIR}[http]\ntls_port = 1883"),
                "mqtt.port",
                "1883 is also http.tls_port",
            ),
            (
                &format!("{PAIR}[http]\ntls_port = 8883"),
                "mqtt.tls_port",
                "8883 is also http.tls_port",
            ),
            (
                &format!("{PAIR}[http]\ntls_port = 8080"),
                "http.tls_port",
                "8080 is also http.port",
            ),
            (
                &format!("{PAIR}[mqtt]\nbind = \"0.0.0.0\""),
                "mqtt.bind",
                "and port 1883 has no TLS; set mqtt.plain = false to serve TLS alone, or set \
                 mqtt.allow_insecure = true",
            ),
            (
                "[management]\nbind = \"::\"",
                "management.bind",
                "set tls.certificate and tls.key, and management.plain = false",
            ),
            (
                "[health]\nbind = \"0.0.0.0\"",
                "health.bind",
                "and port 8088 has no TLS; set health.allow_insecure = true",
            ),
        ];
        for (text, key, message) in rows {
            let mistake = first_mistake(text).unwrap();
            assert_eq!(mistake.0, key, "{text}");
            assert!(mistake.1.contains(message), "{text}: {}", mistake.1);
        }
    }

    #[test]
    fn tls_may_be_reached_by_all_and_unused_ports_clash_with_nothing() {
        let rows = [
            format!("{PAIR}[mqtt]\nbind = \"0.0.0.0\"\nplain = false"),
            format!("{PAIR}[mqtt]\nbind = \"0.0.0.0\"\nallow_insecure = true"),
            format!("{PAIR}[http]\nplain = false\nport = 1883"),
            format!("{PAIR}[northbound.amqp]\ntls_client_ca = \"ca.pem\""),
            format!("{PAIR}[http]\ntls_port = 0\n[mqtt]\ntls_port = 0"),
            format!("{PAIR}[http]\nenabled = false\ntls_port = 1883"),
            "[http]\ntls_port = 1883".to_owned(),
            "[mqtt]\nplain = false\ntls_certificate = \"c\"\ntls_key = \"k\"".to_owned(),
        ];
        for text in rows {
            assert_eq!(first_mistake(&text), None, "{text}");
        }
    }

    #[test]
    fn a_listeners_own_certificate_goes_before_the_one_for_all() {
        let all: Config = toml::from_str(PAIR).unwrap();
        let files = |certificate: Option<&Path>, key| all.tls.files(certificate, key).unwrap();
        assert_eq!(files(None, None).certificate, Path::new("c.pem"));
        let own = files(Some(Path::new("own.pem")), Some(Path::new("own.key")));
        assert_eq!(own.certificate, Path::new("own.pem"));
        assert_eq!(own.key, Path::new("own.key"));
    }
}
