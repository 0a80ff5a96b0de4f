//! What names are read and printed as. The texts and the DER forms of the tables are what Java's
//! `X500Principal` makes of them.

#![allow(clippy::unwrap_used, reason = "test code")]

use rcgen::string::BmpString;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair};
use weir_x509::{Certificate, DistinguishedName, MAX_NAME, NameError};

/// The bytes that hex digits stand for.
fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn name(text: &str) -> DistinguishedName {
    text.parse().unwrap()
}

/// Text as given, normalised text, DER form.
const NAMES: &[(&str, &str, &str)] = &[
    (
        "CN=device-1,OU=plant,O=ACME,C=DE",
        "CN=device-1,OU=plant,O=ACME,C=DE",
        "303f310b3009060355040613024445310d300b060355040a130441434d45310e300c060355040b1305706c616e743111300f060355040313086465766963652d31",
    ),
    (
        "cn = device-1 , ou = plant;o=ACME",
        "CN=device-1,OU=plant,O=ACME",
        "3032310d300b060355040a130441434d45310e300c060355040b1305706c616e743111300f060355040313086465766963652d31",
    ),
    (
        "CN=Smith\\, John,O=a\\+b",
        "CN=Smith\\, John,O=a\\+b",
        "3024310c300a060355040a1303612b62311430120603550403130b536d6974682c204a6f686e",
    ),
    (
        "CN=\"Smith, John\",O=\" x \"",
        "CN=Smith\\, John,O=x",
        "3022310a3008060355040a130178311430120603550403130b536d6974682c204a6f686e",
    ),
    (
        "CN=\\20lead,O=trail\\ ",
        "CN=\\ lead,O=trail\\ ",
        "3021310f300d060355040a1306747261696c20310e300c06035504030c05206c656164",
    ),
    (
        "CN=\\ lead,O=trail\\20",
        "CN=\\ lead,O=trail\\ ",
        "3021310f300d060355040a0c06747261696c20310e300c06035504031305206c656164",
    ),
    (
        "CN=\\#1,O=a#b",
        "CN=\\#1,O=a\\#b",
        "301b310c300a060355040a0c03612362310b300906035504030c022331",
    ),
    ("CN=a\\=b", "CN=a\\=b", "300e310c300a06035504031303613d62"),
    ("CN=a=b", "CN=a\\=b", "300e310c300a06035504031303613d62"),
    (
        "CN=L\\C3\\BCbeck",
        "CN=Lübeck",
        "30123110300e06035504030c074cc3bc6265636b",
    ),
    (
        "CN=Lübeck,L=日本",
        "CN=Lübeck,L=日本",
        "3023310f300d06035504070c06e697a5e69cac3110300e06035504030c074cc3bc6265636b",
    ),
    (
        "CN=a\\\\,O=b",
        "CN=a\\\\,O=b",
        "3019310a3008060355040a130162310b300906035504030c02615c",
    ),
    (
        "SERIALNUMBER=4711,CN=x",
        "2.5.4.5=#130434373131,CN=x",
        "301b310a30080603550403130178310d300b0603550405130434373131",
    ),
    (
        "EMAILADDRESS=a@b.c,CN=x",
        "1.2.840.113549.1.9.1=#16056140622e63,CN=x",
        "3022310a300806035504031301783114301206092a864886f70d01090116056140622e63",
    ),
    (
        "EMAIL=a@b.c",
        "1.2.840.113549.1.9.1=#16056140622e63",
        "30163114301206092a864886f70d01090116056140622e63",
    ),
    (
        "T=Dr,GIVENNAME=A,SURNAME=B,INITIALS=C,GENERATION=Jr,DNQ=q,DNQUALIFIER=q",
        "2.5.4.12=#13024472,2.5.4.42=#130141,2.5.4.4=#130142,2.5.4.43=#130143,2.5.4.44=#13024a72,2.5.4.46=#130171,2.5.4.46=#130171",
        "3056310a3008060355042e130171310a3008060355042e130171310b3009060355042c13024a72310a3008060355042b130143310a30080603550404130142310a3008060355042a130141310b3009060355040c13024472",
    ),
    (
        "IP=1.2.3.4",
        "1.3.6.1.4.1.42.2.11.2.1=#1307312e322e332e34",
        "301931173015060a2b060104012a020b02011307312e322e332e34",
    ),
    (
        "UID=u,DC=example,DC=org",
        "UID=u,DC=example,DC=org",
        "304131133011060a0992268993f22c64011916036f726731173015060a0992268993f22c64011916076578616d706c653111300f060a0992268993f22c640101130175",
    ),
    (
        "STREET=Main 1,S=BW,ST=BW,L=x",
        "STREET=Main 1,ST=BW,ST=BW,L=x",
        "3037310a30080603550407130178310b3009060355040813024257310b3009060355040813024257310f300d060355040913064d61696e2031",
    ),
    (
        "CN=a+OU=b",
        "CN=a+OU=b",
        "30163114300806035504031301613008060355040b130162",
    ),
    (
        "OID.2.5.4.3=x,1.2.3.4=y",
        "CN=x,1.2.3.4=#130179",
        "3018310a300806032a0304130179310a30080603550403130178",
    ),
    (
        "2.5.4.5=#1303313233",
        "2.5.4.5=#1303313233",
        "300e310c300a06035504051303313233",
    ),
    (
        "CN=#1303616263",
        "CN=abc",
        "300e310c300a06035504031303616263",
    ),
    (
        "CN=#0c0461c3bc62",
        "CN=aüb",
        "300f310d300b06035504030c0461c3bc62",
    ),
    (
        "CN=#0403010203",
        "CN=#0403010203",
        "300e310c300a06035504030403010203",
    ),
    ("CN=", "CN=", "300b3109300706035504031300"),
    (
        "CN=a,OU=",
        "CN=a,OU=",
        "301731093007060355040b1300310a30080603550403130161",
    ),
    ("CN=a  b", "CN=a  b", "300f310d300b0603550403130461202062"),
    (
        "CN=\\<a\\>\\;\\\"",
        "CN=\\<a\\>\\;\\\"",
        "3010310e300c06035504030c053c613e3b22",
    ),
    ("CN=\\  ", "CN=\\ ", "300c310a30080603550403130120"),
    (
        "CN=#1e0400610062",
        "CN=ab",
        "300f310d300b06035504031e0400610062",
    ),
    ("CN=#1402e462", "CN=äb", "300d310b300906035504031402e462"),
    (
        "O=\"a\\\"b\\,c\"",
        "O=a\\\"b\\,c",
        "3010310e300c060355040a0c056122622c63",
    ),
    ("CN=a\\00b", "CN=a\\00b", "300e310c300a06035504030c03610062"),
    ("CN=  x  ", "CN=x", "300c310a30080603550403130178"),
    (
        "1.2.3.4=ü",
        "1.2.3.4=#0c02c3bc",
        "300d310b300906032a03040c02c3bc",
    ),
    (
        "CN=#3003020101",
        "CN=#3003020101",
        "300e310c300a06035504033003020101",
    ),
    ("CN=\"a\\20\"", "CN=a", "300c310a300806035504030c0161"),
    ("CN=a\\\nb", "CN=a\nb", "300e310c300a06035504030c03610a62"),
    (
        "1.3.6.1.4.1.311.60.2.1.3=DE",
        "1.3.6.1.4.1.311.60.2.1.3=#13024445",
        "301531133011060b2b0601040182373c02010313024445",
    ),
    (
        "CN=#1203313233",
        "CN=#1203313233",
        "300e310c300a06035504031203313233",
    ),
    (
        "CN=#1603c3bc62",
        "CN=Ã¼b",
        "300e310c300a06035504031603c3bc62",
    ),
    ("CN=\"\"", "CN=", "300b3109300706035504031300"),
    ("2.5=x", "2.5=#130178", "300a31083006060155130178"),
];

