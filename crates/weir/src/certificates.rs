//! The certificates of the listeners with TLS: each pair of files is read and watched once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_listener::{Tls, TlsError, TlsFiles};

use crate::config::{Config, TlsConfig};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(3);

/// What was loaded so far.
#[derive(Debug)]
pub(crate) struct Certificates<'a> {
    config: &'a TlsConfig,
    loaded: Vec<(TlsFiles, Tls)>,
    listeners: BTreeMap<&'static str, Tls>,
}

impl<'a> Certificates<'a> {
    pub(crate) fn new(config: &'a TlsConfig) -> Self {
        Self {
            config,
            loaded: Vec::new(),
            listeners: BTreeMap::new(),
        }
    }

    /// The certificate of the listener of that name, which may have files of its own; `None` if there is
    /// none.
    pub(crate) fn load(
        &mut self,
        listener: &'static str,
        own_certificate: Option<&Path>,
        own_key: Option<&Path>,
    ) -> Result<Option<Tls>, TlsError> {
        self.load_trusting(listener, own_certificate, own_key, None)
    }

    /// The same for a listener whose clients' certificates are issued by authorities of its own.
    pub(crate) fn load_trusting(
        &mut self,
        listener: &'static str,
        own_certificate: Option<&Path>,
        own_key: Option<&Path>,
        client_ca: Option<&Path>,
    ) -> Result<Option<Tls>, TlsError> {
        let Some(mut files) = self.config.files(own_certificate, own_key) else {
            return Ok(None);
        };
        files.client_ca = client_ca.map(Path::to_owned);
        let known = self.loaded.iter().find(|(known, _)| *known == files);
        let tls = match known {
            Some((_, tls)) => tls.clone(),
            None => {
                let tls = Tls::load(files.clone())?;
                self.loaded.push((files, tls.clone()));
                tls
            }
        };
        self.listeners.insert(listener, tls.clone());
        Ok(Some(tls))
    }

    /// The certificates by the names of the listeners that use them.
    pub(crate) fn by_listener(&self) -> BTreeMap<&'static str, Tls> {
        self.listeners.clone()
    }

    /// All that were loaded.
    pub(crate) fn into_loaded(self) -> Vec<Tls> {
        self.loaded.into_iter().map(|(_, tls)| tls).collect()
    }
}

/// Whether every certificate that the configuration names can be used.
///
/// # Errors
/// For the first that cannot.
pub(crate) fn check(config: &Config) -> Result<(), TlsError> {
    let mut certificates = Certificates::new(&config.tls);
    let Config {
        http,
        mqtt,
        management,
        northbound,
        ..
    } = config;
    let amqp = &northbound.amqp;
    let rows = [
        (http.enabled, &http.tls_certificate, &http.tls_key, &None),
        (mqtt.enabled, &mqtt.tls_certificate, &mqtt.tls_key, &None),
        (
            management.enabled,
            &management.tls_certificate,
            &management.tls_key,
            &None,
        ),
        (
            true,
            &amqp.tls_certificate,
            &amqp.tls_key,
            &amqp.tls_client_ca,
        ),
    ];
    for (_, certificate, key, authorities) in rows.into_iter().filter(|(is_on, ..)| *is_on) {
        let authorities = authorities.as_deref();
        certificates.load_trusting("", certificate.as_deref(), key.as_deref(), authorities)?;
    }
    Ok(())
}

/// Keeps looking at their files until `stop` is cancelled.
pub(crate) fn watch(certificates: Vec<Tls>, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    for tls in certificates {
        tasks.spawn(tls.watch(INTERVAL, stop.clone()));
    }
}
