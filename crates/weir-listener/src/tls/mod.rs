//! TLS of a listener: certificate, client certificates, handshake.
//!
//! `certificate` reads the files and keeps reading them; `client` says which client certificates the
//! handshake takes; `handshake` bounds it.

mod certificate;
mod client;
mod handshake;

use rustls_pki_types::CertificateDer;

pub use certificate::{Tls, TlsError, TlsFiles};
pub(crate) use handshake::Acceptor;

/// A port with TLS.
#[derive(Clone, Debug)]
pub struct TlsPort {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The certificate and its key, and the protocols that the port [offers](Tls::offering).
    pub tls: Tls,
    /// Whether clients are asked for a certificate.
    pub clients: ClientCertificates,
}

/// Whether clients are asked for a certificate. None has to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are, and any one will do for the handshake that is within its validity period and whose
    /// key the client proves to hold.
    Requested,
    /// They are, if the files name authorities ([`TlsFiles::client_ca`]), and one that is sent has to
    /// be issued by these, for clients, and be valid now.
    Trusted,
    /// They are not.
    NotRequested,
}

/// What is known of a client from the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    /// The client's certificate without those that issued it, if it sent one. The client holds its
    /// key. Unless the port takes [trusted](ClientCertificates::Trusted) ones only, nobody has checked
    /// who issued it, so it authenticates nobody yet.
    pub certificate: Option<CertificateDer<'static>>,
    /// The host name that the client wanted to reach, in lower case (SNI, RFC 6066 §3).
    pub server_name: Option<String>,
    /// What the connection is encrypted with, as rustls calls it.
    pub cipher_suite: Option<&'static str>,
}
