"""Dashboards made for EMQX, its cloud and its exporter: a Prometheus that scrapes a busy gateway has data for
all their panels, save those that `docs/emqx-metrics.md` lists."""

import re

import pytest

from harness.dashboards import boards, check_all_have_data, chosen, is_something, queries, substituted
from harness.gateway import ROOT
from harness.wait import until

BOARDS = boards("emqx") | boards("emqx-cloud") | boards("emqx-exporter")
# Clients that are not asked who they are: a gateway asks all of them or none.
UNASKED = {"client_auth_anonymous", "authentication_success_anonymous", "client_auth_success_anonymous"}


def table(heading):
    """The rows of a table of the documentation, by what stands before it."""
    page = (ROOT / "docs/emqx-metrics.md").read_text()
    (before,) = re.findall(f"^{re.escape(heading)}$", page, re.M)
    lines = page[page.index(f"{before}\n") :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell):
    """The names in a cell; none if it is all of them."""
    return None if cell == "all" else set(re.findall(r"`([^`]+)`", cell))


ALWAYS_0 = {name.strip("`") for name, _ in table("## Always 0")}
COUNTED = {name.strip("`") for name, *_ in table("## Broker metrics")}


class Absent:
    """A row of what is documented not to be there."""

    def __init__(self, board, panels, metrics, _):
        (self.board,), self.panels, self.metrics = names(board), names(panels), names(metrics)

    def has(self, board, query):
        """Whether it is about this query."""
        is_panel = self.panels is None or query.title in self.panels
        return board == self.board and is_panel and (self.metrics is None or self.metrics & {*query.metrics})


ABSENT = [Absent(*row) for row in table("Panels that stay empty, or lack a line:")]


def is_absent(board, query):
    """Whether it is documented that a query has no data."""
    return any(row.has(board, query) for row in ABSENT)


def is_quiet(query):
    """Whether 0 is what a query shows where all is well."""
    plain = {re.sub("^(deployment_)?emqx_(metrics_)?", "", metric) for metric in query.metrics}
    is_difference = query.panel.get("joined") == "-" or query.panel.get("compare") == "== bool 0"
    return is_difference or plain <= ALWAYS_0 | UNASKED | {"action_queued_count"}


def test_the_documentation_has_these_dashboards_and_panels():
    assert sorted(board.strip("`") for board, _ in table("## Dashboards")) == sorted(BOARDS)
    for row in ABSENT:
        found = [query for query in queries(BOARDS[row.board]) if row.has(row.board, query)]
        assert found, row.board
        assert row.panels is None or row.panels == {query.title for query in found}
        assert row.metrics is None or row.metrics == {it for query in found for it in query.metrics}


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_each_panel_has_data_but_those_that_are_documented(prometheus, load, name):
    board = BOARDS[name]
    asked = {query: is_absent(name, query) for query in queries(board)}

    def ask(metric, label):
        values = lambda: prometheus.label_values(metric, label)
        return values() if all(asked.values()) else until(f"values of {label}", values)

    variables = chosen(board, ask)
    texts = {query: substituted(query.text, variables) for query in asked}
    there = {query: text for query, text in texts.items() if not asked[query]}
    if there:
        check_all_have_data(prometheus, load, there)
        lively = {query: text for query, text in there.items() if not is_quiet(query)}
        check_all_have_data(prometheus, load, lively, is_something)
    # A panel has a line for a query, unless there is one for each value of a label.
    single = {query: text for query, text in there.items() if "each" not in query.panel}
    assert not [text for text in single.values() if len(prometheus.query(text)) != 1]
    assert not [text for query, text in texts.items() if asked[query] and prometheus.query(text)]


def test_what_is_documented_as_counted_is_and_the_rest_is_0(prometheus, load):
    prefixes = ("emqx_", "deployment_emqx_metrics_")
    series = {prefix + name: prefix + name for name in COUNTED - UNASKED for prefix in prefixes}
    check_all_have_data(prometheus, load, series, is_something)
    for name in ALWAYS_0:
        assert [prometheus.query(prefix + name) for prefix in prefixes] == [[0], [0]], name
