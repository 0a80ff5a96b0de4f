"""A back-end application made with Qpid JMS: `jms/Jms.java`, in a process of its own."""

import subprocess
import tempfile
from pathlib import Path

from .program import Program

HERE = Path(__file__).parents[1] / "jms"
JARS = HERE / "target" / "dependency"
# It starts sooner like this, and one of two processors is the gateway's.
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dslf4j.internal.verbosity=ERROR"]


class Jms:
    """The compiled program."""

    def __init__(self):
        jars = sorted(map(str, JARS.glob("*.jar")))
        assert jars, f"{JARS} is empty; `just interop-install` fills it"
        self.folder = tempfile.TemporaryDirectory(prefix="weir-jms-")
        command = ["ecj", "-17", "-proc:none", "-cp", ":".join(jars), "-d", self.folder.name]
        done = subprocess.run([*command, str(HERE / "Jms.java")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.classes = ":".join([self.folder.name, *jars])

    def close(self):
        """Removes it."""
        self.folder.cleanup()


class Message:
    """A message as JMS shows it."""

    def __init__(self, event):
        self.address, self.kind = event["address"], event["kind"]
        self.body = bytes.fromhex(event["body"]).decode()
        self.redelivered, self.persistent = event["redelivered"], event["persistent"]
        self.correlation_id = event["correlation_id"]
        properties = {name: value for name, value in event.items() if name.startswith("property:")}
        self.properties = {name.partition(":")[2]: value for name, value in properties.items()}

    @property
    def count(self):
        """How often it was delivered, this time included."""
        return self.properties["JMSXDeliveryCount"]


class JmsApplication(Program):
    """One connection. `options` are of the connection URI; with `failover` it is made again when it is lost."""

    def __init__(self, jms, gateway, failover=False, password=None, **options):
        host, port = gateway.address("northbound.amqp")
        user, own_password = gateway.login("application")
        query = "&".join(f"{name.replace('_', '.')}={value}" for name, value in options.items())
        uri = f"amqp://{host}:{port}?{query}"
        if failover:
            delays = "&".join(f"failover.{name}=20" for name in ("initialReconnectDelay", "reconnectDelay"))
            uri = f"failover:({uri})?{delays}&failover.useReconnectBackOff=false"
        self.read = {}
        super().__init__([*JAVA, "-cp", jms.classes, "Jms", uri, user, password or own_password])

    def order(self, *words):
        """Tells it to do something."""
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def session(self, name="session", mode="auto"):
        """Opens a session."""
        self.order("session", name, mode)
        return self

    def consume(self, *addresses, session="session"):
        """Attaches to addresses."""
        for address in addresses:
            self.order("consume", session, address)
        for address in addresses:
            self.wait("attached", address=address)
        return self

    def receive(self, address, count=1):
        """The next messages of an address."""
        first = self.read.get(address, 0)
        self.read[address] = first + count
        self.order("receive", address, count)
        found = self.wait("message", first + count, address=address)
        assert len(found) == first + count
        return [Message(event) for event in found[first:]]

    def acknowledge(self, address):
        """Acknowledges all that its session has received."""
        done = len(self.all("acknowledged"))
        self.order("acknowledge", address)
        self.wait("acknowledged", done + 1)

    def recover(self, session="session"):
        """Wants again what was not acknowledged."""
        done = len(self.all("recovered"))
        self.order("recover", session)
        self.wait("recovered", done + 1)

    def send(self, to, subject, body="", reply_to="", correlation_id="", session="session"):
        """Sends a command."""
        link = "/".join(to.split("/")[:2])
        self.order("send", session, link, to, subject, reply_to, correlation_id, body)
