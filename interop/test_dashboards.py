"""Dashboards, rules and alerts: a Prometheus that scrapes a busy gateway has data for all of them."""

import hashlib
import re

import pytest
import yaml

from harness.dashboards import SHIPPED as GRAFANA
from harness.dashboards import (
    boards,
    check_all_have_data,
    chosen,
    is_something,
    queries,
    regular,
    shipped,
    substituted,
)
from harness.gateway import ROOT
from harness.prometheus import SHIPPED, promtool
from harness.wait import until

HONO, DASHBOARDS = boards("hono"), shipped()
# Panels that show 0 where all is well.
QUIET = {"JVM GC", "Trace | Debug", "Error"}
RULES = [
    rule
    for path in sorted((SHIPPED / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}

# What is no metric in an expression: selectors, durations, lists of labels; then operators and functions.
ELSEWHERE = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|ignoring|without|group_left|group_right) *\([^)]*\)"
)
WORD = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?! *\()")
OPERATORS = {"and", "or", "unless"}


def metrics(expression):
    """The names of the metrics in an expression."""
    return set(WORD.findall(ELSEWHERE.sub(" ", expression))) - OPERATORS


def selectors(expression):
    """The metrics in an expression with what they are selected by."""
    return {
        found[0]
        for found in re.finditer(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?(?! *\()", expression)
        if found[1] in metrics(expression)
    }


def described():
    """All names that docs/metrics.md promises."""
    names = {"up"}
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([a-z]+)(, `_max`)? \|", page, re.M)
    assert rows
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    for family, kind, has_max in rows:
        names |= {family + suffix for suffix in suffixes.get(kind, ("",))}
        names |= {f"{family}_max"} if has_max else set()
    return names


# The files.


def test_the_configuration_the_rules_and_their_tests_pass():
    # promtool takes no patterns.
    rules, tests = (sorted((SHIPPED / name).glob("*.yml")) for name in ("rules", "tests"))
    for config in ("prometheus.yml", "emqx.yml"):
        promtool("check", "config", config)
    promtool("check", "rules", *rules)
    promtool("test", "rules", *tests)


def test_each_alert_is_tested_both_ways():
    fires, does_not = set(), set()
    for path in (SHIPPED / "tests").glob("*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for expected in test.get("alert_rule_test", []):
                (fires if expected["exp_alerts"] else does_not).add(expected["alertname"])
    assert fires == does_not == ALERTS.keys()


def test_each_alert_says_what_to_do():
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.M)
    anchors = {f"docs/runbooks.md#{heading.lower()}" for heading in headings}
    assert len(anchors) == len(headings)
    for name, rule in ALERTS.items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] in anchors, name
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
    assert {rule["annotations"]["runbook_url"] for rule in ALERTS.values()} == anchors


def test_they_ask_for_nothing_that_is_not_described():
    known = described()
    expressions = [rule["expr"] for rule in RULES]
    expressions += [expression for board in DASHBOARDS for _, expression in board.targets()]
    for expression in expressions:
        assert metrics(expression) <= known | RECORDED.keys(), expression
    asked = [metric for board in DASHBOARDS for metric, _ in board.label_values().values()]
    asked += [metric for board in HONO.values() for it in queries(board) for metric in it.metrics]
    assert set(asked) <= known


def test_datasources_have_the_uids_that_others_dashboards_ask_for():
    provided = yaml.safe_load((GRAFANA / "provisioning/datasources/weir.yml").read_text())
    uids = {source["name"]: source["uid"] for source in provided["datasources"]}
    # What Grafana makes of the name, and Hono's dashboards have.
    made = "P" + hashlib.sha256(b"hono_metrics").hexdigest()[:16].upper()
    assert uids == {"hono_metrics": made, "emqx_cloud": "bdl93dug0rqpsb"}
    assert made == "P8B86E624E541D793"


def test_dashboards_can_be_read():
    assert [board.name for board in DASHBOARDS] == [board.json["uid"] for board in DASHBOARDS]
    for board in DASHBOARDS:
        assert board.json["schemaVersion"] >= 36
        assert board.variables["datasource"]["type"] == "datasource"
        numbers = [panel["id"] for panel in board.json["panels"]]
        assert len(set(numbers)) == len(numbers)
        taken = set()
        for panel in board.json["panels"]:
            place = panel["gridPos"]
            columns = range(place["x"], place["x"] + place["w"])
            cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
            assert columns.stop <= 24 and not cells & taken, panel["title"]
            taken |= cells
        for panel in board.panels:
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source["uid"] == "${datasource}" for source in sources), panel["title"]
        used = set(re.findall(r"\$(\w+)", " ".join(expression for _, expression in board.targets())))
        assert used <= board.variables.keys() | {"__rate_interval"}
        assert board.variables.keys() - {"datasource"} <= used


