//! What RFC 9112 and RFC 9110 ask of a server's reading: bodies in chunks, lengths that contradict each
//! other, expectations. Pipelining is in `connections` and `commands`.

use tokio::io::AsyncWriteExt as _;

use crate::kit::{Gateway, read_answer, read_to_end};

const LOGIN: &str = "Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\n";

/// An event of `sensor1`, whose framing the headers say.
fn event(headers: &str, body: &str) -> String {
    format!("POST /event HTTP/1.1\r\nHost: w\r\n{LOGIN}{headers}\r\n{body}")
}

fn statuses(answers: &str) -> Vec<&str> {
    let answers = answers.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| &answer[..3]).collect()
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let gateway = Gateway::start().await;
    let bodies = [
        ("0\r\n\r\n", None),
        ("3\r\nabc\r\n0\r\n\r\n", Some("abc")),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", Some("abc")),
        ("00003;name=\"value\"\r\nabc\r\n0\r\n\r\n", Some("abc")),
        (
            "A\r\n0123456789\r\n0\r\nSome: trailer\r\n\r\n",
            Some("0123456789"),
        ),
    ];
    for name in ["Transfer-Encoding: chunked", "transfer-ENCODING:  Chunked "] {
        let mut device = gateway.connect().await;
        for (body, payload) in bodies {
            let request = event(&format!("{name}\r\nContent-Type: a/b\r\n"), body);
            device.write_all(request.as_bytes()).await.unwrap();
            let answer = read_answer(&mut device).await;
            assert_eq!(statuses(&answer), ["202"], "{body}");
            assert_eq!(
                gateway.northbound.message().payload,
                payload.unwrap_or_default()
            );
        }
    }
}

/// Whoever reads such a request in another way sees another one behind it (RFC 9112 §11.2).
#[tokio::test]
async fn a_length_that_is_not_certain_lets_no_second_request_in() {
    let gateway = Gateway::start().await;
    let hidden = event("Content-Length: 6\r\n", "hidden");
    let refused = [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 2\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 1\r\n",
        "Transfer-Encoding : chunked\r\n",
    ];
    for headers in refused {
        let answer = gateway.raw(event(headers, &format!("1{hidden}"))).await;
        assert_eq!(statuses(&answer), ["400"], "{headers}: {answer}");
    }
    let old = event("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("/1.1", "/1.0");
    let answer = gateway.raw(old).await;
    assert!(answer[8..].starts_with(" 400"), "{answer}");
    assert!(gateway.northbound.messages().is_empty());
    // The two framings together: the chunks count, and the connection ends (§6.3).
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n",
    ] {
        let request = event(headers, &format!("1\r\nx\r\n0\r\n\r\n{hidden}"));
        let answer = gateway.raw(request).await;
        assert_eq!(statuses(&answer), ["202"], "{headers}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(gateway.northbound.message().payload, "x");
    }
}

#[tokio::test]
async fn a_coding_that_nobody_takes_off_again_is_refused() {
    let gateway = Gateway::start().await;
    for headers in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut device = gateway.connect().await;
        let request = event(headers, "1\r\nx\r\n0\r\n\r\n");
        device.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut device).await;
        assert_eq!(statuses(&answer), ["501"], "{headers}");
        assert!(answer.ends_with(r#"{"error":"unknown transfer coding"}"#));
    }
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn who_is_refused_is_not_asked_for_a_body() {
    let gateway = Gateway::start().await;
    let asking = event("Expect: 100-continue\r\nContent-Length: 1\r\n", "");
    let large = asking.replace("Length: 1", "Length: 2049");
    let cases = [
        ("401", asking.replace(LOGIN, "")),
        (
            "403",
            asking.replace("POST /event", "PUT /event/other/4711"),
        ),
        ("404", asking.replace("/event", "/nowhere")),
        ("405", asking.replace("POST", "GET")),
        ("413", large),
        ("417", asking.replace("100-continue", "200-ok")),
    ];
    for (status, request) in cases {
        // The body that was not sent stands before the next request, so there is none.
        let answer = gateway.raw(request).await;
        assert_eq!(statuses(&answer), [status], "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn who_is_asked_for_a_body_is_asked_once_and_not_if_it_is_there() {
    let gateway = Gateway::start().await;
    for (headers, body) in [
        ("Content-Length: 3\r\n", "abc"),
        (
            "Transfer-Encoding: chunked\r\n",
            "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ),
    ] {
        let head = format!("Expect: 100-Continue\r\n{headers}Connection: close\r\n");
        let mut device = gateway.connect().await;
        device.write_all(event(&head, "").as_bytes()).await.unwrap();
        assert_eq!(statuses(&read_answer(&mut device).await), ["100"]);
        device.write_all(body.as_bytes()).await.unwrap();
        assert_eq!(statuses(&read_to_end(device).await), ["202"]);
        assert_eq!(gateway.northbound.message().payload, "abc");
    }
    // There is nothing to ask for.
    let head = "Expect: 100-continue\r\nContent-Type: a/b\r\nConnection: close\r\n";
    let answer = gateway.raw(event(head, "")).await;
    assert_eq!(statuses(&answer), ["202"]);
}
