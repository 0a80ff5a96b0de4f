//! The order of checks: of several things wrong with a request, the first is the answer.

use reqwest::Method;
use weir_core::Reason;

use crate::kit::Gateway;

/// Sends a request that is wrong in nine ways, less the first `mended` of them.
async fn answer(gateway: &Gateway, mended: usize) -> (u16, String) {
    let is_mended = |fault: usize| fault < mended;
    let pick = |fault: usize, good: &'static str, bad: &'static str| {
        if is_mended(fault) { good } else { bad }
    };
    let method = if is_mended(0) {
        Method::PUT
    } else {
        Method::POST
    };
    let path = format!("/event/{}/edge", pick(2, "acme", "other"));
    let body = "x".repeat(if is_mended(4) { 5 } else { 3000 });
    let kind = "application/vnd.eclipse-hono-empty-notification";
    let device = pick(7, "gateway1@acme", "sensor1@acme");
    if is_mended(8) {
        gateway.northbound.says(Ok(()));
    } else {
        gateway.northbound.says(Err(Reason::NoConsumer));
    }
    let request = gateway
        .anonymous(method, &path)
        .basic_auth(device, Some(pick(1, "pw", "wrong")))
        .header("expect", pick(3, "100-continue", "nothing"))
        .header("qos-level", pick(5, "1", "0"))
        .header("content-type", pick(6, "text/plain", kind))
        .body(body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

#[tokio::test]
async fn the_first_check_that_fails_wins() {
    let gateway = Gateway::start().await;
    let expected = [
        (405, "method not allowed"),
        (401, "bad credentials"),
        (403, "other tenant"),
        (417, "N/A"),
        (413, "N/A"),
        (400, "QoS-Level"),
        (400, "does not match payload"),
        (403, "gateway is disabled or not registered"),
        (503, "no consumer available"),
        (202, ""),
    ];
    for (mended, (status, text)) in expected.into_iter().enumerate() {
        let answer = answer(&gateway, mended).await;
        assert_eq!(answer.0, status, "{mended} mended: {}", answer.1);
        assert!(answer.1.contains(text), "{mended} mended: {}", answer.1);
    }
    // The consumer's refusal, the registry's, and the one that went through.
    assert_eq!(gateway.uploads(), 3.0);
}
