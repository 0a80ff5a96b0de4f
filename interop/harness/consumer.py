"""A back-end application made with Qpid Proton. Started by `application.py`, which tells the protocol.

    consumer.py HOST PORT USER PASSWORD OUTCOME CREDIT ADDRESS...

OUTCOME is what becomes of each message; `hold` leaves it open. CREDIT is kept up unless it is 0. Each
line of standard input is an order (`credit ADDRESS N`, `settle OUTCOME N`, `close`), each line of
standard output a JSON object saying what happened.
"""

import json
import sys
import threading
from collections import deque

from proton import Condition, Data, Delivery
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector


def say(event, **details):
    """One write, so that a killed program leaves whole lines behind."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def typed(data):
    """The value under the cursor with its AMQP type."""
    kind = data.type()
    if kind == Data.DESCRIBED:
        data.enter()
        data.next()
        descriptor = typed(data)
        data.next()
        result = {**typed(data), "descriptor": descriptor["value"]}
        data.exit()
        return result
    if kind in (Data.MAP, Data.LIST):
        data.enter()
        items = []
        while data.next():
            items.append(typed(data))
        data.exit()
        if kind == Data.MAP:
            return {"type": "map", "value": [items[at : at + 2] for at in range(0, len(items), 2)]}
        return {"type": "list", "value": items}
    name = Data.type_name(kind)
    value = data.get_object()
    if kind == Data.BINARY:
        value = bytes(value).hex()
    elif value is not None:
        value = {bool: bool, float: float}.get(type(value), int if isinstance(value, int) else str)(value)
    return {"type": name, "value": value}


def sections(encoded):
    """All sections of an encoded message, as they stand."""
    found = []
    while encoded:
        data = Data()
        used = data.decode(encoded)
        data.rewind()
        data.next()
        found.append(typed(data))
        encoded = encoded[used:]
    return found


class Application(MessagingHandler):
    """Consumes from all addresses over one connection."""

    def __init__(self, host, port, user, password, outcome, credit, *addresses):
        # Receiving is done by hand below, so that the message can be looked at as it was sent.
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.url = f"amqp://{host}:{port}"
        self.login = {"user": user, "password": password}
        self.outcome, self.credit, self.addresses = outcome, int(credit), addresses
        self.orders = EventInjector()
        self.receivers, self.held, self.numbers, self.count = {}, deque(), {}, 0

    def on_start(self, event):
        options = {"allowed_mechs": "PLAIN", "sasl_enabled": True, "reconnect": False, "heartbeat": 8}
        self.connection = event.container.connect(self.url, **self.login, **options)
        for address in self.addresses:
            self.receivers[address] = event.container.create_receiver(self.connection, address)
        event.container.selectable(self.orders)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in sys.stdin:
            self.orders.trigger(ApplicationEvent("order", subject=line.split()))

    def on_order(self, event):
        match event.subject:
            case ["credit", address, count]:
                self.receivers[address].flow(int(count))
            case ["settle", outcome, count]:
                for _ in range(int(count)):
                    self.settle(self.held.popleft(), outcome)
            case ["close"]:
                self.connection.close()

    def on_link_opened(self, event):
        # A refused link is opened without a source, and then closed.
        if event.link.remote_source.address is not None:
            event.link.flow(self.credit)
            say("attached", address=event.link.source.address)

    def on_delivery(self, event):
        delivery, link = event.delivery, event.link
        if delivery.readable and not delivery.partial:
            had_credit = link.credit > 0
            encoded = link.recv(delivery.pending)
            link.advance()
            self.numbers[delivery.tag] = self.count
            self.count += 1
            say(
                "message",
                number=self.numbers[delivery.tag],
                address=link.source.address,
                sections=sections(encoded),
                settled=delivery.settled,
                had_credit=had_credit,
            )
            if self.credit:
                link.flow(1)
            if self.outcome == "hold":
                self.held.append(delivery)
            else:
                self.settle(delivery, self.outcome)
        elif delivery.updated and delivery.settled:
            state = "released" if delivery.remote_state == Delivery.RELEASED else "something else"
            say("settled by the gateway", number=self.numbers[delivery.tag], state=state)
            delivery.settle()

    def settle(self, delivery, outcome):
        say("settling", number=self.numbers[delivery.tag], outcome=outcome)
        state = {"accepted": Delivery.ACCEPTED, "released": Delivery.RELEASED}.get(outcome)
        if outcome == "rejected":
            state = Delivery.REJECTED
            delivery.local.condition = Condition("hono:bad-request", "not what was asked for")
        elif outcome in ("modified", "undeliverable"):
            state = Delivery.MODIFIED
            delivery.local.undeliverable = outcome == "undeliverable"
        delivery.update(state)
        delivery.settle()

    def on_link_error(self, event):
        say("refused", condition=event.link.remote_condition.name)
        self.connection.close()

    def on_transport_error(self, event):
        say("disconnected", condition=event.transport.condition.name)

    def on_disconnected(self, event):
        # Also when the gateway stops; proton would rather connect again than tell that.
        if event.connection.remote_condition:
            say("disconnected", condition=event.connection.remote_condition.name)
        self.connection.close()

    def on_connection_closed(self, event):
        say("closed")

    def on_transport_closed(self, event):
        # Without orders to wait for, the container ends.
        self.orders.close()


if __name__ == "__main__":
    Container(Application(*sys.argv[1:])).run()
