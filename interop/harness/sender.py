"""A back-end application that sends, made with Qpid Proton (see `talk.py`).

Option: `addresses`, a link each. Orders: `send ADDRESS NUMBER MESSAGE`, where MESSAGE has the fields of
a command, `close`.
"""

import json
import sys

from proton import Delivery, Message, ulong
from proton.reactor import Container

from talk import Talker, say

STATES = {
    Delivery.ACCEPTED: "accepted",
    Delivery.REJECTED: "rejected",
    Delivery.RELEASED: "released",
    Delivery.MODIFIED: "modified",
}


def identifier(value):
    """A text is a string, a number a ulong."""
    return ulong(value) if isinstance(value, int) else value


def made(to=None, subject=None, reply_to=None, correlation_id=None, message_id=None, **content):
    """A message; `data`, `text` or `map` is its body."""
    message = Message(address=to, subject=subject, reply_to=reply_to)
    message.id, message.correlation_id = identifier(message_id), identifier(correlation_id)
    message.content_type = content.get("content_type")
    if "data" in content:
        message.body, message.inferred = content["data"].encode(), True
    else:
        message.body = content.get("text", content.get("map"))
    return message


class Sender(Talker):
    """Sends to all addresses over one connection."""

    def open(self):
        self.senders, self.numbers = {}, {}
        for address in self.options["addresses"]:
            sender = self.container.create_sender(self.connection, address)
            self.senders[address] = sender

    def obey(self, order, address, number, message):
        assert order == "send"
        delivery = self.senders[address].send(made(**message))
        self.numbers[delivery.tag] = number
        say("sent", number=number)

    def on_link_opened(self, event):
        # A refused link is opened without a target, and then closed.
        if event.link.remote_target.address is not None:
            say("attached", address=event.link.target.address)

    def on_link_flow(self, event):
        if event.link.credit > 0:
            say("credit", address=event.link.target.address)

    def on_delivery(self, event):
        delivery = event.delivery
        if event.link.is_sender and delivery.updated and delivery.remote_state in STATES:
            condition = delivery.remote.condition
            say(
                "outcome",
                number=self.numbers[delivery.tag],
                state=STATES[delivery.remote_state],
                settled=delivery.settled,
                condition=condition and condition.name,
                description=condition and condition.description,
            )
            delivery.settle()


if __name__ == "__main__":
    Container(Sender(**json.loads(sys.argv[1]))).run()
