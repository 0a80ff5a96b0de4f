//! TLS over real sockets, with clients of another make than the listener's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::time::Duration;

use rustls::{SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use weir_listener::{Bind, ClientCertificates, Listener, Tls, TlsError, TlsFiles, TlsPort};

use kit::{Certificate, Client, Served, Validity, files};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[tokio::test]
async fn bytes_go_both_ways_with_either_version() {
    let server = Certificate::new("localhost");
    let served = Served::start(&server, ClientCertificates::NotRequested).await;
    for version in VERSIONS {
        let mut stream = Client::of(&server)
            .version(version)
            .connect(served.address)
            .await
            .unwrap();
        let spoken = stream.get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
        stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
    }
}

#[tokio::test]
async fn a_port_agrees_on_a_protocol_only_if_it_offers_some() {
    /// What is offered and asked for, and what is agreed on, if the client is not turned away.
    type Case<'a> = (&'static [&'static [u8]], &'a [&'a str], Option<&'a str>);
    let server = Certificate::new("localhost");
    let clients = ClientCertificates::NotRequested;
    let web: &[&[u8]] = &[b"h2", b"http/1.1"];
    let cases: [Case<'_>; 7] = [
        (web, &["h2", "http/1.1"], Some("h2")),
        // The port's preference counts.
        (web, &["http/1.1", "h2"], Some("h2")),
        (web, &["http/1.1"], Some("http/1.1")),
        (web, &[], Some("")),
        (web, &["mqtt"], None),
        (&[], &["h2", "http/1.1"], Some("")),
        (&[], &[], Some("")),
    ];
    for (offered, asked, agreed) in cases {
        let served = Served::offering(offered, 10, &server, clients).await;
        for version in VERSIONS {
            let client = Client::of(&server).version(version).speaking(asked);
            let connected = client.connect(served.address).await;
            let Some(agreed) = agreed else {
                let error = connected.unwrap_err().to_string();
                assert!(error.contains("NoApplicationProtocol"), "{error}");
                continue;
            };
            let mut stream = connected.unwrap();
            let told = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            assert_eq!(told, agreed.as_bytes(), "{asked:?}");
            // Both sides know.
            let mut heard = vec![0; agreed.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, agreed.as_bytes());
        }
    }
}

#[tokio::test]
async fn tls_1_1_and_plain_text_are_refused() {
    let server = Certificate::new("localhost");
    let served = Served::start(&server, ClientCertificates::NotRequested).await;
    // A ClientHello that offers TLS 1.1 and one suite.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.first().is_none_or(|kind| *kind == 21), "no alert");
    }
}

#[tokio::test]
async fn any_valid_client_certificate_is_handed_up_with_the_host_name_asked_for() {
    let server = Certificate::new("acme.gateway.example");
    let mut served = Served::start(&server, ClientCertificates::Requested).await;
    let self_signed = Certificate::new("sensor1");
    let unknown_issuer = Certificate::issued_by_nobody_known("sensor2");
    for version in VERSIONS {
        for device in [None, Some(&self_signed), Some(&unknown_issuer)] {
            let client = Client::of(&server)
                .version(version)
                .named("acme.gateway.example");
            let client = match device {
                Some(device) => client.with(device.chain(), device.key()),
                None => client,
            };
            let _stream = client.connect(served.address).await.unwrap();
            let said = served.next().await;
            assert_eq!(said.certificate, device.map(Certificate::leaf));
            assert_eq!(said.server_name.as_deref(), Some("acme.gateway.example"));
            let is_new = said.cipher_suite.unwrap().starts_with("TLS13_");
            assert_eq!(is_new, *version == version::TLS13);
        }
    }
}

#[tokio::test]
async fn certificates_of_x509_version_1_will_do_and_have_to_be_proven_too() {
    let server = Certificate::new("localhost");
    let mut served = Served::start(&server, ClientCertificates::Requested).await;
    // Made for this test with OpenSSL; they are used nowhere else.
    let rows = [
        (
            include_str!("keys/ec-v1.pem"),
            include_str!("keys/ec-sec1.key"),
        ),
        (
            include_str!("keys/rsa-v1.pem"),
            include_str!("keys/rsa-pkcs1.key"),
        ),
    ];
    for (chain, key) in rows {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let client = |version, key: &PrivateKeyDer<'static>| {
            Client::of(&server)
                .version(version)
                .with(vec![leaf.clone()], key.clone_key())
        };
        for version in VERSIONS {
            let _stream = client(version, &key).connect(served.address).await.unwrap();
            assert_eq!(served.next().await.certificate, Some(leaf.clone()));
            for thief in [Certificate::new("thief").key(), other_key(&key)] {
                let thief = client(version, &thief).connect(served.address).await;
                assert!(is_refused(thief).await, "{version:?}");
            }
        }
    }
}

