"""A back-end application that consumes, made with Qpid Proton (see `talk.py`).

Options: `addresses`; `credit`, which is kept up unless it is 0; `outcome`, what becomes of each message,
where `hold` leaves it open. Orders: `credit ADDRESS N`, `drain ADDRESS`, `settle OUTCOME N`, `close`.
"""

import json
import sys
from collections import deque

from proton import Condition, Data, Delivery
from proton.reactor import Container

from talk import Talker, say


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


class Consumer(Talker):
    """Consumes from all addresses over one connection."""

    def open(self):
        self.credit, self.outcome = self.options["credit"], self.options["outcome"]
        self.receivers, self.held, self.numbers = {}, deque(), {}
        self.count = getattr(self, "count", 0)
        for address in self.options["addresses"]:
            self.receivers[address] = self.container.create_receiver(self.connection, address)

    def obey(self, order, *words):
        match [order, *words]:
            case ["credit", address, count]:
                self.receivers[address].flow(count)
            case ["drain", address]:
                self.receivers[address].drain(0)
            case ["settle", outcome, count]:
                for _ in range(count):
                    self.settle(self.held.popleft(), outcome)

    def on_link_opened(self, event):
        # A refused link is opened without a source, and then closed.
        if event.link.remote_source.address is not None:
            event.link.flow(self.credit)
            say("attached", address=event.link.source.address)

    def on_link_flow(self, event):
        if event.link.drain_mode and event.link.credit == 0:
            event.link.drain_mode = False
            say("drained", address=event.link.source.address)

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
        elif outcome in ("modified", "failed", "undeliverable"):
            state = Delivery.MODIFIED
            delivery.local.failed = outcome == "failed"
            delivery.local.undeliverable = outcome == "undeliverable"
        delivery.update(state)
        delivery.settle()


if __name__ == "__main__":
    Container(Consumer(**json.loads(sys.argv[1]))).run()
