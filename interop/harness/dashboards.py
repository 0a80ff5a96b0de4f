"""The queries of dashboards: Grafana's files, and what is known of those that others have made."""

import itertools
import json
import re
from pathlib import Path

from .gateway import ROOT
from .wait import until

FACTS = Path(__file__).parents[1] / "dashboards"
SHIPPED = ROOT / "deploy" / "grafana"
LABEL_VALUES = re.compile(r"label_values\((\w+), *(\w+)\)")
# What Grafana would put in where Prometheus scrapes every second and the datasource says so.
INTERVALS = {"__rate_interval": "5s", "__interval": "5s", "__range": "30s"}


def substituted(expression, variables=None):
    """An expression as Grafana sends it. No variable may be left."""
    values = INTERVALS | (variables or {})
    put = lambda found: values[found[1] or found[2]]
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", put, expression)


def regular(values):
    """What Grafana makes of a variable of which several values are chosen."""
    chosen = "|".join(map(re.escape, values))
    # Once more for the text that it is put into.
    return f"({chosen})".replace("\\", r"\\")


class Dashboard:
    """One of the dashboards that are shipped."""

    def __init__(self, path):
        self.name, self.json = path.stem, json.loads(path.read_text())
        self.panels = [panel for panel in self.json["panels"] if panel["type"] != "row"]
        self.variables = {it["name"]: it for it in self.json["templating"]["list"]}

    def label_values(self):
        """Metric and label by the name of the variable whose values they are."""
        asked = {name: it for name, it in self.variables.items() if it["type"] == "query"}
        return {
            name: LABEL_VALUES.fullmatch(it["query"]["query"]).groups() for name, it in asked.items()
        }

    def targets(self):
        """Panel and expression of each query."""
        return [(panel["title"], target["expr"]) for panel in self.panels for target in panel["targets"]]


def shipped():
    """All dashboards that are shipped."""
    return [Dashboard(path) for path in sorted(SHIPPED.glob("*.json"))]


def facts(name):
    """A file with what is known."""
    return json.loads((FACTS / f"{name}.json").read_text())


def boards(file):
    """The dashboards in a file with what is known, by name."""
    return facts(file)["dashboards"]


def _matcher(label, condition):
    operator, value = re.fullmatch(r"(=~|!=|=)(.*)", condition).groups()
    return f'{label}{operator}"{value}"'


def _selected(metric, matchers):
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def chosen(board, label_values):
    """The variables of a dashboard as Grafana sets them. `label_values` is asked for the values of a label
    of what is selected, or of anything, and may wait for them."""
    variables = {}
    for name, origin in board["variables"].items():
        if "text" in origin:
            variables[name] = origin["text"]
            continue
        matchers = [_matcher(label, it) for label, it in origin.get("labels", {}).items()]
        metric = origin.get("metric")
        asked = metric and substituted(_selected(metric, matchers), variables)
        values = label_values(asked, origin["label"])
        variables[name] = next(iter(values), "") if origin.get("one") else regular(values)
    return variables


class Query:
    """A query of a panel, the metrics that it is made of, and what is known of the panel."""

    def __init__(self, panel, metrics, text):
        self.panel, self.title, self.metrics, self.text = panel, panel["title"], metrics, text

    def __repr__(self):
        return self.title


def _term(panel, metric, matchers):
    term = _selected(metric, matchers)
    if functions := panel.get("function"):
        over = f"{term}[{panel.get('range', '$__rate_interval')}]"
        term = " or ".join(f"{function}({over})" for function in functions.split(" or "))
    if compared := panel.get("compare"):
        term = f"{term} {compared}"
    return f"{panel['aggregate']}({term})" if "aggregate" in panel else term


def queries(board):
    """The queries of a dashboard of which the facts are known."""
    made = []
    common = {name: board[name] for name in ("aggregate",) if name in board}
    for panel in board["panels"]:
        panel = common | panel
        labels = board.get("labels", {}) | panel.get("labels", {})
        choices = [[_matcher(label, it) for it in those] for label, those in labels.items()]
        for matchers in itertools.product(*choices):
            terms = {metric: _term(panel, metric, matchers) for metric in panel["metrics"]}
            if share := panel.get("share"):
                parts = [_matcher(label, condition) for label, condition in share.items()]
                for metric, whole in terms.items():
                    terms[metric] = f"100 * {_term(panel, metric, [*matchers, *parts])} / {whole}"
            if operator := panel.get("joined"):
                made.append(Query(panel, list(terms), f" {operator} ".join(terms.values())))
            else:
                made += [Query(panel, [metric], term) for metric, term in terms.items()]
    return made


def check_all_have_data(prometheus, load, expressions, is_data=bool):
    """Waits until each expression has had data."""
    assert expressions
    left = dict(expressions)

    def answered():
        if load.failure:
            raise load.failure
        for name, expression in list(left.items()):
            if is_data(prometheus.query(expression)):
                del left[name]
        return not left

    try:
        until("data", answered, deadline=30)
    except AssertionError as error:
        missing = "\n".join(f"{name}: {expression}" for name, expression in left.items())
        raise AssertionError(f"no data for {len(left)} of {len(expressions)}:\n{missing}") from error


def is_something(values):
    """Whether it is more than the nothing that every series begins with."""
    return any(value > 0 for value in values)
