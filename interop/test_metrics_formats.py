"""Both pages of metrics, in both formats, are what Prometheus' own parsers read."""

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text

OPEN_METRICS = "application/openmetrics-text"
# What Prometheus 3 sends.
ACCEPT = (
    f"{OPEN_METRICS};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN_METRICS};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


# Pages with one series of everything, which the tests of the sources hold the gateway to.
GOLDEN = Path(__file__).parent.parent / "crates" / "weir-metrics" / "tests" / "golden"


@pytest.fixture
def scrape(gateway, device):
    """Reads a page after messages of both protocols: content type, families by name."""

    def scrape(path, accept, parse):
        request = urllib.request.Request(gateway.url("health", path), headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:
            kind, page = answer.headers["Content-Type"], answer.read().decode()
        families = list(parse(page))
        by_name = {family.name: family for family in families}
        assert len(by_name) == len(families), "a family stands twice"
        return kind, by_name

    # Nobody takes it, which is counted as well as anything.
    assert device.curl("/telemetry", "12345", "-H", "QoS-Level: 1").status == 503
    assert device.start_mosquitto("telemetry", "12345", qos=0).succeeded()
    return scrape


def value(family, name, **labels):
    """The only sample with this name and these labels."""
    (sample,) = (
        sample
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return sample.value


def test_everything_there_may_be_is_read():
    pages = {path.name: path.read_text() for path in GOLDEN.iterdir()}
    assert len(pages) == 4
    for view in ("hono", "native"):
        plain = {family.name: family for family in text(pages[f"{view}.txt"])}
        families = {family.name: family for family in open_metrics(pages[f"{view}.openmetrics.txt"])}
        # Of the information on the build the one says that it is a gauge.
        names = {name.removesuffix("_info") for name in plain}
        assert names == families.keys()
        for name in plain.keys() & families.keys():
            assert plain[name].type == families[name].type, name
            assert plain[name].documentation == families[name].documentation, name
            # They agree but for examples and units.
            samples = ([sample[:3] for sample in one[name].samples] for one in (plain, families))
            assert next(samples) == next(samples), name
    duration = "hono_telemetry_processing_duration_seconds"
    (hono,) = (it for it in open_metrics(pages["hono.openmetrics.txt"]) if it.name == duration)
    (example,) = (sample.exemplar for sample in hono.samples if sample.exemplar)
    assert example.labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert (example.value, float(example.timestamp)) == (0.001, 1_800_000_000)


PAGES = [
    ("*/*", text, "text/plain; version=0.0.4; charset=utf-8"),
    (ACCEPT, open_metrics, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"),
]


@pytest.mark.parametrize(("accept", "parse", "kind"), PAGES, ids=["text", "openmetrics"])
def test_honos_page_is_read(scrape, device, accept, parse, kind):
    found, families = scrape("/prometheus", accept, parse)
    assert found == kind
    assert all(name.startswith("hono_") for name in families)
    duration = "hono_telemetry_processing_duration_seconds"
    mine = {"tenant": device.tenant, "component_name": "hono-http", "status": "undeliverable"}
    family = families[duration]
    assert family.type == "histogram"
    assert value(family, f"{duration}_count", **mine) == 1
    assert value(family, f"{duration}_bucket", le="+Inf", **mine) == 1
    assert value(family, f"{duration}_sum", **mine) > 0
    assert families[f"{duration}_max"].type == "gauge"
    assert value(families[f"{duration}_max"], f"{duration}_max", **mine) > 0
    payload = "hono_telemetry_payload_bytes"
    assert value(families[payload], f"{payload}_bucket", le="0.0", **mine) == 0
    assert value(families[payload], f"{payload}_bucket", le="64.0", **mine) == 1
    attempts = families["hono_connections_attempts"]
    assert attempts.type == "counter"
    mine = {"tenant": device.tenant, "outcome": "succeeded"}
    assert value(attempts, "hono_connections_attempts_total", **mine) == 1
    # Dashboards find adapters by these, before there is any message.
    for component in ("hono-http", "hono-mqtt"):
        labels = {"component_name": component, "tenant": "UNKNOWN", "status": "forwarded"}
        assert value(family, f"{duration}_count", type="event", **labels) == 0


@pytest.mark.parametrize(("accept", "parse", "kind"), PAGES, ids=["text", "openmetrics"])
def test_the_native_page_is_read(scrape, accept, parse, kind):
    found, families = scrape("/metrics", accept, parse)
    assert found == kind
    assert not any(name.startswith("hono_") for name in families)
    is_open_metrics = parse is open_metrics
    build = families["weir_build" if is_open_metrics else "weir_build_info"]
    assert build.type == ("info" if is_open_metrics else "gauge")
    assert value(build, "weir_build_info", version="0.1.0") == 1
    assert value(families["process_cpu_seconds"], "process_cpu_seconds_total") > 0
    for name in ("process_resident_memory_bytes", "process_open_fds", "weir_runtime_workers"):
        assert value(families[name], name) > 0
    lines = families["weir_log_events"]
    assert value(lines, "weir_log_events_total", level="info") > 0
    assert value(lines, "weir_log_events_total", level="error") == 0
