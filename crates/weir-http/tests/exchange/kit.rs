//! A gateway of one adapter, and clients for it.

mod gate;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use reqwest::{Client, Method, RequestBuilder};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_core::{
    Assertion, AssertionError, AuthId, Cached, Completion, ConnectionBudget, CredentialType,
    Credentials, Delivery, Device, DeviceId, Disposition, Downstream, Endpoint, LookupError,
    NewDevice, Northbound, Outlet, PasswordSecret, PasswordVerifier, Pipeline, PipelineOptions,
    ProvisionError, Qos, RegisteredTenant, Registry, Secrets, Tenant, TenantId,
};
use weir_http::{Adapter, HttpConfig, WebSockets};
use weir_listener::Tls;
use weir_metrics::Metrics;

/// How long any state may take to come about.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) registry: Arc<Registered>,
    pub(crate) northbound: Arc<Consumer>,
    pub(crate) budget: ConnectionBudget,
    pub(crate) pipeline: Pipeline,
    /// What it shows who connects with TLS.
    certificate: Option<CertificateDer<'static>>,
    metrics: Metrics,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(HttpConfig::default(), 1000).await
    }

    pub(crate) async fn start_with(config: HttpConfig, connections: usize) -> Self {
        Self::build(config, None, connections, None).await
    }

    /// With somebody who goes on with WebSockets.
    pub(crate) async fn start_with_websockets(
        config: HttpConfig,
        connections: usize,
        websockets: WebSockets,
    ) -> Self {
        Self::build(config, None, connections, Some(websockets)).await
    }

    async fn build(
        config: HttpConfig,
        tls: Option<Tls>,
        connections: usize,
        websockets: Option<WebSockets>,
    ) -> Self {
        let registry = Arc::new(Registered::new());
        let northbound = Arc::new(Consumer::default());
        let metrics = Metrics::new("test", Instant::now());
        let pipeline = Pipeline::new(
            registry.clone(),
            northbound.clone(),
            PasswordVerifier::new(1),
            metrics.clone(),
            PipelineOptions::default(),
        );
        let config = HttpConfig { port: 0, ..config };
        let adapter = Adapter::build(config, tls, pipeline.clone());
        let mut adapter = adapter.await.unwrap();
        if let Some(websockets) = websockets {
            adapter = adapter.with_websockets(websockets);
        }
        let address = adapter.local_addr();
        let budget = ConnectionBudget::new(connections);
        let stop = CancellationToken::new();
        let served = tokio::spawn(adapter.run(budget.clone(), stop.clone(), DEADLINE));
        Self {
            address,
            registry,
            northbound,
            budget,
            pipeline,
            certificate: None,
            metrics,
            stop,
            served,
        }
    }

    /// A request with the credentials of `sensor1`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path)
            .basic_auth("sensor1@acme", Some("pw"))
    }

    /// A request with the credentials of `gateway1`.
    pub(crate) fn gateway_request(&self, path: &str) -> RequestBuilder {
        self.anonymous(Method::PUT, path)
            .basic_auth("gateway1@acme", Some("pw"))
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        Client::new().request(method, url).timeout(DEADLINE)
    }

    /// Sends bytes on a connection of their own and reads until it is closed.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(stream).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The value of the series with this name and these labels; 0 if there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = weir_metrics::render(&self.metrics, Instant::now());
        let matches = |line: &&str| {
            line.split('{').next() == Some(name) && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        page.lines().filter(matches).map(value).sum()
    }

    /// Uploads counted, whatever became of them.
    pub(crate) fn uploads(&self) -> f64 {
        self.metric("hono_telemetry_processing_duration_seconds_count", &[])
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of the server, which must not have panicked.
    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        within(self.served).await.unwrap();
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("took too long")
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads one answer's head and its body of the length that the head tells.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        answer.push(within(stream.read_u8()).await.unwrap().into());
    }
    let length = answer
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    within(stream.read_exact(&mut body)).await.unwrap();
    answer + std::str::from_utf8(&body).unwrap()
}

/// A registry of one tenant, `acme`, with a device, a gateway and two edge devices. The first two sign
/// tokens under their ids.
///
/// What it hands out is one and the same until something changes, as of a registry that remembers.
pub(crate) struct Registered {
    records: Mutex<Records>,
    remembered: Mutex<Remembered>,
    /// What look-ups of credentials have to pass.
    pub(crate) gate: gate::Gate,
}

