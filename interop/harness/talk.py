"""What the programs made with Qpid Proton have in common: login, orders, and saying what happens.

They are started as `PROGRAM OPTIONS` by `program.py`. OPTIONS is a JSON object, each line of standard
input an order, a JSON list of words, each line of standard output a JSON object saying what happened.
"""

import json
import sys
import threading

from proton import SSLDomain
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, EventInjector

# Seconds after which a program that connects again does so.
PAUSE = 0.02


def say(event, **details):
    """One write, so that a killed program leaves whole lines behind."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


class Talker(MessagingHandler):
    """One connection with links on it."""

    def __init__(self, host, port, login, connection, again, **options):
        # Receiving and settling are done by hand.
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.host, self.port, self.login, self.details = host, port, login, connection
        self.again, self.options = again, options
        self.pausing = self.closing = False
        self.orders = EventInjector()

    def on_start(self, event):
        self.container = event.container
        event.container.selectable(self.orders)
        threading.Thread(target=self.listen, daemon=True).start()
        self.connect()

    def connect(self):
        """Connects and opens the links."""
        login = dict(self.login)
        details = {"allowed_mechs": login.pop("mechanism"), "sasl_enabled": True, "reconnect": False}
        scheme = "amqp"
        if trusted := login.pop("trusted", None):
            scheme, domain = "amqps", SSLDomain(SSLDomain.MODE_CLIENT)
            domain.set_trusted_ca_db(trusted)
            domain.set_peer_authentication(SSLDomain.VERIFY_PEER)
            if certificate := login.pop("certificate", None):
                domain.set_credentials(certificate, login.pop("key"), None)
            details["ssl_domain"] = domain
        url = f"{scheme}://{self.host}:{self.port}"
        self.connection = self.container.connect(url, **login, **details, **self.details)
        self.open()

    def listen(self):
        for line in sys.stdin:
            self.orders.trigger(ApplicationEvent("order", subject=json.loads(line)))

    def on_order(self, event):
        if event.subject == ["close"]:
            self.closing = True
            self.connection.close()
            if self.again:
                # There may be no connection that could be closed.
                self.container.stop()
        else:
            self.obey(*event.subject)

    def on_link_error(self, event):
        say("refused", condition=event.link.remote_condition.name)
        self.connection.close()

    def on_transport_error(self, event):
        say("disconnected", condition=event.transport.condition.name)

    def on_disconnected(self, event):
        if self.again:
            # This is told more than once.
            if event.connection == self.connection and not (self.pausing or self.closing):
                self.pausing = True
                self.container.schedule(PAUSE, self)
            return
        # Also when the gateway stops; proton would rather connect again than tell that.
        if event.connection.remote_condition:
            say("disconnected", condition=event.connection.remote_condition.name)
        self.connection.close()

    def on_timer_task(self, event):
        self.pausing = False
        if not self.closing:
            self.connect()

    def on_connection_closed(self, event):
        say("closed")

    def on_transport_closed(self, event):
        # Without orders to wait for, the container ends.
        if not self.again:
            self.orders.close()
