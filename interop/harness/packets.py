"""A device that sends what no client library lets one send: MQTT 5, packet by packet."""

import socket
import struct

from .wait import DEADLINE

PINGREQ, DISCONNECT = b"\xc0\x00", b"\xe0\x00"
# Of a subscription that was not granted.
REFUSED = b"\x80"


def _text(value):
    value = value.encode()
    return struct.pack(">H", len(value)) + value


def _packet(first, *parts):
    body = b"".join(parts)
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def _connect(client, user, password):
    variable = b"\x05\xc2" + struct.pack(">H", 60) + b"\x00"
    return _packet(0x10, _text("MQTT"), variable, _text(client), _text(user), _text(password))


def subscribe(filter, number):
    """SUBSCRIBE, QoS 1."""
    return _packet(0x82, struct.pack(">H", number), b"\x00", _text(filter), b"\x01")


def unsubscribe(filter, number):
    """UNSUBSCRIBE."""
    return _packet(0xA2, struct.pack(">H", number), b"\x00", _text(filter))


def publish(topic, qos, number=3):
    """PUBLISH, with a payload of one byte."""
    return _packet(0x30 | qos << 1, _text(topic), struct.pack(">H", number), b"\x00", b"1")


def puback(number):
    """PUBACK, of a message that was not received."""
    return _packet(0x40, struct.pack(">H", number))


def pubrel(number):
    """PUBREL, of a message that was not sent."""
    return _packet(0x62, struct.pack(">H", number))


def suback(number, code):
    """SUBACK for one filter."""
    return _packet(0x90, struct.pack(">H", number), b"\x00", code)


def send(device, *packets, answer=None):
    """Connects, sends these and waits for the answer to one of them; without one the gateway has to close."""
    connect = _connect(f"{device.name}-odd", device.user, device.password)
    heard = b""
    with socket.create_connection(device.gateway.address("mqtt"), timeout=DEADLINE) as peer:
        peer.sendall(b"".join([connect, *packets]))
        while answer is None or answer not in heard:
            more = peer.recv(4096)
            heard += more
            if not more:
                assert answer is None, heard
                return
        peer.sendall(DISCONNECT)