/// What was handed out since the last change.
#[derive(Default)]
struct Remembered {
    tenant: Option<Cached<RegisteredTenant>>,
    assertions: Vec<Cached<Assertion>>,
}

pub(crate) struct Records {
    pub(crate) tenant: Tenant,
    pub(crate) credentials: BTreeMap<String, Credentials>,
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) down: Option<Service>,
}

/// A part of the registry that can be out of order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Credentials,
    Registration,
    Tenant,
}

impl Registered {
    fn new() -> Self {
        let credentials = |device: &str| Credentials {
            device: device.into(),
            enabled: true,
            ext: serde_json::Map::new(),
            secrets: Secrets::Passwords(vec![PasswordSecret::of_random("pw")]),
            is_unannounced: false,
        };
        let with_key = |device: &str| Credentials {
            secrets: Secrets::PublicKeys(vec![crate::tokens::key()]),
            ..credentials(device)
        };
        let via = |gateway: &str| Device {
            via: vec![gateway.to_owned()],
            ..Device::default()
        };
        let entry = |name: &str, device| (name.to_owned(), device);
        let records = Records {
            tenant: Tenant::default(),
            credentials: BTreeMap::from([
                ("4711".to_owned(), with_key("4711")),
                ("gateway".to_owned(), with_key("gateway")),
                ("gateway1".to_owned(), credentials("gateway")),
                ("sensor1".to_owned(), credentials("4711")),
            ]),
            devices: BTreeMap::from([
                entry("4711", Device::default()),
                entry("gateway", Device::default()),
                entry("edge", via("gateway")),
                entry("a+b c", via("gateway")),
                entry("other-edge", via("another")),
            ]),
            down: None,
        };
        Self {
            records: Mutex::new(records),
            remembered: Mutex::default(),
            gate: gate::Gate::new(),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Records)) {
        change(&mut self.records.lock().unwrap());
        let Remembered { tenant, assertions } =
            std::mem::take(&mut *self.remembered.lock().unwrap());
        tenant.iter().for_each(Cached::invalidate);
        assertions.iter().for_each(Cached::invalidate);
    }

    /// How many assertions were asked for since the last change.
    pub(crate) fn assertions(&self) -> usize {
        self.remembered.lock().unwrap().assertions.len()
    }

    pub(crate) fn device(&self, device: &str, change: impl FnOnce(&mut Device)) {
        self.change(|records| change(records.devices.get_mut(device).unwrap()));
    }

    fn look_up<T>(
        &self,
        service: Service,
        tenant: &TenantId,
        find: impl FnOnce(&Records) -> Option<T>,
    ) -> BoxFuture<'static, Result<Cached<T>, LookupError>>
    where
        T: Send + Sync + 'static,
    {
        let records = self.records.lock().unwrap();
        let found = if records.down == Some(service) {
            Err(LookupError::Unavailable("out of order".to_owned()))
        } else if tenant.as_str() != "acme" {
            Err(LookupError::NotFound)
        } else {
            find(&records).map(Cached::new).ok_or(LookupError::NotFound)
        };
        ready(found).boxed()
    }
}

