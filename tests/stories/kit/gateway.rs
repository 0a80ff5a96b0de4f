//! A gateway of one's own: the real binary, free ports, a data folder that goes with it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Series;

/// How long a gateway may take to start or to stop.
const START: Duration = Duration::from_secs(60);

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    folder: Arc<TempDir>,
    addresses: BTreeMap<String, SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    api: reqwest::Client,
    operator: (String, String),
    application: (String, String),
}

/// A device that can log in.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Gateway {
    /// Starts a gateway with nothing in its registry.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more environment variables.
    pub(crate) async fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), environment).await
    }

    /// Starts a gateway on a data folder that may have been used before.
    async fn start_in(folder: Arc<TempDir>, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("serve")
            .current_dir(folder.path())
            .env("WEIR__LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        for section in ["HTTP", "MQTT", "MANAGEMENT", "HEALTH", "NORTHBOUND__AMQP"] {
            command.env(format!("WEIR__{section}__PORT"), "0");
        }
        command.envs(environment.iter().copied());
        let mut child = command.spawn().unwrap();
        let (log, addresses) = follow(&mut child);
        let data = folder.path().join("weir-data");
        let operator = login(&data, "operator");
        let application = login(&data, "application");
        let api = reqwest::Client::new();
        Self {
            child,
            folder,
            addresses,
            log,
            api,
            operator,
            application,
        }
    }

    /// The address of a listener, by its section in the configuration.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        *self
            .addresses
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}"))
    }

    /// The data folder.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("weir-data")
    }

    /// User and password of the application that the first start made.
    pub(crate) fn application(&self) -> (&str, &str) {
        (&self.application.0, &self.application.1)
    }

    /// User and password of the operator that the first start made.
    pub(crate) fn operator(&self) -> (&str, &str) {
        (&self.operator.0, &self.operator.1)
    }

    /// Every line logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until a line with this text has been logged, and returns every line so far.
    pub(crate) async fn logged(&self, text: &str) -> String {
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The URL of a path of the HTTP adapter.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    /// The URL of a path of the health listener.
    pub(crate) fn health(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("health"))
    }

    /// Calls the management API and requires success.
    pub(crate) async fn manage(&self, method: reqwest::Method, path: &str, body: &Value) {
        let (status, answer) = self.call(method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
    }

    /// Reads an object from the management API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(reqwest::Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Calls the management API; the answer is null if it has no JSON.
    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let url = format!("http://{}/v1/{path}", self.address("management"));
        let (user, password) = self.operator();
        let request = self.api.request(method, url);
        let mut request = request.basic_auth(user, Some(password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Creates a tenant of that configuration under a name of its own.
    pub(crate) async fn tenant(&self, configuration: Value) -> String {
        let tenant = format!("tenant-{}", uuid::Uuid::new_v4());
        self.manage(
            reqwest::Method::POST,
            &format!("tenants/{tenant}"),
            &configuration,
        )
        .await;
        tenant
    }

    /// Registers a device that logs in with a password.
    pub(crate) async fn device(&self, tenant: &str, id: &str, registration: Value) -> Device {
        self.manage(
            reqwest::Method::POST,
            &format!("devices/{tenant}/{id}"),
            &registration,
        )
        .await;
        let password = format!("pw-{}", uuid::Uuid::new_v4());
        let device = Device {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            username: format!("{id}@{tenant}"),
            password,
        };
        self.credentials(&device, json!({})).await;
        device
    }

    /// Sets the device's password, with more members of the credential.
    pub(crate) async fn credentials(&self, device: &Device, more: Value) {
        let secrets = json!([{"pwd-plain": device.password}]);
        let mut credential =
            json!({"type": "hashed-password", "auth-id": device.id, "secrets": secrets});
        credential
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let path = format!("credentials/{}/{}", device.tenant, device.id);
        self.manage(reqwest::Method::PUT, &path, &json!([credential]))
            .await;
    }

    /// A tenant without limits with one device in it.
    pub(crate) async fn tenant_and_device(&self) -> Device {
        let tenant = self.tenant(json!({})).await;
        self.device(&tenant, "sensor", json!({})).await
    }

    /// The metrics that Hono has too, as they are now.
    pub(crate) async fn metrics(&self) -> Series {
        self.page("/prometheus").await
    }

    /// All other metrics, as they are now.
    pub(crate) async fn native(&self) -> Series {
        self.page("/metrics").await
    }

    async fn page(&self, path: &str) -> Series {
        let page = self.api.get(self.health(path)).send().await.unwrap();
        Series::parse(&page.text().await.unwrap())
    }

    /// Waits until the metrics are so.
    pub(crate) async fn until(&self, are_so: impl Fn(&Series) -> bool) {
        while !are_so(&self.metrics().await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The most memory that the process has ever held, in bytes; only where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<usize> {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).ok()?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: usize = peak.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Asks the gateway to stop.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Kills the process without warning, and starts another one on the same data.
    pub(crate) async fn kill_and_restart(self) -> Self {
        self.kill_and_restart_with(&[]).await
    }

    /// The same; the other one has these environment variables.
    pub(crate) async fn kill_and_restart_with(mut self, environment: &[(&str, &str)]) -> Self {
        self.child.kill().unwrap();
        wait(&mut self.child);
        Self::start_in(self.folder.clone(), environment).await
    }

    /// Stops the process as an operator would, and starts another one on the same data.
    pub(crate) async fn stop_and_restart(mut self) -> Self {
        self.terminate();
        assert!(wait(&mut self.child).success());
        Self::start_in(self.folder.clone(), &[]).await
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the gateway's log ---\n{}", self.log());
        }
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = std::time::Instant::now() + START;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the gateway did not end"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

type Log = Arc<Mutex<Vec<String>>>;

/// Reads the log until the gateway is ready, and goes on reading it.
fn follow(child: &mut Child) -> (Log, BTreeMap<String, SocketAddr>) {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let (lines, read) = mpsc::channel();
    let kept = log.clone();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line.clone());
            // Nobody listens any more once the gateway is ready.
            let _ = lines.send(line);
        }
    });
    let mut addresses = BTreeMap::new();
    let mut is_ready = false;
    // Every listener is logged before the word that all is ready.
    while !is_ready {
        let line = read.recv_timeout(START);
        let line = line.unwrap_or_else(|_| panic!("not started: {:?}", log.lock().unwrap()));
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        match event["message"].as_str() {
            Some("listening") => {
                let name = event["listener"].as_str().unwrap().to_owned();
                addresses.insert(name, event["address"].as_str().unwrap().parse().unwrap());
            }
            Some("ready") => is_ready = true,
            _ => {}
        }
    }
    (log, addresses)
}

fn login(data: &Path, account: &str) -> (String, String) {
    let text = std::fs::read_to_string(data.join("credentials")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let part = |name| table[account][name].as_str().unwrap().to_owned();
    (part("username"), part("password"))
}
