//! An application: a connection of `fe2o3-amqp`, which may be cut.

use std::net::SocketAddr;

use fe2o3_amqp::connection::{Connection, ConnectionHandle};
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{Receiver, Sender};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{Session, SessionHandle};
use fe2o3_amqp::types::definitions::{ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{Data, Header, MessageAnnotations};
use fe2o3_amqp::types::primitives::{Symbol, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::DEADLINE;

pub(crate) struct Application {
    session: SessionHandle<()>,
    connection: ConnectionHandle<()>,
}

impl Application {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let plain = SaslProfile::Plain {
            username: "app".into(),
            password: "secret".into(),
        };
        let url = format!("amqp://{address}");
        let mut connection = Connection::builder()
            .container_id("test")
            .sasl_profile(plain)
            .open(&*url)
            .await
            .unwrap();
        let session = Session::begin(&mut connection).await.unwrap();
        Self {
            session,
            connection,
        }
    }

    /// A link whose deliveries are unsettled, as Hono's client asks for them.
    pub(crate) async fn receiver(&mut self, address: &str) -> Receiver {
        self.receiver_with(address, 200, SenderSettleMode::Unsettled)
            .await
    }

    pub(crate) async fn receiver_with(
        &mut self,
        address: &str,
        credit: u32,
        settle_mode: SenderSettleMode,
    ) -> Receiver {
        Receiver::builder()
            .name(format!("receiver-{}", uuid()))
            .source(address)
            .credit_mode(match credit {
                0 => CreditMode::Manual,
                credit => CreditMode::Auto(credit),
            })
            .sender_settle_mode(settle_mode)
            .attach(&mut self.session)
            .await
            .unwrap()
    }

    /// A receiver that tells outcomes without settling.
    pub(crate) async fn second(&mut self, address: &str) -> Receiver {
        Receiver::builder()
            .name(format!("receiver-{}", uuid()))
            .source(address)
            .receiver_settle_mode(ReceiverSettleMode::Second)
            .attach(&mut self.session)
            .await
            .unwrap()
    }

    pub(crate) async fn sender(&mut self, address: &str, mode: ReceiverSettleMode) -> Sender {
        Sender::builder()
            .name(format!("sender-{}", uuid()))
            .target(address)
            .sender_settle_mode(SenderSettleMode::Mixed)
            .receiver_settle_mode(mode)
            .attach(&mut self.session)
            .await
            .unwrap()
    }

    /// Closes session and connection in an orderly way.
    pub(crate) async fn close(mut self) {
        self.session.end().await.unwrap();
        self.connection.close().await.unwrap();
    }
}

/// Names of links have to differ.
fn uuid() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The next message.
pub(crate) async fn next(receiver: &mut Receiver) -> Delivery<Data> {
    let received = timeout(DEADLINE, receiver.recv::<Data>()).await;
    received.unwrap().unwrap()
}

/// Takes the next message and accepts it; its text.
pub(crate) async fn accept(receiver: &mut Receiver) -> String {
    let delivery = next(receiver).await;
    receiver.accept(&delivery).await.unwrap();
    text(&delivery)
}

pub(crate) fn text(delivery: &Delivery<Data>) -> String {
    String::from_utf8(delivery.body().0.to_vec()).unwrap()
}

pub(crate) fn header(delivery: &Delivery<Data>) -> &Header {
    delivery.message().header.as_ref().unwrap()
}

pub(crate) fn annotation(delivery: &Delivery<Data>, key: &str) -> Option<String> {
    let MessageAnnotations(annotations) = delivery.message().message_annotations.as_ref()?;
    match annotations
        .get(&Symbol::from(key) as &dyn fe2o3_amqp::types::messaging::annotations::AnnotationKey)?
    {
        Value::String(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

/// A way to a gateway that can be cut, so that neither end hears of it from the other.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    relay: JoinHandle<()>,
    is_held: watch::Sender<bool>,
    heard: watch::Receiver<()>,
}

impl Wire {
    pub(crate) async fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_held, hold) = watch::channel(false);
        let (hear, heard) = watch::channel(());
        let relay = tokio::spawn(async move {
            let (mut application, _) = listener.accept().await.unwrap();
            let mut gateway = TcpStream::connect(gateway).await.unwrap();
            let (from_application, to_application) = application.split();
            let (from_gateway, to_gateway) = gateway.split();
            // However it ends, it is over.
            let _ = tokio::join!(
                relay(
                    from_application,
                    to_gateway,
                    Some(hold),
                    watch::Sender::default()
                ),
                relay(from_gateway, to_application, None, hear),
            );
        });
        Self {
            address,
            relay,
            is_held,
            heard,
        }
    }

    /// What the application says does not reach the gateway, until it may.
    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Waits until the application has heard of the gateway since the last call.
    pub(crate) async fn heard(&mut self) {
        timeout(DEADLINE, self.heard.changed())
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) fn cut(self) {
        self.relay.abort();
    }
}

/// Hands on what it reads, unless and until that is held, and tells that it has.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut hold: Option<watch::Receiver<bool>>,
    tell: watch::Sender<()>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if let Some(hold) = &mut hold
            && hold.wait_for(|is_held| !is_held).await.is_err()
        {
            return Ok(());
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..read]).await?;
        tell.send_replace(());
    }
}
