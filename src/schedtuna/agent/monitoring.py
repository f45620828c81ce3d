"""What does a Prometheus server learn of the agent? One table: its metrics, alerts and panels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "schedtuna_agent_"
DEFAULT_PORT = 9798
ALERTS_FILE, DASHBOARD_FILE = "alerts.yml", "dashboard.json"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Status = Mapping[str, Any]
Sample = tuple[Mapping[str, str], float | None]


@dataclass(frozen=True)
class Alert:
    """When somebody has to look.

    Attributes:
        name: In Prometheus's manner.
        when: In PromQL.
        lasting: For how long, before it is raised.
        severity: `page` or `ticket`.
        summary: What is so, and what to do.
    """

    name: str
    when: str
    lasting: str
    severity: Literal["page", "ticket"]
    summary: str


@dataclass(frozen=True)
class MonitoredMetric:
    """A metric.

    Attributes:
        name: Without the prefix.
        kind: Of Prometheus's.
        help: What it is.
        samples: Of `agent status`; a value that is not known is left out.
        unit: Of a panel, as Grafana calls it; empty: no panel.
        query: What the panel shows, of `{name}`; default: the metric itself.
        alerts: That look at it.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: Callable[[Status], Iterable[Sample]]
    unit: str = ""
    query: str = "{name}"
    alerts: tuple[Alert, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is exposed."""
        return PREFIX + self.name


def _one(*path: str) -> Callable[[Status], Iterator[Sample]]:
    def samples(status: Status) -> Iterator[Sample]:
        value: Any = status
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        yield {}, None if value is None or isinstance(value, str) else float(value)

    return samples


def _decisions(status: Status) -> Iterator[Sample]:
    for result in ("made", "refused", "failed", "advised", "yielded"):
        yield {"result": result}, status["counts"].get(result)


def _effects(*bounds: str) -> Callable[[Status], Iterator[Sample]]:
    def samples(status: Status) -> Iterator[Sample]:
        for metric, effect in status.get("effects", {}).items():
            for bound in bounds:
                labels = {"metric": metric, **({"bound": _BOUNDS[bound]} if len(bounds) > 1 else {})}
                yield labels, effect.get(bound)

    return samples


_BOUNDS = {"ratio": "estimate", "ratio_low": "low", "ratio_high": "high"}


def _slos(field: str) -> Callable[[Status], Iterator[Sample]]:
    def samples(status: Status) -> Iterator[Sample]:
        for slo in status.get("slos", ()):
            value = slo.get(field)
            yield {"slo": slo["name"]}, None if value is None else float(value)

    return samples


def _sensed(status: Status) -> Iterator[Sample]:
    for name, value in status.get("kernel", {}).items():
        yield {"metric": name}, value


def _log_growth(status: Status) -> Iterator[Sample]:
    yield {}, status["log"]["mb_per_h"] * 1e6 / 3600


def _info(status: Status) -> Iterator[Sample]:
    names = ("version", "policy", "scheduler")
    yield {name: str(status.get(name) or "unknown") for name in names}, 1.0


METRICS: tuple[MonitoredMetric, ...] = (
    MonitoredMetric(
        "up",
        "gauge",
        "1: an agent runs, and answers",
        lambda _status: [({}, 1.0)],
        alerts=(
            Alert(
                "SchedtunaAgentDown",
                f"absent({PREFIX}up) or {PREFIX}up == 0",
                "5m",
                "ticket",
                "No agent answers; `schedtuna undo --dry-run` shows whether a change is left.",
            ),
        ),
    ),
    MonitoredMetric("info", "gauge", "Version, policy and scheduler in charge, as labels", _info),
    MonitoredMetric(
        "decisions_total",
        "counter",
        "Decisions, by what became of them",
        _decisions,
        "cps",
        "sum by (result) (rate({name}[5m]))",
        (
            Alert(
                "SchedtunaChangesFail",
                f'increase({PREFIX}decisions_total{{result="failed"}}[15m]) > 10',
                "0m",
                "ticket",
                "Changes fail; `schedtuna agent log --kind decision` says why.",
            ),
        ),
    ),
    MonitoredMetric(
        "undone_total", "counter", "Changes put back", _one("counts", "undone"), "cps", "rate({name}[5m])"
    ),
    MonitoredMetric(
        "rollbacks_total",
        "counter",
        "How often the guard had all put back",
        _one("counts", "rollbacks"),
        "short",
        alerts=(
            Alert(
                "SchedtunaRolledBack",
                f"increase({PREFIX}rollbacks_total[1h]) > 0",
                "0m",
                "page",
                "The guard had all changes put back; `schedtuna agent status` says why.",
            ),
        ),
    ),
    MonitoredMetric(
        "standing_changes",
        "gauge",
        "Changes in force",
        lambda status: [({}, float(len(status["standing"])))],
        "short",
    ),
    MonitoredMetric(
        "stopped",
        "gauge",
        "1: nothing is changed any more until it is told to",
        lambda status: [({}, float(bool(status["stopped"])))],
    ),
    MonitoredMetric(
        "effect_ratio",
        "gauge",
        "A metric with the changes, to without, by on/off windows; bounds with 95% confidence at any time",
        _effects("ratio", "ratio_low", "ratio_high"),
        "percentunit",
    ),
    MonitoredMetric(
        "effect_noise_ratio",
        "gauge",
        "By what factor windows of the same arm differ (A/A)",
        _effects("noise_ratio"),
        "short",
    ),
    MonitoredMetric("effect_units", "gauge", "Pairs and cycles of windows so far", _effects("nr_units")),
    MonitoredMetric("slo_value", "gauge", "An objective's metric", _slos("value"), "short"),
    MonitoredMetric("slo_limit", "gauge", "What it is held against", _slos("limit")),
    MonitoredMetric(
        "slo_met",
        "gauge",
        "1: met, 0: missed; without a fresh value there is none",
        _slos("is_met"),
        "bool",
        alerts=(
            Alert(
                "SchedtunaObjectiveMissed",
                f"{PREFIX}slo_met == 0",
                "5m",
                "page",
                "The objective {{ $labels.slo }} is missed.",
            ),
        ),
    ),
    MonitoredMetric(
        "slo_stale",
        "gauge",
        "1: the last value is too old to be judged by",
        _slos("is_stale"),
        alerts=(
            Alert(
                "SchedtunaObjectiveUnknown",
                f"{PREFIX}slo_stale == 1",
                "10m",
                "ticket",
                "The objective {{ $labels.slo }} has no fresh value, so nothing new is changed.",
            ),
        ),
    ),
    MonitoredMetric("sensed", "gauge", "What the kernel counted in the last interval", _sensed, "short"),
    MonitoredMetric(
        "unknown",
        "gauge",
        "1: this could not be sensed",
        lambda status: [({"what": name}, 1.0) for name in status.get("unknown", {})],
    ),
    MonitoredMetric("intervals_total", "counter", "Intervals of the loop", _one("counts", "intervals")),
    MonitoredMetric("interval_seconds", "gauge", "How long an interval is", _one("interval_s"), "s"),
    MonitoredMetric(
        "cpu_seconds_total",
        "counter",
        "CPU time of the loop",
        _one("counts", "cpu_s"),
        "percentunit",
        "rate({name}[5m])",
        (
            Alert(
                "SchedtunaLoopCostly",
                f"rate({PREFIX}cpu_seconds_total[15m]) > 0.02",
                "15m",
                "ticket",
                "The loop takes more than 2% of a CPU; give it a longer --interval.",
            ),
        ),
    ),
    MonitoredMetric("log_bytes_per_second", "gauge", "How fast the log grows", _log_growth, "Bps"),
    MonitoredMetric(
        "log_rows_lost_total",
        "counter",
        "Rows that could not be written to the log",
        _one("log", "rows_lost"),
        alerts=(
            Alert(
                "SchedtunaLogLost",
                f"increase({PREFIX}log_rows_lost_total[15m]) > 0",
                "0m",
                "ticket",
                "Decisions could not be logged; is the disk full?",
            ),
        ),
    ),
)


def exposition(status: Status | None) -> str:
    """Return the metrics as Prometheus reads them (text format 0.0.4).

    Args:
        status: As `agent status` tells it; None: no agent answers.
    """
    if status is None:
        name = f"{PREFIX}up"
        return f"# HELP {name} {METRICS[0].help}\n# TYPE {name} gauge\n{name} 0\n"
    lines = []
    for metric in METRICS:
        known = [(labels, value) for labels, value in metric.samples(status) if value is not None]
        lines += [
            f"# HELP {metric.full_name} {_escaped(metric.help)}",
            f"# TYPE {metric.full_name} {metric.kind}",
        ]
        lines += [f"{metric.full_name}{_labels(labels)} {_number(value)}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    told = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(told) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def alert_rules() -> str:
    """Return the alerts as a file of rules for Prometheus."""
    import yaml

    rules = [
        {
            "alert": alert.name,
            "expr": alert.when,
            "for": alert.lasting,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary},
        }
        for metric in METRICS
        for alert in metric.alerts
    ]
    groups = {"groups": [{"name": "schedtuna-agent", "rules": rules}]}
    return str(yaml.safe_dump(groups, sort_keys=False, width=110))


def dashboard() -> str:
    """Return a dashboard for Grafana, as it imports it."""
    shown = [metric for metric in METRICS if metric.unit]
    panels = [_panel(metric, place) for place, metric in enumerate(shown)]
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    board = {
        "title": "Schedtuna agent",
        "uid": "schedtuna-agent",
        "tags": ["schedtuna"],
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(board, indent=1) + "\n"


def _panel(metric: MonitoredMetric, place: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    query = metric.query.format(name=metric.full_name)
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": metric.help,
        "datasource": source,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (place % 2), "y": 8 * (place // 2)},
        "fieldConfig": {"defaults": {"unit": metric.unit}, "overrides": []},
        "targets": [{"refId": "A", "datasource": source, "expr": query}],
    }


DATA_FILES: dict[str, Callable[[], str]] = {ALERTS_FILE: alert_rules, DASHBOARD_FILE: dashboard}
