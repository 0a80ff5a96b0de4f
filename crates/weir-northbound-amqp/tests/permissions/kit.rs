//! An endpoint with a permission file, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::ClientSasl;
use weir_amqp_transport::{Client, ClientOptions, ClientTls, ConnectError};
use weir_core::{Accounts, PasswordSecret, PasswordVerifier, Role};
use weir_event_store::Options;
use weir_listener::{Tls, TlsFiles};
use weir_northbound_amqp::{AmqpConfig, Embedded, Endpoint, EndpointError, Permissions};

use crate::parts;

/// Every role that the tests' users have.
const ROLES: &str = r#"{
    "all": [
        {"resource": "telemetry/*", "activities": ["READ"]},
        {"resource": "event/*", "activities": ["READ"]}
    ],
    "acme": [
        {"resource": "telemetry/acme", "activities": ["READ"]},
        {"resource": "event/acme", "activities": ["READ"]}
    ],
    "acme-telemetry": [{"resource": "telemetry/acme", "activities": ["READ"]}],
    "sender": [{"resource": "telemetry/acme", "activities": ["WRITE"]}],
    "notified": [{"resource": "notification/*", "activities": ["READ"]}]
}"#;

/// A user for the file.
pub(crate) fn plain(name: &str, password: &str, role: &str) -> String {
    format!(
        r#""{name}": {{"mechanism": "PLAIN", "password": "{password}", "authorities": ["{role}"]}}"#
    )
}

/// A user for the file that has a certificate.
pub(crate) fn external(name: &str, role: &str) -> String {
    format!(r#""{name}": {{"mechanism": "EXTERNAL", "authorities": ["{role}"]}}"#)
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    permissions: Permissions,
    folder: TempDir,
    server: Option<Server>,
    _store: TempDir,
    _stop: DropGuard,
}

/// What clients have to know of an endpoint with TLS alone.
struct Server {
    certificate: CertificateDer<'static>,
    authority: Authority,
}

impl Served {
    /// Without TLS.
    pub(crate) async fn start(users: &[String]) -> Self {
        Self::with(users, None, AmqpConfig::default()).await
    }

    /// With TLS alone, and an authority for clients.
    pub(crate) async fn with_tls(users: &[String]) -> Self {
        let config = AmqpConfig {
            plain: false,
            tls_port: 0,
            ..AmqpConfig::default()
        };
        Self::with(users, Some(Authority::new("applications")), config).await
    }

    async fn with(users: &[String], authority: Option<Authority>, config: AmqpConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, users);
        let config = AmqpConfig {
            port: 0,
            permissions: Some(folder.path().join("permissions.json")),
            ..config
        };
        let secured = authority.map(|authority| secure(&folder, authority));
        let (tls, server) = secured.unzip();
        let (events, store) = parts::store(Options::default());
        let embedded = Embedded::new(&config, events, parts::metrics());
        let commands = parts::commands(&embedded, Arc::default());
        let endpoint = build(config, tls, embedded).await.unwrap();
        let (address, permissions) = (endpoint.local_addr(), endpoint.permissions());
        let stop = CancellationToken::new();
        tokio::spawn(endpoint.run(commands, stop.clone(), Duration::from_secs(10)));
        Self {
            address,
            permissions,
            folder,
            server,
            _store: store,
            _stop: stop.drop_guard(),
        }
    }

    /// Puts others into the file, and has it looked at.
    pub(crate) async fn replace(&self, users: &[String]) {
        write(&self.folder, users);
        // The endpoint may have looked by itself in between.
        let _is_new = self.permissions.look().await.unwrap();
    }

    pub(crate) async fn login(&self, user: &str, password: &str) -> Result<Client, ConnectError> {
        let sasl = ClientSasl::Plain {
            username: user.to_owned(),
            password: password.to_owned(),
        };
        self.connect(sasl, None).await
    }

    pub(crate) async fn connect(
        &self,
        sasl: ClientSasl,
        tls: Option<ClientTls>,
    ) -> Result<Client, ConnectError> {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let options = ClientOptions {
            tls,
            ..ClientOptions::new(host, port, sasl)
        };
        Client::connect(options).await
    }

    /// The authority that the endpoint takes clients' certificates from.
    pub(crate) fn authority(&self) -> &Authority {
        &self.server.as_ref().unwrap().authority
    }

    /// TLS towards the endpoint, with a certificate or without.
    pub(crate) fn tls(
        &self,
        identity: Option<Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Option<ClientTls> {
        let mut roots = RootCertStore::empty();
        let server = self.server.as_ref().unwrap();
        roots.add(server.certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate], key)
                .unwrap(),
        };
        Some(Arc::new(config).into())
    }
}

pub(crate) async fn build(
    config: AmqpConfig,
    tls: Option<Tls>,
    embedded: Embedded,
) -> Result<Endpoint, EndpointError> {
    let mut accounts = Accounts::new(PasswordVerifier::new(1));
    let secret = PasswordSecret::of_random("secret");
    accounts.add(Role::Application, "application", secret);
    Endpoint::build(config, tls, embedded, Arc::new(accounts)).await
}

fn write(folder: &TempDir, users: &[String]) {
    let json = format!(r#"{{"roles": {ROLES}, "users": {{{}}}}}"#, users.join(","));
    std::fs::write(folder.path().join("permissions.json"), json).unwrap();
}

fn secure(folder: &TempDir, authority: Authority) -> (Tls, Server) {
    let path = |name| folder.path().join(name);
    let files = TlsFiles {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        client_ca: Some(path("clients.pem")),
    };
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(path("clients.pem"), &authority.pem).unwrap();
    let server = Server {
        certificate: certificate.der().clone(),
        authority,
    };
    (Tls::load(files).unwrap(), server)
}

/// A client's certificate with its key.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Who issues clients' certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for who goes by that common name.
    pub(crate) fn issue(&self, name: &str) -> Identity {
        self.issue_with(|params| params.distinguished_name.push(DnType::CommonName, name))
    }

    /// One that was for that name.
    pub(crate) fn expired(&self, name: &str) -> Identity {
        self.issue_with(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    /// One for a server of that name.
    pub(crate) fn for_server(&self, name: &str) -> Identity {
        self.issue_with(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// One without a common name.
    pub(crate) fn nameless(&self) -> Identity {
        self.issue_with(|params| {
            params
                .distinguished_name
                .push(DnType::OrganizationName, "card");
        })
    }

    fn issue_with(&self, describe: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        // What rcgen puts there by itself is a common name.
        params.distinguished_name = rcgen::DistinguishedName::new();
        describe(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), key)
    }
}
