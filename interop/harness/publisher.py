"""A device with many messages under way at a time, and which of them were acknowledged."""

import threading

import paho.mqtt.client as mqtt

from .wait import Patience, until


class Publisher:
    """A connected device; made with paho."""

    def __init__(self, device, version=mqtt.MQTTv5):
        # Nobody who holds this calls paho, which has locks of its own.
        self.changed = threading.Condition()
        self.payloads, self.answers, self.is_cut_off = {}, [], False
        api = mqtt.CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(api, protocol=version, reconnect_on_failure=False)
        self.client.username_pw_set(device.user, device.password)
        self.client.on_publish, self.client.on_disconnect = self._answered, self._cut_off
        self.client.connect(*device.gateway.address("mqtt"))
        self.client.loop_start()
        until("the connection", self.client.is_connected)

    def _answered(self, client, data, number, reason, properties):
        with self.changed:
            self.answers.append((number, reason.is_failure))
            self.changed.notify_all()

    def _cut_off(self, *arguments):
        with self.changed:
            self.is_cut_off = True
            self.changed.notify_all()

    def publish(self, payload, topic="event"):
        """Publishes a message, and waits for nothing."""
        number = self.client.publish(topic, payload, qos=1).mid
        with self.changed:
            self.payloads[number] = payload
            self.changed.notify_all()

    def acknowledged(self):
        """The payloads of what has been acknowledged."""
        with self.changed:
            return [self.payloads[number] for number, failed in self.answers if not failed]

    def under_way(self):
        """How many have not been answered."""
        with self.changed:
            return len(self.payloads) - len(self.answers)

    def answered(self, count):
        """Waits until so many have been acknowledged or refused, or the connection has ended."""
        patience = Patience(f"{count} answers")
        with self.changed:
            while len(self.answers) < count and not self.is_cut_off:
                self.changed.wait(patience.left())

    def all_acknowledged(self):
        """Waits until all have been acknowledged, and ends it."""
        self.answered(len(self.payloads))
        self.close()
        assert len(self.acknowledged()) == len(self.payloads)

    def close(self):
        """Ends it, also if its gateway has gone."""
        self.client.disconnect()
        self.client.loop_stop()