# A busy gateway.


@pytest.mark.parametrize("name", HONO)
def test_each_panel_of_honos_dashboards_has_data(prometheus, load, name):
    ask = lambda *asked: until(f"values of {asked}", lambda: prometheus.label_values(*asked))
    variables = chosen(HONO[name], ask)
    expressions = {query: substituted(query.text, variables) for query in queries(HONO[name])}
    lively = {query: text for query, text in expressions.items() if query.title not in QUIET}
    check_all_have_data(prometheus, load, expressions)
    check_all_have_data(prometheus, load, lively, is_something)


def test_names_of_a_java_virtual_machine_are_there_only_if_they_are_wanted(gateway):
    asked = {metric for query in queries(HONO["jvm-details"]) for metric in query.metrics}
    assert asked and not [metric for metric in asked if gateway.metrics(metric)]


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
def test_each_panel_of_our_dashboards_has_data(prometheus, load, board):
    variables = {}
    for name, (metric, label) in board.label_values().items():
        values = until(f"values of {name}", lambda: prometheus.label_values(metric, label))
        variables[name] = regular(values)
    expressions = {
        (title, number): substituted(expression, variables)
        for number, (title, expression) in enumerate(board.targets())
    }
    check_all_have_data(prometheus, load, expressions)


def test_all_that_alerts_look_at_is_there(prometheus, load):
    looked_at = {it for rule in ALERTS.values() for it in selectors(rule["expr"])}
    check_all_have_data(prometheus, load, {name: name for name in looked_at})


def test_all_that_is_recorded_has_data(prometheus, load):
    check_all_have_data(prometheus, load, {name: name for name in RECORDED})
    evaluated = lambda: all(rule["health"] == "ok" for rule in prometheus.rules())
    until("all rules to be evaluated", evaluated)
    assert {rule["name"] for rule in prometheus.rules()} == RECORDED.keys() | ALERTS.keys()


def test_alerts_tell_those_who_suffer_from_those_who_do_not(prometheus):
    """What is found now; how long it has to last is in the rules' own tests."""

    def found():
        alerts = [alert for rule in prometheus.rules() for alert in rule.get("alerts", [])]
        return {(it["labels"]["alertname"], it["labels"].get("tenant")) for it in alerts}

    expected = {
        ("WeirNoConsumer", "alone"),
        ("WeirTenantUndeliverable", "alone"),
        ("WeirTenantUndeliverable", "silent"),
        ("WeirTenantUnprocessable", "limited"),
        ("WeirUndeliverable", None),
        ("WeirCommandsUndeliverable", None),
        # The certificate is for a day.
        ("WeirCertificateExpiresNow", None),
    }
    until(f"{expected}", lambda: found() >= expected)
    names = {name for name, _ in found()}
    well = {"WeirInstanceDown", "WeirAbsent", "WeirRestarts", "WeirLogErrors", "WeirFileDescriptors"}
    assert not names & well
    tenants = {name: {tenant for it, tenant in found() if it == name} for name in names}
    assert not tenants["WeirNoConsumer"] & {"taken", "rejected"}
    assert "taken" not in tenants["WeirTenantUndeliverable"] | tenants["WeirTenantUnprocessable"]
