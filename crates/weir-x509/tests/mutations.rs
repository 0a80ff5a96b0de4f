//! Whatever arrives, it is read or refused. Seeded, so that a failure comes again.

#![allow(clippy::unwrap_used, reason = "test code")]

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use weir_x509::{
    Certificate, DistinguishedName, MAX_NAME, PublicKey, Template, TrustAnchor, verify_leaf,
};
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// A byte, more often than not one that means something.
    fn byte(&mut self, telling: &[u8]) -> u8 {
        if self.below(3) == 0 {
            self.next().to_le_bytes()[0]
        } else {
            telling[self.below(telling.len())]
        }
    }

    /// `input` with one to four bytes flipped, replaced, put in, taken out or cut off.
    fn mutate(&mut self, input: &[u8], telling: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let position = self.below(bytes.len());
            match self.below(8) {
                0..=2 => bytes[position] ^= 1 << self.below(8),
                3 | 4 => bytes[position] = self.byte(telling),
                5 => bytes.insert(position, self.byte(telling)),
                6 => drop(bytes.remove(position)),
                _ => bytes.truncate(position),
            }
        }
        bytes
    }
}

const DER: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x04, 0x06, 0x0c, 0x13, 0x1e, 0x17, 0x18, 0x1f, 0x30, 0x31, 0x7f, 0x80,
    0x81, 0x82, 0x84, 0x88, 0xa0, 0xa3, 0xff,
];

fn check_name(name: &DistinguishedName) {
    assert!(name.as_str().len() <= MAX_NAME);
    if !name.is_empty() {
        let again: DistinguishedName = name.as_str().parse().unwrap();
        assert_eq!(again.as_str(), name.as_str());
        assert_eq!(again.common_name(), name.common_name());
    }
}

#[test]
fn a_mutated_certificate_never_panics_and_is_never_trusted() {
    let pem = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap().to_vec();
    let seeds = [
        pem(include_bytes!("data/device.pem")),
        pem(include_bytes!("data/multi-valued.pem")),
        pem(include_bytes!("data/pss.pem")),
    ];
    let mut random = Random(0x5eed_0001);
    let mut read = 0;
    for seed in &seeds {
        let original = Certificate::from_der(seed).unwrap();
        let anchor = TrustAnchor {
            subject: original.subject(),
            public_key: original.public_key(),
        };
        let now = original.not_before();
        assert_eq!(verify_leaf(&original, [anchor], now), Ok(0));
        for _ in 0..4000 {
            let mutated = random.mutate(seed, DER);
            let Ok(certificate) = Certificate::from_der(&mutated) else {
                continue;
            };
            read += 1;
            check_name(certificate.subject());
            check_name(certificate.issuer());
            let own = certificate.public_key().clone();
            let _ = certificate.verify_signed_by(&own);
            let trusted = verify_leaf(&certificate, [anchor], now).is_ok();
            assert!(
                !trusted || signed_part(&mutated) == signed_part(seed),
                "{mutated:02x?}"
            );
        }
    }
    assert!(read > 500, "only {read} mutations were still certificates");
}

/// A mutation outside of it, or one that undoes another, leaves the signature valid.
fn signed_part(der: &[u8]) -> Vec<u8> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    certificate.tbs_certificate.as_ref().to_vec()
}

#[test]
fn a_mutated_key_never_panics() {
    let keys: [&[u8]; 4] = [
        include_bytes!("data/rsa.pub.pem"),
        include_bytes!("data/p256.pub.pem"),
        include_bytes!("data/p521.pub.pem"),
        include_bytes!("data/ed25519.pub.pem"),
    ];
    let signed = CertificateDer::from_pem_slice(include_bytes!("data/pss.pem")).unwrap();
    let signed = Certificate::from_der(&signed).unwrap();
    let mut random = Random(0x5eed_0002);
    for pem in keys {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).unwrap();
        for _ in 0..2000 {
            if let Ok(key) = PublicKey::from_der(&random.mutate(&der, DER)) {
                let _ = signed.verify_signed_by(&key);
            }
        }
    }
}

#[test]
fn a_mutated_name_never_panics_and_reads_as_what_it_prints() {
    let texts = [
        "CN=Smith\\, John,OU=\"a, b\"+UID=x;O=L\\C3\\BCbeck,DC=example,DC=org",
        "2.5.4.5=#1303313233,OID.1.2.3.4=x,EMAILADDRESS=a@b.c,CN=\\ a\\20",
        "CN=日本 , STREET = Main \\#1\\ , C=DE",
    ];
    let mut random = Random(0x5eed_0003);
    let mut read = 0;
    for text in texts {
        for _ in 0..5000 {
            let mutated = random.mutate(text.as_bytes(), b",;+=\\\"#<> \0\n\rCNO.0129afAF");
            let mutated = String::from_utf8_lossy(&mutated);
            if let Ok(name) = mutated.parse::<DistinguishedName>() {
                read += 1;
                check_name(&name);
            }
        }
    }
    assert!(read > 1000, "only {read} mutations were still names");
}

#[test]
fn a_mutated_der_form_of_a_name_never_panics_and_reads_as_what_it_prints() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(rcgen::DnType::OrganizationName, "ACME, Inc.");
    name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 5]), "47");
    let certificate = params.self_signed(&key).unwrap();
    let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
    let der = parsed.subject().as_raw();
    let mut random = Random(0x5eed_0004);
    let mut read = 0;
    for _ in 0..10_000 {
        if let Ok(name) = DistinguishedName::from_der(&random.mutate(der, DER)) {
            read += 1;
            check_name(&name);
        }
    }
    assert!(read > 500, "only {read} mutations were still names");
}

#[test]
fn a_mutated_template_never_panics() {
    let subject: DistinguishedName = "CN=device-1,OU=plant,O=ACME".parse().unwrap();
    let text = "a-{{subject-cn}}-{{subject-dn}}{{subject-ou}}";
    let mut random = Random(0x5eed_0005);
    for _ in 0..5000 {
        let mutated = random.mutate(text.as_bytes(), b"{}{}{}subject-cnou");
        if let Ok(template) = Template::parse(&String::from_utf8_lossy(&mutated)) {
            assert!(template.render(&subject).is_some());
        }
    }
}
