//! Who may ask, and from where.

use std::time::Instant;

use crate::{Given, error, header};

#[tokio::test]
async fn only_operators_are_let_in() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    // op:pw is the operator.
    let rows = [
        (None, 401),
        (Some("Basic b3A6cHc="), 200),
        (Some("basic b3A6cHc="), 200),
        (Some("Basic b3A6d3Jvbmc="), 401),
        (Some("Basic YXBwOnB3"), 401),
        (Some("Basic ???"), 401),
        (Some("Basic b3A="), 401),
        (Some("Bearer b3A6cHc="), 401),
        (Some("Basic"), 401),
    ];
    for (authorization, status) in rows {
        let mut request = given.anonymous("GET", "/v1/tenants/{t}");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{authorization:?}");
        if status == 401 {
            assert_eq!(
                header(&response, "www-authenticate"),
                "Basic realm=\"weir\""
            );
            error(response).await;
        }
    }
    let refused = given.anonymous("DELETE", "/v1/tenants/{t}").send().await;
    assert_eq!(refused.unwrap().status(), 401);
    given.get("/v1/tenants/{t}").await;
}

#[tokio::test]
async fn who_says_to_be_an_operator_is_counted() {
    let given = Given::new().await;
    for (authorization, times) in [
        (Some("Basic b3A6cHc="), 2),
        (Some("Basic b3A6d3Jvbmc="), 1),
        (Some("Bearer b3A6cHc="), 1),
        (Some("Basic ???"), 1),
        // Who has said nothing has not tried.
        (None, 4),
    ] {
        for _ in 0..times {
            let mut request = given.anonymous("GET", "/v1/tenants/{t}");
            if let Some(authorization) = authorization {
                request = request.header("Authorization", authorization);
            }
            request.send().await.unwrap();
        }
    }
    let page = weir_metrics::render(&given.metrics, Instant::now());
    for (outcome, count) in [("succeeded", 2), ("unauthorized", 3), ("unavailable", 0)] {
        let labels = format!("outcome=\"{outcome}\",client_type=\"auth-service\"");
        let mut lines = page.lines();
        let line = lines.find(|line| {
            line.starts_with("hono_authentication_attempts_total") && line.contains(&labels)
        });
        let end = format!(" {count}");
        assert!(line.unwrap().ends_with(&end), "{outcome} {line:?}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_ask() {
    let given = Given::new().await;
    let rows = [
        ("/v1/tenants", &["POST"][..]),
        ("/v1/tenants/{t}", &["POST", "GET", "PUT", "DELETE"]),
        ("/v1/devices/{t}", &["POST"]),
        ("/v1/devices/{t}/4711", &["POST", "GET", "PUT", "DELETE"]),
        ("/v1/credentials/{t}/4711", &["GET", "PUT"]),
    ];
    for (path, verbs) in rows {
        for verb in verbs {
            let request = given
                .anonymous("OPTIONS", path)
                .header("Origin", "http://console.example.com")
                .header("Access-Control-Request-Method", *verb);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 204, "{path}");
            assert_eq!(header(&response, "access-control-allow-origin"), "*");
            let methods = header(&response, "access-control-allow-methods");
            assert_eq!(methods.split(", ").collect::<Vec<_>>(), verbs, "{path}");
            let allowed = header(&response, "access-control-allow-headers");
            for name in ["Content-Type", "Authorization", "If-Match"] {
                assert!(allowed.contains(name), "{allowed}");
            }
        }
    }
    given.ok("POST", "/v1/tenants/{t}", None).await;
    let request = given.request("GET", "/v1/tenants/{t}");
    let response = request.header("Origin", "null").send().await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    assert!(header(&response, "access-control-expose-headers").contains("ETag"));
    let response = given.ok("GET", "/v1/tenants/{t}", None).await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
    let unknown = given.anonymous("OPTIONS", "/v1/none").send().await;
    assert_eq!(unknown.unwrap().status(), 404);
}
