"""What every story can ask for."""

import itertools

import pytest

from harness.application import PROGRAMS, Application
from harness.gateway import BINARY, Gateway

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


@pytest.fixture
def start_application():
    """Starts applications and ends them."""
    started = []

    def start(*arguments, **options):
        started.append(Application(*arguments, **options))
        return started[-1]

    yield start
    for application in started:
        application.close()


@pytest.fixture
def consume(gateway, client, tenant, start_application):
    """Starts an application on the shared gateway that consumes everything of the tenant."""

    def start(**options):
        addresses = [f"telemetry/{tenant}", f"event/{tenant}"]
        return start_application(gateway, client, *addresses, **options).attached()

    return start
