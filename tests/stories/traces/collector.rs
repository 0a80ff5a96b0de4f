//! A collector: OpenTelemetry's generated service behind one port, which takes spans by gRPC and by HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, service::Routes};

/// Runs until the story is over.
pub(super) struct Collector {
    address: SocketAddr,
    /// With TLS, what its certificate is to be trusted by.
    authority: Option<(tempfile::TempDir, PathBuf)>,
    away: Sender<Leave>,
    exported: UnboundedReceiver<Export>,
    pub(super) seen: Vec<Told>,
}

/// What came at once, with the login it came with.
type Export = (ExportTraceServiceRequest, Option<String>);

/// How many connections come to nothing, and who waits for the open ones to end.
type Leave = (usize, oneshot::Sender<()>);

/// A span as it was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty if there is none.
    pub(super) parent: String,
    pub(super) state: String,
    pub(super) name: String,
    pub(super) kind: i32,
    pub(super) attributes: BTreeMap<String, String>,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    /// What is said of the gateway.
    pub(super) resource: BTreeMap<String, String>,
    pub(super) login: Option<String>,
}

impl Told {
    /// What it says of a name; empty if nothing.
    pub(super) fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", |value| value)
    }
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self::listen(None, None).await
    }

    /// The same with TLS.
    pub(super) async fn with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let pem = made.cert.pem();
        let mut config = config
            .with_single_cert(vec![made.cert.into()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::listen(Some(acceptor), Some((folder, path))).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        authority: Option<(tempfile::TempDir, PathBuf)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, exported) = unbounded_channel();
        let router = router(sender);
        let (away, mut leave) = channel::<Leave>(1);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    Some((refused, left)) = leave.recv() => {
                        connections.shutdown().await;
                        left.send(()).unwrap();
                        for _ in 0..refused {
                            listener.accept().await.unwrap();
                        }
                        continue;
                    }
                };
                let (tls, router) = (tls.clone(), router.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, router).await,
                        Some(tls) => serve(tls.accept(socket).await.unwrap(), router).await,
                    }
                });
            }
        });
        Self {
            address,
            authority,
            away,
            exported,
            seen: Vec::new(),
        }
    }

    /// Ends its connections, and so many more before it is there again.
    pub(super) async fn leave(&self, refused: usize) {
        let (left, has_left) = oneshot::channel();
        self.away.send((refused, left)).await.unwrap();
        has_left.await.unwrap();
    }

    /// What a gateway is started with that sends its spans here.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let scheme = self.authority.as_ref().map_or("http", |_| "https");
        let url = format!("{scheme}://localhost:{}", self.address.port());
        let mut settings = vec![
            ("WEIR__TRACES__ENABLED", "true".to_owned()),
            ("WEIR__TRACES__ENDPOINT", url),
            ("WEIR__TRACES__SCHEDULE_DELAY", "20".to_owned()),
        ];
        if let Some((_, path)) = &self.authority {
            settings.push(("WEIR__TRACES__TLS_CA", path.display().to_string()));
        }
        settings
    }

    /// The first span that is so, which may be yet to come.
    pub(super) async fn span(&mut self, is_so: impl Fn(&Told) -> bool) -> Told {
        loop {
            if let Some(span) = self.seen.iter().find(|span| is_so(span)) {
                return span.clone();
            }
            let export = self.exported.recv().await.unwrap();
            self.seen.extend(told(export));
        }
    }

    /// Takes note of what has come.
    pub(super) fn take_note(&mut self) {
        while let Ok(export) = self.exported.try_recv() {
            self.seen.extend(told(export));
        }
    }

    /// The first span of that name in a trace.
    pub(super) async fn of(&mut self, trace: &str, name: &str) -> Told {
        self.span(|span| span.trace == trace && span.name == name)
            .await
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let server = auto::Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(router);
    // The gateway may go away as it likes.
    let _ = server.serve_connection(TokioIo::new(socket), service).await;
}

fn router(sender: UnboundedSender<Export>) -> Router {
    let service = TraceServiceServer::new(Service(sender.clone()));
    let by_http = move |headers: HeaderMap, body: Bytes| async move {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let login = headers.get("authorization");
        let login = login.map(|login| login.to_str().unwrap().to_owned());
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let _ = sender.send((request, login));
        ExportTraceServiceResponse::default().encode_to_vec()
    };
    let routes = Routes::new(service).into_axum_router();
    routes.route("/v1/traces", post(by_http))
}

struct Service(UnboundedSender<Export>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let login = request.metadata().get("authorization");
        let login = login.map(|login| login.to_str().unwrap().to_owned());
        let _ = self.0.send((request.into_inner(), login));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn told((request, login): Export) -> Vec<Told> {
    let mut all = Vec::new();
    for of_resource in request.resource_spans {
        let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|it| it.spans) {
            all.push(one(span, &resource, login.as_ref()));
        }
    }
    all
}

fn one(span: Span, resource: &BTreeMap<String, String>, login: Option<&String>) -> Told {
    let status = span.status.clone().unwrap_or_default();
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    Told {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        kind: span.kind,
        attributes: texts(&span.attributes),
        error: (status.code() == StatusCode::Error).then_some(status.message),
        resource: resource.clone(),
        login: login.cloned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs = attributes.iter();
    pairs.map(|pair| (pair.key.clone(), text(pair))).collect()
}