#[test]
fn text_and_der_form_of_a_name_print_the_same_normalised_text() {
    for (given, normalised, der) in NAMES {
        assert_eq!(name(given).as_str(), *normalised, "text {given:?}");
        let read = DistinguishedName::from_der(&bytes(der)).unwrap();
        assert_eq!(read.as_str(), *normalised, "DER form of {given:?}");
        assert_eq!(read, name(given));
    }
}

#[test]
fn normalised_text_reads_as_itself() {
    for (_, normalised, _) in NAMES {
        assert_eq!(name(normalised).to_string(), *normalised);
    }
}

#[test]
fn attributes_of_one_part_are_in_the_order_of_the_der_form_whatever_the_text_has() {
    for text in ["OU=b+CN=a", "CN=a+OU=b", " ou = b + cn = a "] {
        assert_eq!(name(text).as_str(), "CN=a+OU=b");
    }
    // X.690 §11.6: the shorter one first.
    assert_eq!(name("CN=long+OU=b").as_str(), "OU=b+CN=long");
}

#[test]
fn text_that_is_no_name_is_refused_with_what_is_wrong() {
    let attribute = "CN".to_owned();
    let unescaped = |character| NameError::Unescaped {
        character,
        attribute: "CN".to_owned(),
    };
    let rows = [
        ("", NameError::Empty),
        ("CN", NameError::NoAttribute("CN".into())),
        ("CN=a,", NameError::NoAttribute(String::new())),
        ("CN=a+", NameError::NoAttribute(String::new())),
        ("CN=a,,O=b", NameError::UnknownType(",O".into())),
        (",CN=a", NameError::UnknownType(",CN".into())),
        ("=a", NameError::UnknownType(String::new())),
        ("FOO=a", NameError::UnknownType("FOO".into())),
        ("OID.=a", NameError::UnknownType("OID.".into())),
        ("1=x", NameError::UnsupportedOid("1".into())),
        ("1.2..3=x", NameError::UnsupportedOid("1.2..3".into())),
        ("1.2.=x", NameError::UnsupportedOid("1.2.".into())),
        ("9.9.9=x", NameError::UnsupportedOid("9.9.9".into())),
        ("3.1.1=x", NameError::UnsupportedOid("3.1.1".into())),
        ("2.999.1=x", NameError::UnsupportedOid("2.999.1".into())),
        ("CN=a\"b", unescaped('"')),
        ("CN=a<b", unescaped('<')),
        ("CN=a>b", unescaped('>')),
        ("CN=a\\xb", NameError::InvalidEscape(attribute.clone())),
        ("CN=a\\4", NameError::InvalidEscape(attribute.clone())),
        ("CN=a\\4g", NameError::InvalidEscape(attribute.clone())),
        ("CN=a\\", NameError::InvalidEscape(attribute.clone())),
        ("CN=\\C3", NameError::InvalidText(attribute.clone())),
        ("CN=\\C3a", NameError::InvalidText(attribute.clone())),
        ("CN=\"a", NameError::InvalidQuotation(attribute.clone())),
        ("CN=\"a\"b", NameError::InvalidQuotation(attribute.clone())),
        ("CN=#", NameError::InvalidHex(attribute.clone())),
        ("CN=#1", NameError::InvalidHex(attribute.clone())),
        ("CN=#zz", NameError::InvalidHex(attribute.clone())),
        // DER with a byte too few, and with one too many.
        ("CN=#13036162", NameError::InvalidHex(attribute.clone())),
        ("CN=#130361626300", NameError::InvalidHex(attribute.clone())),
        // Not UTF-8; half a character; half a surrogate pair.
        ("CN=#0c01c3", NameError::InvalidText(attribute.clone())),
        ("CN=#1e0100", NameError::InvalidText(attribute.clone())),
        ("CN=#1e02d800", NameError::InvalidText(attribute)),
    ];
    for (text, error) in rows {
        assert_eq!(text.parse::<DistinguishedName>(), Err(error), "{text:?}");
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_as_text_and_normalised() {
    let value = "x".repeat(MAX_NAME);
    let fits = format!("CN={}", &value[3..]);
    assert_eq!(name(&fits).as_str(), fits);
    let texts = [
        format!("CN={value}"),
        // Short enough as it is given, but every character needs a backslash.
        format!("CN={}", "=".repeat(MAX_NAME / 2 + 1)),
        // Short enough, but hex digits take twice the room.
        format!("1.2.3={}", "x".repeat(MAX_NAME / 2)),
    ];
    for text in texts {
        assert_eq!(text.parse::<DistinguishedName>(), Err(NameError::TooLong));
    }
}

#[test]
fn bytes_that_are_not_one_name_are_refused() {
    let rows = [
        ("", NameError::NotDer),
        ("3000ff", NameError::NotDer),
        ("310b3109300706035504031300", NameError::NotDer),
        // A part without attributes, alone and behind another one.
        ("30023100", NameError::NotDer),
        ("300e310a300806035504031301613100", NameError::NotDer),
        // More behind an attribute in its part, and behind the value in its attribute.
        ("300e310c300806035504031301610500", NameError::NotDer),
        ("300e310c300a06035504031301610500", NameError::NotDer),
        // A length that is longer than it need be.
        ("300d310b3009060355040313810161", NameError::NotDer),
        // 2.999.1, which the library would print as 3.16.55.1.
        (
            "300c310a30080603883701130178",
            NameError::UnsupportedOid("3.16.55.1".into()),
        ),
        // 2.5.4.3 with a leading zero, and without an end.
        (
            "300d310b3009060455048003130178",
            NameError::UnsupportedOid("2.5.4.3".into()),
        ),
        (
            "300c310a30080603550483130178",
            NameError::UnsupportedOid("2.5.4.3".into()),
        ),
    ];
    for (der, error) in rows {
        assert_eq!(
            DistinguishedName::from_der(&bytes(der)),
            Err(error),
            "{der}"
        );
    }
    assert!(
        DistinguishedName::from_der(&bytes("3000"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_most_specific_attribute_of_a_kind_is_the_one() {
    let subject = name("OU=inner,CN=Smith\\, J.,OU=outer,CN=other,O=#0c0461c3bc62,C=DE");
    assert_eq!(subject.common_name(), Some("Smith, J."));
    assert_eq!(subject.organizational_unit(), Some("inner"));
    assert_eq!(subject.organization(), Some("aüb"));
    // An octet string is not text.
    let subject = name("CN=#0403010203,OID.2.5.4.11=x");
    assert_eq!(subject.common_name(), None);
    assert_eq!(subject.organizational_unit(), Some("x"));
    assert_eq!(subject.organization(), None);
}

#[test]
fn names_differ_in_the_case_of_their_values_but_not_of_their_keywords() {
    assert_eq!(name("cn=a, o=b"), name("CN=a,O=b"));
    assert_ne!(name("CN=a,O=b"), name("CN=A,O=b"));
    assert_ne!(name("CN=a,O=b"), name("O=b,CN=a"));
}

#[test]
fn a_certificate_has_the_name_that_the_text_has() {
    let serial_number = DnType::CustomDnType(vec![2, 5, 4, 5]);
    let bmp: DnValue = DnValue::BmpString(BmpString::try_from("Zürich").unwrap());
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    // In the order of the certificate, which is the reverse of the text's.
    let rows: Vec<(Vec<(DnType, DnValue)>, &str)> = vec![
        (
            vec![
                (DnType::CountryName, printable("DE")),
                (DnType::OrganizationName, "ACME, Inc.".into()),
                (DnType::CommonName, "Gerät #1 = \"日本\"".into()),
            ],
            r#"CN=Gerät \#1 \= \"日本\",O=ACME\, Inc.,C=DE"#,
        ),
        (
            vec![(DnType::CommonName, " #a\\b<c>;+ ".into())],
            r"CN=\ \#a\\b\<c\>\;\+\ ",
        ),
        (
            vec![
                (DnType::LocalityName, bmp),
                (serial_number.clone(), printable("47")),
            ],
            "SERIALNUMBER=47,L=Z\\C3\\BCrich",
        ),
        // As UTF8String, which only the hexadecimal form can tell.
        (vec![(serial_number, "47".into())], "2.5.4.5=#0c023437"),
    ];
    let key = KeyPair::generate().unwrap();
    for (attributes, text) in rows {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        assert_eq!(certificate.subject().as_str(), name(text).as_str());
        assert_eq!(certificate.issuer(), &name(text));
    }
}
