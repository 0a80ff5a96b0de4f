use super::*;

fn shared(text: &str) -> Arc<Shared> {
    let config: EmqxConfig = toml::from_str(text).unwrap();
    let metrics = Metrics::new("h", Instant::now());
    Arc::new(Shared::new(&config, metrics))
}

async fn read(shared: &Arc<Shared>, uri: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let uri: Uri = uri.parse().unwrap();
    let parameters = Query::try_from_uri(&uri).unwrap();
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.parse().unwrap()));
    serve(State(shared.clone()), uri, parameters, headers.collect()).await
}

#[tokio::test]
async fn each_path_has_its_answer() {
    let rows = [
        ("/api/v5/prometheus/stats", 200),
        ("/api/v5/prometheus/stats?mode=all_nodes_unaggregated", 200),
        ("/api/v5/prometheus/auth", 200),
        ("/api/v5/prometheus/data_integration", 200),
        ("/api/v5/prometheus/schema_validation", 200),
        ("/api/v5/prometheus/message_transformation", 200),
        ("/api/v5/prometheus/topic_metrics", 200),
        ("/api/v5/deployment_metrics", 200),
        ("/deployment_metrics", 200),
        ("/deployment_metrics/data_integration", 200),
        ("/api/v5/prometheus", 404),
        ("/api/v5/prometheus/", 404),
        ("/api/v5/prometheus/stats/", 404),
        ("/api/v4/emqx_prometheus", 404),
        ("/metrics", 404),
    ];
    let shared = shared("authentication = false");
    for (path, status) in rows {
        let answer = read(&shared, path, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        if status == 200 {
            assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        }
    }
}

#[tokio::test]
async fn what_is_accepted_changes_nothing_but_json_alone() {
    let shared = shared("authentication = false");
    for (accepted, status) in [
        ("application/openmetrics-text;version=1.0.0", 200),
        ("*/*", 200),
        ("application/json,*/*;q=0.1", 200),
        ("application/json", 400),
    ] {
        let headers = [(header::ACCEPT, accepted)];
        let answer = read(&shared, "/deployment_metrics", &headers).await;
        assert_eq!(answer.status(), status, "{accepted}");
    }
}

#[tokio::test]
async fn without_a_login_there_is_a_challenge_whatever_is_asked_for() {
    let shared = shared("token = \"t\"");
    for path in ["/api/v5/prometheus/stats", "/nothing"] {
        let answer = read(&shared, path, &[]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], CHALLENGE);
    }
    let headers = [(header::AUTHORIZATION, "Bearer t")];
    let answer = read(&shared, "/api/v5/prometheus/stats", &headers).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_tries_to_log_in_is_counted() {
    let shared = shared("token = \"t\"");
    for headers in [
        &[][..],
        &[(header::AUTHORIZATION, "Bearer t")],
        &[(header::AUTHORIZATION, "Bearer guessed")],
        &[(header::AUTHORIZATION, "Basic guessed")],
    ] {
        read(&shared, "/deployment_metrics", headers).await;
    }
    let page = weir_metrics::render(&shared.metrics, Instant::now());
    for (outcome, expected) in [("succeeded", 1), ("unauthorized", 2)] {
        let labels = format!("outcome=\"{outcome}\",client_type=\"unknown\"}} {expected}");
        let is_it = |line: &str| {
            line.starts_with("hono_authentication_attempts_total") && line.ends_with(&labels)
        };
        assert!(page.lines().any(is_it), "{page}");
    }
}

#[tokio::test]
async fn all_tenants_are_told_at_most_every_five_seconds_and_one_at_any_time() {
    let shared = shared("authentication = false");
    let path = "/api/v5/prometheus/namespaced_stats";
    assert_eq!(read(&shared, path, &[]).await.status(), StatusCode::OK);
    let again = read(&shared, path, &[]).await;
    assert_eq!(again.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(again.headers()[header::RETRY_AFTER], "5");
    for _ in 0..2 {
        let one = read(&shared, &format!("{path}?ns=acme"), &[]).await;
        assert_eq!(one.status(), StatusCode::OK);
    }
    assert!(shared.may_read_all_tenants(Instant::now() + ALL_TENANTS));
}
