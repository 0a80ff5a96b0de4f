//! Broken paths, credentials and whole requests: what is read of them makes sense, and comes out the same in
//! however many pieces they come. Sockets are left out; broken requests over those are in `tests/exchange`.
//!
//! A case is always the same one. `just fuzz` runs a million of each; `WEIR_FUZZ_CASES` says how many.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::{Endpoint, Reason, Target, TraceContext};

use crate::address::Address;
use crate::body::Payload;
use crate::command::response_head;
use crate::credentials::Authorization;
use crate::head::number;

const CASES: u64 = 5000;
/// Bytes of a head, and of a body; the first is the least that hyper allows.
const HEAD_LIMIT: usize = 8192;
const BODY_LIMIT: usize = 16;

fn cases() -> u64 {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok();
    cases.map_or(CASES, |cases| cases.parse().unwrap())
}

/// Says which case a test was in when it fails.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in case {}", self.0);
        }
    }
}

/// Splitmix64: the same cases in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// Bytes that mean something in a request.
const TELLING: &[u8] = b"\r\n \t\0%/+:;,.?&=#*-_~09afFz\x7f\xff\xc3\xa4";

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return bytes.push(random.next() as u8);
        }
        let at = random.below(bytes.len());
        let until = (at + random.below(12)).min(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            4 => drop(bytes.drain(at..until)),
            5 => {
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => bytes.truncate(at),
            _ => {
                let other = random.below(bytes.len());
                bytes.swap(at, other);
            }
        }
    }
}

fn mutated_text(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mutate(&mut bytes, random);
    String::from_utf8_lossy(&bytes).into_owned()
}

const PATHS: [&str; 14] = [
    "/telemetry",
    "/event/",
    "//telemetry//",
    "/%74elemetry",
    "/telemetry//4711",
    "/event/acme/4711",
    "/event/acme//more/and/more",
    "/telemetry/a+b/c%2Bd%2f",
    "/telemetry/%C3%A4/%f0%9f%90%a2",
    "/command/res/0014r",
    "/command/res/acme/4711/0014r",
    "/command/%72es//4711/1/2",
    "/command/res",
    "/nowhere",
];

/// A path that names the same, with every letter that can be one written as an escape.
fn written_again(address: &Address) -> String {
    let Target { tenant, device } = &address.target;
    let escaped = |name: Option<&str>| {
        let name = name.unwrap_or_default();
        utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
    };
    let id = || escaped(address.request_id.as_deref());
    let (tenant, device) = (escaped(tenant.as_deref()), escaped(device.as_deref()));
    match (address.endpoint, address.is_own) {
        (Endpoint::CommandResponse, true) => format!("/command/res/{}", id()),
        (Endpoint::CommandResponse, false) if address.request_id.is_some() => {
            format!("/command/res/{tenant}/{device}/{}/more", id())
        }
        (Endpoint::CommandResponse, false) => format!("/command/res/{tenant}/{device}"),
        (endpoint, true) => format!("/{}", endpoint.as_str()),
        (endpoint, false) => format!("/{}/{tenant}/{device}/more", endpoint.as_str()),
    }
}

fn check_address(path: &str) -> Result<Address, Reason> {
    let address = Address::parse(path, true).inspect_err(|reason| {
        assert!(matches!(reason.status(), 400 | 404), "{path}: {reason:?}");
    })?;
    let Target { tenant, device } = &address.target;
    for name in [tenant, device] {
        assert!(name.as_deref() != Some(""), "{path}");
    }
    if address.is_own {
        assert_eq!(address.target, Target::default(), "{path}");
    }
    let is_response = address.endpoint == Endpoint::CommandResponse;
    assert!(is_response || address.request_id.is_none(), "{path}");
    // An own address is trimmed of what it has no use for, so it can lose an empty id.
    let again = written_again(&address);
    if address.request_id.as_deref() != Some("") || !address.is_own {
        assert_eq!(
            Address::parse(&again, true).as_ref(),
            Ok(&address),
            "{path}"
        );
    }
    Ok(address)
}

#[test]
fn a_broken_path_names_what_can_be_written_again_or_is_refused() {
    let mut read = 0;
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let path = mutated_text(random.one(&PATHS), &mut random);
        read += u64::from(check_address(&path).is_ok());
    }
    assert!(read > cases() / 20 && read < cases(), "{read}");
}

const NUMBERS: [&str; 9] = [
    "5",
    "-1",
    "+7",
    "00009",
    "2147483647",
    "-2147483648",
    "2147483648",
    "1e3",
    "",
];

