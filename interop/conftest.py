"""What every story can ask for."""

import itertools
from contextlib import closing

import pytest

from harness.application import PROGRAMS, Application, Sender
from harness.gateway import BINARY, Gateway
from harness.load import busy
from harness.prometheus import Prometheus
from harness.subscriber import Subscriber
from harness.wait import until

numbers = itertools.count(1)


def pytest_sessionstart(session):
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is missing; `just interop` builds it", returncode=2)


@pytest.fixture
def start_gateway(tmp_path):
    """Starts a gateway with settings of the story's own; it has to stop well afterwards."""
    started = []

    def start(**settings):
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        started.append(Gateway(folder, **settings))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway with the default configuration that most stories share, a tenant each."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Devices and applications at a gateway of their own."""
    with busy(tmp_path_factory.mktemp("busy")) as load:
        yield load


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, load):
    """A Prometheus that scrapes that gateway."""
    with closing(Prometheus(tmp_path_factory.mktemp("prometheus"), load.gateway)) as prometheus:
        pages = len(prometheus.jobs)
        until("all pages", lambda: prometheus.query("sum(up)") == [pages])
        yield prometheus


@pytest.fixture
def tenant():
    """A name that no other story uses."""
    return f"acme-{next(numbers)}"


@pytest.fixture
def device(gateway, tenant):
    """A device of a tenant without any settings."""
    gateway.create_tenant(tenant)
    return gateway.create_device(tenant, "4711")


@pytest.fixture(params=sorted(PROGRAMS))
def client(request):
    """Each story that asks for it is told with each AMQP client."""
    return request.param


def starter(kind):
    """A fixture that starts any number of them and ends them."""

    @pytest.fixture
    def start():
        started = []

        def one(*arguments, **options):
            started.append(kind(*arguments, **options))
            return started[-1]

        yield one
        for program in started:
            program.close()

    return start


start_application, start_sender = starter(Application), starter(Sender)
start_subscriber = starter(Subscriber)


@pytest.fixture
def consume(gateway, client, tenant, start_application):
    """Starts an application on the shared gateway that consumes everything of the tenant."""

    def start(**options):
        addresses = [f"telemetry/{tenant}", f"event/{tenant}"]
        return start_application(gateway, client, *addresses, **options).attached()

    return start
