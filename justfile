# Every command a developer of Weir needs; the gate calls the same ones. `just` comes from
# `cargo install just` or `pip install rust-just`.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# List the commands
default:
    @just --list --unsorted

# Everything that has to be right before a change goes in
ci:
    #!/usr/bin/env bash
    set -euo pipefail
    for step in lint test interop docs deny; do
      echo
      echo "=== $step"
      SECONDS=0
      just "$step" || { echo "=== $step FAILED after $SECONDS s" >&2; exit 1; }
      echo "=== $step passed in $SECONDS s"
    done

# Format all sources
fmt:
    cargo fmt --all

# Check format and lints, and that the AMQP engine does no I/O
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p weir-metrics --features no-op -- -D warnings
    tree=$(cargo tree -p weir-amqp-engine -e normal --prefix none); ! grep '^tokio' <<<"$tree"

# Run the tests, all or some: `just test -p weir-core ttl`
test *arguments:
    cargo test "$@"

# Build the documentation of the sources, private items too, with warnings denied
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# Check licences, forbidden crates and where crates come from; installs cargo-deny if it is missing
deny:
    cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny --version 0.20.2
    cargo deny check bans licenses sources

# Build the binary that is shipped
build:
    cargo build --release -p weir

# See messages go all the way through a gateway
demo: build
    "${CARGO_TARGET_DIR:-target}/release/weir" demo

# Measure the gateway beside mosquitto, which is installed if it is missing
bench *arguments: build
    PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null || interop/install mosquitto
    cargo run --release -p weir-bench -- messages "$@"

# Measure the registry: look-ups, provisioning, imports
bench-registry *arguments: build
    cargo run --release -p weir-bench -- registry "$@"

# Measure connections: the memory of idle ones (`idle`), all devices coming back at once (`storm`)
bench-connections *arguments: build
    [ $# -gt 0 ] || for what in idle storm; do cargo run --release -p weir-bench -- "$what"; done
    [ $# -eq 0 ] || cargo run --release -p weir-bench -- "$@"

# Measure what devices feel of another tenant (`fairness`) and of attackers (`hostile`)
bench-fairness *arguments: build
    [ $# -gt 0 ] || for what in fairness hostile; do cargo run --release -p weir-bench -- "$what"; done
    [ $# -eq 0 ] || cargo run --release -p weir-bench -- "$@"

# Measure uploads over HTTP with wrk, which is installed if it is missing
bench-http *arguments: build
    command -v wrk >/dev/null || interop/install wrk
    cargo run --release -p weir-bench -- http "$@"

# Measure recording, scrapes with many tenants, and tenants that come and go
bench-metrics *arguments:
    cargo run --release -p weir-bench -- metrics "$@"

# Measure what metrics cost of a message, next to a gateway that records nothing
bench-overhead *arguments:
    cargo build --release -p weir --features no-op-metrics
    cp "${CARGO_TARGET_DIR:-target}"/release/weir{,-no-op}
    just build
    cargo run --release -p weir-bench -- overhead "$@"

# Feed every parser of AMQP, MQTT and HTTP a million mutated inputs, or as many as given
fuzz cases="1000000":
    WEIR_FUZZ_CASES={{cases}} cargo test --release -p weir-amqp-engine -p weir-mqtt -p weir-http --lib -- tests::fuzz:: mutation::

# Print what the event store does with five million waiting events
event-store-figures:
    cargo test --release -p weir-event-store --test store figures -- --ignored --nocapture

# Print what the AMQP engine's hot paths cost, each by itself
engine-figures:
    cargo test --release -p weir-amqp-engine -- --ignored --nocapture figures

# Tell all stories with real clients (curl, wrk, mosquitto, paho, MQTT.js, Qpid Proton, rhea, Qpid JMS, Schemathesis), or some: `just interop interop -k ttl`
interop *arguments: build interop-install
    interop/.venv/bin/python -B -m pytest -c interop/pytest.ini --rootdir interop --basetemp interop/work "${@:-interop}"
    [ $# -gt 0 ] || just test-postgres

# Install what the stories use: Debian packages, and a folder each for Python, JavaScript and Java
interop-install:
    interop/install

# Stories: every field of a message as applications get it
interop-messages: (interop "interop/test_messages.py")

# Stories: what an application says is what the device is told
interop-dispositions: (interop "interop/test_dispositions.py")

# Stories: login, addresses, credit, competing consumers, large messages, heartbeats
interop-links: (interop "interop/test_links.py")

# Stories: events wait on the disk until an application has accepted them
interop-events: (interop "interop/test_events.py")

# Stories: a gateway that is killed two hundred times while events flow, or has no room left
interop-events-crash: (interop "interop/test_events_crash.py")

# Stories: commands, what devices answer, and what each side is told
interop-commands: (interop "interop/test_commands.py")

# Stories: who may do what as an application
interop-permissions: (interop "interop/test_permissions.py")

# Stories: an application made with Qpid JMS
interop-jms: (interop "interop/test_jms.py")

# Stories: weir consume and weir command, at a terminal
interop-applications: (interop "interop/test_cli_applications.py")

# Stories: what was sent is what was counted
interop-metrics: (interop "interop/test_metrics.py" "interop/test_metrics_formats.py")

# Stories: traces, as a collector of OpenTelemetry and everybody on a message's way hear of them
interop-traces: (interop "interop/test_traces.py")

# Stories: dashboards, recorded series and alerts, with a Prometheus that scrapes a busy gateway
interop-dashboards: (interop "interop/test_dashboards.py" "interop/test_dashboards_emqx.py")

# Check the rules and alerts for Prometheus, and run their tests
test-rules:
    cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules tests/*.yml

# Stories: applications that are killed
interop-crash: (interop "interop/test_crash.py")

# Stories: starting with a mistake, stopping without one
interop-stop: (interop "interop/test_stop.py")

# Stories: the demonstration and the commands it prints
interop-demo: (interop "interop/test_demo.py")

# Stories: the management API and its description of itself
interop-openapi: (interop "interop/test_openapi.py")

# Stories: devices that log in with certificates
interop-certificates: (interop "interop/test_devices_certificates.py")

# Stories: MQTT over WebSocket, and MQTT 5 with clients made for any broker
interop-websocket: (interop "interop/test_websocket.py")

# Stories: many requests at once, made by wrk
interop-load: (interop "interop/test_load.py")

# Stories: a registry that is killed a hundred times
interop-registry-crash: (interop "interop/test_registry_crash.py")

# Stories: two gateways on one PostgreSQL; and what `just test-postgres` runs
interop-postgres: test-postgres (interop "interop/test_postgres.py")

# Run the tests of the registry and the management API on a PostgreSQL of their own instead of SQLite
test-postgres: interop-install
    PYTHONPATH=interop interop/.venv/bin/python -B -m harness.postgres cargo test --test registry --test api
