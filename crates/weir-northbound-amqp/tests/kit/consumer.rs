//! A client with one link that receives.

use std::net::SocketAddr;

use weir_amqp_engine::ClientSasl;
use weir_amqp_transport::{Client, ClientOptions, ConnectError, Received, Receiver};

/// How to consume.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerOptions {
    /// The user.
    pub(crate) username: String,
    /// The user's password.
    pub(crate) password: String,
    /// The address to receive from, for example `telemetry/acme`.
    pub(crate) address: String,
    /// Messages that may be on their way at a time; kept at that while they are settled.
    pub(crate) credit: u32,
}

/// A connection to an AMQP 1.0 server with one link that receives from one address.
///
/// Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Consumer {
    receiver: Receiver,
    _client: Client,
}

impl Consumer {
    /// Connects, logs in and attaches the link.
    ///
    /// # Errors
    /// If any of that fails or takes more than ten seconds.
    pub(crate) async fn connect(
        address: SocketAddr,
        options: ConsumerOptions,
    ) -> Result<Self, ConnectError> {
        let sasl = ClientSasl::Plain {
            username: options.username,
            password: options.password,
        };
        let host = address.ip().to_string();
        let client = Client::connect(ClientOptions::new(host, address.port(), sasl)).await?;
        Ok(Self {
            receiver: client.receiver(&options.address, options.credit).await?,
            _client: client,
        })
    }

    /// The next message; `None` when the connection is over.
    pub(crate) async fn receive(&mut self) -> Option<Received> {
        self.receiver.receive().await
    }
}