impl Registry for Registered {
    fn tenant<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        let found = self.look_up(Service::Tenant, tenant, |records| {
            Some(RegisteredTenant {
                id: "acme".into(),
                settings: records.tenant.clone(),
            })
        });
        let remembered = &self.remembered;
        let found = found.map(|found| {
            let mut remembered = remembered.lock().unwrap();
            found.map(|fresh| remembered.tenant.get_or_insert(fresh).clone())
        });
        found.boxed()
    }

    fn credentials<'a>(
        &'a self,
        tenant: &'a TenantId,
        _: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        let found = self.look_up(Service::Credentials, tenant, |records| {
            records.credentials.get(auth_id.as_str()).cloned()
        });
        let passed = self.gate.clone().pass();
        passed.then(|()| found).boxed()
    }

    fn tenant_by_anchor<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        Box::pin(async { Err(LookupError::NotFound) })
    }

    fn provision<'a>(
        &'a self,
        _: &'a TenantId,
        _: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>> {
        Box::pin(async { Err(ProvisionError::TenantUnknown) })
    }

    fn announced<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>> {
        Box::pin(async { Ok(()) })
    }

    fn assert<'a>(
        &'a self,
        _: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        let records = self.records.lock().unwrap();
        let enabled = |id: &DeviceId| {
            let device = records.devices.get(id.as_str());
            device.filter(|device| device.enabled)
        };
        let asserted = if records.down == Some(Service::Registration) {
            Err(AssertionError::Unavailable("out of order".to_owned()))
        } else if let Some(device) = enabled(device) {
            match gateway {
                Some(gateway) if enabled(gateway).is_none() => Err(AssertionError::GatewayUnknown),
                Some(gateway) if !device.via.iter().any(|via| via == gateway.as_str()) => {
                    Err(AssertionError::GatewayNotAuthorised)
                }
                _ => {
                    let assertion = Cached::new(Assertion {
                        via: device.via.clone(),
                        defaults: device.defaults.clone(),
                        is_unannounced: false,
                    });
                    let mut remembered = self.remembered.lock().unwrap();
                    remembered.assertions.push(assertion.clone());
                    Ok(assertion)
                }
            }
        } else {
            Err(AssertionError::DeviceUnknown)
        };
        ready(asserted).boxed()
    }
}

/// A northbound whose one consumer does as it is told.
#[derive(Clone, Default)]
pub(crate) struct Consumer(Arc<Consuming>);

#[derive(Default)]
struct Consuming {
    state: Mutex<Consumed>,
    changed: Notify,
}

#[derive(Default)]
struct Consumed {
    plan: Plan,
    messages: Vec<Downstream>,
    held: Vec<Completion>,
}

#[derive(Clone, Default)]
enum Plan {
    #[default]
    Accept,
    Refuse(weir_core::Reason),
    Hold,
}

impl Consumer {
    /// What the consumer says to all messages from now on.
    pub(crate) fn says(&self, disposition: Disposition) {
        self.0.state.lock().unwrap().plan = match disposition {
            Ok(()) => Plan::Accept,
            Err(reason) => Plan::Refuse(reason),
        };
    }

    /// The consumer says nothing from now on.
    pub(crate) fn holds(&self) {
        self.0.state.lock().unwrap().plan = Plan::Hold;
    }

    /// Waits for `count` messages that the consumer holds, and hands out what settles them.
    pub(crate) async fn held(&self, count: usize) -> Vec<Completion> {
        let held = self.until(|state| state.held.len() >= count);
        std::mem::take(&mut held.await.held)
    }

    async fn until(&self, condition: impl Fn(&Consumed) -> bool) -> MutexGuard<'_, Consumed> {
        within(async {
            loop {
                let changed = self.0.changed.notified();
                if let Some(state) =
                    Some(self.0.state.lock().unwrap()).filter(|state| condition(state))
                {
                    return state;
                }
                changed.await;
            }
        })
        .await
    }

    /// The next message, as soon as it is there.
    pub(crate) async fn arrival(&self) -> Downstream {
        let arrived = self.until(|state| !state.messages.is_empty());
        arrived.await.messages.remove(0)
    }

    /// All messages since the last call.
    pub(crate) fn messages(&self) -> Vec<Downstream> {
        std::mem::take(&mut self.0.state.lock().unwrap().messages)
    }

    /// The only message since the last call.
    pub(crate) fn message(&self) -> Downstream {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }
}

impl Northbound for Consumer {
    fn outlet(&self, _: &TenantId, _: Endpoint) -> Arc<dyn Outlet> {
        Arc::new(self.clone())
    }
}

impl Outlet for Consumer {
    fn publish(&self, message: Downstream) -> Delivery {
        let mut state = self.0.state.lock().unwrap();
        let qos = message.qos;
        state.messages.push(message);
        self.0.changed.notify_one();
        match (&state.plan, qos) {
            (Plan::Hold, Qos::AtLeastOnce) => {
                let (delivery, completion) = Delivery::open();
                state.held.push(completion);
                delivery
            }
            (Plan::Refuse(reason), _) => Delivery::settled(Err(reason.clone()), Instant::now()),
            _ => Delivery::settled(Ok(()), Instant::now()),
        }
    }
}
