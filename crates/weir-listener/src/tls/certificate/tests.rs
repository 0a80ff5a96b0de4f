//! What files make of a certificate, and what becomes of it when they change.

use super::*;

#[test]
fn it_is_told_when_the_certificate_in_use_expires() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    };
    let write = |year| {
        let mut params = rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(&files.certificate, made.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
    };
    write(2040);
    let tls = Tls::load(files.clone()).unwrap();
    assert_eq!(tls.expires(), Some(2_208_988_800));
    write(2041);
    assert!(tls.shared.look().unwrap());
    assert_eq!(tls.expires(), Some(2_240_611_200));
}

fn write(files: &TlsFiles, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_old_one_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    };
    write(&files, "first");
    let tls = Tls::load(files.clone()).unwrap();
    let config = || tls.server_config(ClientCertificates::Requested);
    let first = config();
    assert!(!tls.shared.look().unwrap(), "nothing has changed");

    std::fs::write(&files.key, "not a key").unwrap();
    assert!(matches!(tls.shared.look(), Err(TlsError::Key { .. })));
    std::fs::remove_file(&files.key).unwrap();
    assert!(matches!(tls.shared.look(), Err(TlsError::Read { .. })));
    let huge = vec![b' '; usize::try_from(LARGEST_FILE).unwrap() + 1];
    std::fs::write(&files.key, huge).unwrap();
    assert!(matches!(tls.shared.look(), Err(TlsError::Read { .. })));
    assert!(Arc::ptr_eq(&first, &config()));

    write(&files, "second");
    assert!(tls.shared.look().unwrap());
    assert!(!Arc::ptr_eq(&first, &config()));
}

#[test]
fn authorities_for_clients_are_read_anew_too_and_without_any_nothing_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let without = TlsFiles {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        client_ca: None,
    };
    write(&without, "gateway");
    let tls = Tls::load(without.clone()).unwrap();
    let config = |tls: &Tls, clients| tls.server_config(clients);
    let (trusted, none) = (
        ClientCertificates::Trusted,
        ClientCertificates::NotRequested,
    );
    assert!(Arc::ptr_eq(&config(&tls, trusted), &config(&tls, none)));

    let authority = path("clients.pem");
    let files = TlsFiles {
        client_ca: Some(authority.clone()),
        ..without
    };
    assert!(matches!(
        Tls::load(files.clone()),
        Err(TlsError::Read { .. })
    ));
    let pem = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        made.cert.pem()
    };
    std::fs::write(&authority, pem("first")).unwrap();
    let tls = Tls::load(files).unwrap();
    let first = config(&tls, trusted);
    assert!(!Arc::ptr_eq(&first, &config(&tls, none)));
    std::fs::write(&authority, "").unwrap();
    assert!(matches!(
        tls.shared.look(),
        Err(TlsError::Certificate { .. })
    ));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&authority, broken).unwrap();
    assert!(matches!(tls.shared.look(), Err(TlsError::Authority { .. })));
    assert!(Arc::ptr_eq(&first, &config(&tls, trusted)));
    std::fs::write(&authority, pem("second")).unwrap();
    assert!(tls.shared.look().unwrap());
    assert!(!Arc::ptr_eq(&first, &config(&tls, trusted)));
}

#[test]
fn a_mistake_is_told_once_and_only_if_it_stays() {
    let mut mistake = Mistake::default();
    let told: Vec<_> = ["half written", "unfit", "unfit", "unfit", "gone", "gone"]
        .into_iter()
        .filter_map(|text| mistake.seen(text.to_owned()).map(str::to_owned))
        .collect();
    assert_eq!(told, ["unfit", "gone"]);
}