const QUERIES: [&str; 5] = [
    "hono-ttd=5&hono-ttl=10",
    "hono%2dttd=%35&a",
    "a=b&&=&hono-ttd=1&hono-ttd=2",
    "hono-cmd-status=200",
    "x=%zz%ff+",
];

fn parts(query: &str, header: Option<&[u8]>) -> Option<Parts> {
    let mut request = Request::builder().uri(format!("/telemetry?{query}"));
    if let Some(header) = header {
        request = request.header("hono-ttd", header);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

/// The number that a header or a query says; what goes before it counts, and nothing behind it.
#[test]
fn a_broken_number_is_a_number_or_none() {
    let (mut read, mut none) = (0, 0);
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let query = mutated_text(random.one(&QUERIES), &mut random);
        let said = mutated_text(random.one(&NUMBERS), &mut random);
        let Some(head) = parts(&query, None) else {
            continue;
        };
        let told: Option<i32> = number(&head, "hono-ttd");
        *if told.is_some() { &mut read } else { &mut none } += 1;
        let first = parts(&format!("hono-ttd=7&{query}"), None);
        assert_eq!(number(&first.unwrap(), "hono-ttd"), Some(7), "{query}");
        let Some(head) = parts(&query, Some(said.as_bytes())) else {
            continue;
        };
        let told: Option<i32> = number(&head, "hono-ttd");
        assert_eq!(told, said.parse().ok(), "{said:?} and {query}");
    }
    assert!(read.min(none) > cases() / 20, "{read} {none}");
}

#[test]
fn a_broken_trace_is_valid_or_none() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
    let mut read = 0;
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let text = mutated_text(random.one(&[good, later]), &mut random);
        let Some(trace) = TraceContext::parse(&text) else {
            continue;
        };
        read += 1;
        let (told, text) = (trace.traceparent(), text.as_bytes());
        // The ids are as they came; of the flags one is passed on (W3C Trace Context §3.2.2.5).
        assert_eq!(told.as_bytes()[2..53], text[2..53]);
        let again = TraceContext::parse(&told).unwrap();
        assert_eq!(again.traceparent()[..], told[..]);
    }
    assert!(read > cases() / 50 && read < cases(), "{read}");
}

/// What is presented: Base64 of broken text, or broken Base64 of good text.
fn credentials(random: &mut Random) -> Vec<u8> {
    let broken = |text: &str, random: &mut Random| {
        let mut bytes = text.as_bytes().to_vec();
        if random.below(2) == 0 {
            mutate(&mut bytes, random);
        }
        bytes
    };
    let mut value = if random.below(2) == 0 {
        let login = broken("sensor1@acme:s3cret:\u{e4}", random);
        [b"Basic ", STANDARD.encode(login).as_bytes()].concat()
    } else {
        let algorithm = random.one(&["ES256", "RS512", "none", "HS256"]);
        let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
        let claims = random.one(&[
            r#"{"aud":"hono-adapter","tid":"acme","sub":"s","iat":1e9,"exp":1000000001.5}"#,
            r#"{"aud":["x","hono-adapter"],"tid":"acme","sub":"s"}"#,
            r#"{"iat":-1,"exp":99999999999999999999999}"#,
            "{}",
        ]);
        let parts = [&header, claims, "signature"];
        let parts = parts.map(|part| URL_SAFE_NO_PAD.encode(broken(part, random)));
        format!("Bearer {}", parts.join(".")).into_bytes()
    };
    if random.below(3) == 0 {
        mutate(&mut value, random);
    }
    value
}

#[test]
fn broken_credentials_are_read_or_refused() {
    let (mut basic, mut bearer, mut refused) = (0, 0, 0);
    let named = Target {
        tenant: Some("acme".into()),
        device: Some("s".into()),
    };
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let Ok(value) = HeaderValue::from_bytes(&credentials(&mut random)) else {
            continue;
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        match Authorization::from_headers(&headers, &named) {
            Ok(Authorization::Basic { username, password }) => {
                basic += 1;
                check_basic(&username, &password);
            }
            Ok(Authorization::Bearer(_)) => bearer += 1,
            Err(reason) => {
                refused += 1;
                assert!(matches!(reason.status(), 400 | 401), "{reason:?}");
            }
        }
        // Who names nobody is nobody, unless the token does.
        let by_itself = Authorization::from_headers(&headers, &Target::default());
        let by_address = Authorization::from_headers(&headers, &named);
        assert!(by_itself.is_err() || by_address.is_ok());
    }
    let least = basic.min(bearer).min(refused);
    assert!(least > cases() / 50, "{basic} {bearer} {refused}");
}

