//! A tenant that behaves while others do not.

use super::{Answer, Application, Device, Gateway, MqttDevice, text};

/// A device and an application that go on, whatever happens around them.
pub(crate) struct Witness {
    device: Device,
    mqtt: MqttDevice,
    application: Application,
    exchanged: usize,
}

impl Witness {
    /// In a tenant of its own.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        Self {
            application: Application::consume(gateway, &address).await,
            mqtt: MqttDevice::v5(gateway, &device).await.unwrap(),
            device,
            exchanged: 0,
        }
    }

    /// Sends one message after the other: each is acknowledged, and is the next that arrives.
    pub(crate) async fn exchange(&mut self, messages: usize) {
        for _ in 0..messages {
            self.exchanged += 1;
            let payload = self.exchanged.to_string();
            let answer = self.mqtt.publish("t", &payload);
            let (answer, message) = tokio::join!(answer, self.application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
            assert_eq!(text(&message), payload);
        }
    }

    /// Everything was counted as forwarded, and nothing else was counted.
    pub(crate) async fn was_served(&self, gateway: &Gateway) {
        assert!(self.exchanged > 0);
        let metrics = gateway.metrics().await;
        let tenant = &self.device.tenant;
        assert_eq!(metrics.uploads(tenant, "forwarded"), self.exchanged);
        for status in ["undeliverable", "unprocessable"] {
            assert_eq!(metrics.uploads(tenant, status), 0, "{status}");
        }
    }
}