/// An RSA key where the given one is not, and the other way round.
fn other_key(key: &PrivateKeyDer<'_>) -> PrivateKeyDer<'static> {
    let other = match key {
        PrivateKeyDer::Pkcs1(_) => include_str!("keys/ec-sec1.key"),
        _ => include_str!("keys/rsa-pkcs1.key"),
    };
    PrivateKeyDer::from_pem_slice(other.as_bytes()).unwrap()
}

/// In TLS 1.3 a client hears of it with the first read only.
async fn is_refused(connected: std::io::Result<TlsStream<TcpStream>>) -> bool {
    match connected {
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_resumed_session_still_knows_the_clients_certificate() {
    let server = Certificate::new("localhost");
    let mut served = Served::start(&server, ClientCertificates::Requested).await;
    let device = Certificate::new("sensor1");
    for version in VERSIONS {
        let client = Client::of(&server)
            .version(version)
            .with(device.chain(), device.key())
            .build();
        for resumed in [false, true] {
            let mut stream = client.connect(served.address).await.unwrap();
            assert_eq!(served.next().await.certificate, Some(device.leaf()));
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(
                kind == Some(rustls::HandshakeKind::Resumed),
                resumed,
                "{version:?}"
            );
            // The tickets of TLS 1.3 come with the first bytes.
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_certificate_is_not_asked_for_unless_wanted() {
    let server = Certificate::new("localhost");
    let mut served = Served::start(&server, ClientCertificates::NotRequested).await;
    let device = Certificate::new("sensor1");
    let client = Client::of(&server).with(device.chain(), device.key());
    let _stream = client.connect(served.address).await.unwrap();
    assert_eq!(served.next().await.certificate, None);
}

#[tokio::test]
async fn a_client_certificate_that_proves_nothing_ends_the_handshake() {
    let server = Certificate::new("localhost");
    let mut served = Served::start(&server, ClientCertificates::Requested).await;
    let device = Certificate::new("sensor1");
    let thief = Certificate::new("thief");
    let expired = Certificate::valid("sensor1", Validity::Over);
    let early = Certificate::valid("sensor1", Validity::NotYet);
    let rows = [
        ("another's certificate", device.chain(), thief.key()),
        ("expired", expired.chain(), expired.key()),
        ("not valid yet", early.chain(), early.key()),
        (
            "no certificate at all",
            vec![vec![1, 2, 3].into()],
            thief.key(),
        ),
    ];
    for version in VERSIONS {
        for (what, chain, key) in &rows {
            let client = Client::of(&server)
                .version(version)
                .with(chain.clone(), key.clone_key());
            let connected = client.connect(served.address).await;
            assert!(is_refused(connected).await, "{what} with {version:?}");
        }
    }
    // None of them got as far as the protocol: the first to do so is this one.
    let client = Client::of(&server).with(device.chain(), device.key());
    let _stream = client.connect(served.address).await.unwrap();
    assert_eq!(served.next().await.certificate, Some(device.leaf()));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_cut_and_its_place_given_back() {
    let server = Certificate::new("localhost");
    let served = Served::start(&server, ClientCertificates::Requested).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    // It goes on a byte at a time, and is not given more time for that.
    let drip = async {
        while slow.write_all(&[0x16]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    drip.await;
    while served.budget.open() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_holds_a_place_and_without_a_place_there_is_none() {
    let server = Certificate::new("localhost");
    let served = Served::within(1, &server, ClientCertificates::Requested).await;
    let first = TcpStream::connect(served.address).await.unwrap();
    while served.budget.open() == 0 {
        tokio::task::yield_now().await;
    }
    let second = Client::of(&server).connect(served.address).await;
    assert!(second.is_err());
    // Others are let in while the first still says nothing; then its place is free again.
    drop(first);
    while served.budget.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(Client::of(&server).connect(served.address).await.is_ok());
}

#[tokio::test]
async fn a_plain_port_beside_one_with_tls_has_to_be_allowed_or_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    Certificate::new("localhost").write(folder.path());
    let port = TlsPort {
        port: 0,
        tls: Tls::load(files(folder.path())).unwrap(),
        clients: ClientCertificates::NotRequested,
    };
    let bind = Bind {
        name: "mqtt",
        ip: [0, 0, 0, 0].into(),
        plain: Some(0),
        allow_insecure: false,
        tls: Some(port),
    };
    let error = Listener::bind(bind.clone()).await.unwrap_err().to_string();
    let ways_out = "set mqtt.plain = false to serve TLS alone, or set mqtt.allow_insecure = true";
    assert!(error.contains(ways_out), "{error}");
    let both = Listener::bind(Bind {
        allow_insecure: true,
        ..bind
    });
    let both = both.await.unwrap();
    assert_ne!(Some(both.local_addr()), both.tls_addr());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let server = Certificate::new("localhost");
    let served = Served::start(&server, ClientCertificates::Requested).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    while served.budget.open() == 0 {
        tokio::task::yield_now().await;
    }
    served.stop.cancel();
    served.server.await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_replaced_certificate_is_used_for_new_connections_and_old_ones_go_on() {
    let old = Certificate::new("localhost");
    let new = Certificate::new("localhost");
    let served = Served::start(&old, ClientCertificates::NotRequested).await;
    let mut before = Client::of(&old).connect(served.address).await.unwrap();
    let watch = served.tls.clone();
    tokio::spawn(watch.watch(Duration::from_millis(1), CancellationToken::new()));
    new.write(served.folder.path());
    // The client trusts the new one alone.
    while Client::of(&new).connect(served.address).await.is_err() {}
    before.write_all(b"x").await.unwrap();
    before.read_exact(&mut [0]).await.unwrap();
}

#[test]
fn keys_may_have_any_of_the_three_forms_and_have_to_fit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |certificate: &str, key: &str| {
        std::fs::write(folder.path().join("certificate.pem"), certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), key).unwrap();
        Tls::load(files(folder.path()))
    };
    let (one, other) = (Certificate::new("localhost"), Certificate::new("localhost"));
    assert!(write(&one.pem(), &one.key_pem()).is_ok(), "PKCS#8");
    // Made for this test with OpenSSL; they are used nowhere else.
    let sec1 = (
        include_str!("keys/ec.pem"),
        include_str!("keys/ec-sec1.key"),
    );
    assert!(write(sec1.0, sec1.1).is_ok(), "SEC1");
    let pkcs1 = (
        include_str!("keys/rsa.pem"),
        include_str!("keys/rsa-pkcs1.key"),
    );
    assert!(write(pkcs1.0, pkcs1.1).is_ok(), "PKCS#1");
    let unfit = write(&one.pem(), &other.key_pem()).unwrap_err();
    assert!(matches!(unfit, TlsError::Pair { .. }), "{unfit}");
    let empty = write("", &one.key_pem()).unwrap_err();
    assert!(matches!(empty, TlsError::Certificate { .. }), "{empty}");
    let swapped = write(&one.key_pem(), &one.pem()).unwrap_err();
    assert!(matches!(swapped, TlsError::Certificate { .. }), "{swapped}");
    let no_key = write(&one.pem(), &one.pem()).unwrap_err();
    assert!(matches!(no_key, TlsError::Key { .. }), "{no_key}");
    let missing = Tls::load(TlsFiles {
        certificate: folder.path().join("nowhere.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    });
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("nowhere.pem"), "{text}");
}
