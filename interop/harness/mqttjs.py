"""A device made with MQTT.js, over TCP or WebSocket."""

import json
from pathlib import Path

from .program import Program

SCRIPT = Path(__file__).with_name("mqttjs.mjs")
LISTENERS = {"mqtt": "mqtt", "mqtts": "mqtt-tls", "ws": "http", "wss": "http-tls"}


class MqttJs(Program):
    """A device's program that connects by `mqtt`, `mqtts`, `ws` or `wss`."""

    def __init__(self, device, scheme, version, ca=None, **options):
        host, port = device.gateway.address(LISTENERS[scheme])
        path = "/mqtt" if scheme.startswith("ws") else ""
        told = {
            "url": f"{scheme}://{host}:{port}{path}",
            "protocolVersion": version,
            "username": device.user,
            "password": device.password,
            **options,
        }
        if ca:
            told["ca"] = str(ca)
        super().__init__(["node", str(SCRIPT), json.dumps(told)])

    def connected(self):
        """Waits until it is; what CONNACK said."""
        (event,) = self.wait("connected")
        return event

    def publish(self, topic, payload, **details):
        """Publishes a message, with QoS 1 unless told otherwise, and waits for the answer."""
        self.order("publish", topic, payload, details)
        (event,) = self.wait("published", payload=payload)
        return event.get("code")

    def subscribe(self, filter, qos=1):
        """Subscribes; what was granted."""
        self.order("subscribe", filter, qos)
        (event,) = self.wait("subscribed", filter=filter)
        return event.get("qos")
