//! The demonstration's operator.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::TENANT;
use crate::app::Addresses;
use crate::secrets::Login;

/// Largest answer that is read, bytes.
const ANSWER: usize = 64 * 1024;

/// A device and what it logs in with.
pub(super) struct Device {
    /// Its id, which is its auth-id too.
    pub(super) id: &'static str,
    /// Its password.
    pub(super) password: String,
}

impl Device {
    fn new(id: &'static str) -> Self {
        Self {
            id,
            password: URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 9]>()),
        }
    }

    /// `auth-id@tenant`, what devices log in with.
    pub(super) fn username(&self) -> String {
        format!("{}@{TENANT}", self.id)
    }

    /// Its credentials as an HTTP header value.
    pub(super) fn basic(&self) -> String {
        basic(&self.username(), &self.password)
    }
}

/// The demonstration's devices, one per protocol.
pub(super) struct Devices {
    pub(super) http: Device,
    pub(super) mqtt: Device,
}

/// Creates the tenant and its devices over the management API.
pub(super) async fn create(addresses: Addresses, operator: &Login) -> anyhow::Result<Devices> {
    let Some(api) = addresses.management else {
        bail!("the demonstration needs the management API (management.enabled)");
    };
    let devices = Devices {
        http: Device::new("http-device"),
        mqtt: Device::new("mqtt-device"),
    };
    let call = |method, path: String, body| call(api, operator, method, path, body);
    call(Method::POST, format!("/v1/tenants/{TENANT}"), json!({})).await?;
    for Device { id, password } in [&devices.http, &devices.mqtt] {
        call(
            Method::POST,
            format!("/v1/devices/{TENANT}/{id}"),
            json!({}),
        )
        .await?;
        let secrets = json!([{"pwd-plain": password}]);
        let credentials = json!([{"type": "hashed-password", "auth-id": id, "secrets": secrets}]);
        call(
            Method::PUT,
            format!("/v1/credentials/{TENANT}/{id}"),
            credentials,
        )
        .await?;
    }
    Ok(devices)
}

async fn call(
    api: SocketAddr,
    operator: &Login,
    method: Method,
    path: String,
    body: Value,
) -> anyhow::Result<()> {
    let request = Request::builder()
        .method(method)
        .uri(&path)
        .header(
            header::AUTHORIZATION,
            basic(&operator.username, &operator.password),
        )
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))?;
    let answer = exchange(api, request).await?;
    ensure!(
        answer.status().is_success(),
        "{path}: {} {}",
        answer.status(),
        String::from_utf8_lossy(answer.body())
    );
    Ok(())
}

/// Sends one request over a connection of its own.
pub(super) async fn exchange(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Bytes>> {
    let host = address.to_string().parse()?;
    request.headers_mut().insert(header::HOST, host);
    let context = || format!("cannot reach http://{address}");
    let stream = TcpStream::connect(address).await.with_context(context)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors come back from the request.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.with_context(context)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(context)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}