/// A user name ends at the first colon (RFC 7617 §2); both can be written, and are read as the same.
fn check_basic(username: &str, password: &[u8]) {
    assert!(!username.contains(':'));
    let login = [username.as_bytes(), b":", password].concat();
    let value = format!("bAsIC  {}", STANDARD.encode(login));
    let value = HeaderValue::try_from(value).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let again = Authorization::from_headers(&headers, &Target::default());
    let Ok(Authorization::Basic {
        username: name,
        password: secret,
    }) = again
    else {
        panic!("{username} is not read again");
    };
    assert_eq!((&*name, &*secret), (username, password));
}

const REQUESTS: [&str; 6] = [
    "POST /telemetry HTTP/1.1\r\nHost: w\r\nAuthorization: Basic c2Vuc29yMUBhY21lOnB3\r\n\
     Content-Type: text/plain; charset=utf-8\r\nQoS-Level: 1\r\nContent-Length: 5\r\n\r\n12345",
    "PUT /event//4711?hono-ttl=30&hono-ttd=5 HTTP/1.1\r\nHost: w\r\n\
     Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\nTransfer-Encoding: chunked\r\n\r\n\
     3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: t\r\n\r\n",
    "PUT /telemetry/acme/a%2Bb+c HTTP/1.1\r\nHost: w\r\nhono-ttd: 5\r\n\
     Authorization: Bearer e30.e30.e30\r\nContent-Length: 17\r\n\r\n12345678901234567",
    "PUT http://w/command/res//4711/0014r?hono-cmd-status=200 HTTP/1.1\r\nHost: w\r\n\
     Content-Length: 2\r\n\r\nok",
    "GET /nowhere HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n",
];

/// What the parsers make of a request, in words; and whether all of its body was read.
async fn describe(request: Request<hyper::body::Incoming>) -> (String, bool) {
    let (head, incoming) = request.into_parts();
    let address = check_address(head.uri.path());
    let target = address.as_ref().map(|address| address.target.clone());
    let target = target.unwrap_or_default();
    let login = match Authorization::from_headers(&head.headers, &target) {
        Ok(Authorization::Basic { username, password }) => format!("{username} {password:x?}"),
        Ok(Authorization::Bearer(_)) => "token".to_owned(),
        Err(reason) => format!("{reason:?}"),
    };
    let response = address.as_ref().map(|address| {
        let head = response_head(&head, address);
        head.map(|head| head.status)
            .map_err(|reason| reason.status())
    });
    let wait: Option<i32> = number(&head, "hono-ttd");
    let mut payload = Payload::new(incoming);
    let body = payload.read(BODY_LIMIT, std::time::Duration::MAX).await;
    let size = body.as_ref().map_or(0, Bytes::len);
    assert!(size <= BODY_LIMIT);
    let method = &head.method;
    let words = format!("{method} {address:?} {login} {response:?} {wait:?} {body:?}");
    (words, payload.is_complete())
}

/// What is read of a connection's bytes when they come in pieces of that length.
async fn exchange(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut device, ours) = tokio::io::duplex(piece);
    let read = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request| {
        let read = read.clone();
        async move {
            let (words, is_complete) = describe(request).await;
            read.lock().unwrap().push(words);
            let mut answer = Response::new(Full::<Bytes>::default());
            if !is_complete {
                // As the adapter does: what is left of a body stands before the next request.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    // The device has said all that it will say before the first of it is looked at.
    let server = http1::Builder::new()
        .half_close(true)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(ours), service);
    let (mut reader, mut writer) = tokio::io::split(&mut device);
    let send = async {
        // The server may have had enough before the end.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let (_, (), _) = tokio::join!(server, send, reader.read_to_end(&mut answer));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    std::mem::take(&mut *read.lock().unwrap())
}

#[tokio::test]
async fn broken_requests_are_read_or_refused_however_they_come() {
    let (mut read, mut refused) = (0, 0);
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let mut bytes = Vec::new();
        for _ in 0..1 + random.below(2) {
            let mut next = Cow::Borrowed(random.one(&REQUESTS).as_bytes());
            if random.below(4) > 0 {
                mutate(next.to_mut(), &mut random);
            }
            bytes.extend_from_slice(&next);
        }
        let whole = exchange(&bytes, bytes.len().max(1)).await;
        let cut = exchange(&bytes, 1 + random.below(30)).await;
        assert_eq!(whole, cut, "{}", bytes.escape_ascii());
        read += whole.len() as u64;
        refused += u64::from(whole.is_empty());
    }
    assert!(read.min(refused) > cases() / 20, "{read} {refused}");
}
