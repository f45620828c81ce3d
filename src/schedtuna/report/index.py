"""One page over many studies: every verdict with its interval, over time, and what changed between them.

Self-contained: no network; its script only hides rows, and without it all are shown.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from schedtuna import __version__
from schedtuna.history.verdicts import PastVerdict
from schedtuna.printable import percent_change
from schedtuna.report.page import environment

if TYPE_CHECKING:
    from markupsafe import Markup

FILTERS = ("workload", "scheduler", "verdict", "machine", "kernel")
_WIDTH, _HEIGHT, _MARGIN = 240, 22, 10
_MOST_SPAN = math.log(8)  # ratios beyond it are drawn as arrows


@dataclass(frozen=True)
class IndexRow:
    """One study.

    Attributes:
        past: What it concluded.
        when: Date and minute, UTC.
        change: The metric's change with its interval, in words.
        bar: The same as a picture.
        link: To its own report, from where the page is; empty where it has none.
        changed: What differs from the study before: kernel, machine.
    """

    past: PastVerdict
    when: str
    change: str
    bar: Markup
    link: str
    changed: tuple[str, ...]

    @property
    def filtered(self) -> Mapping[str, str]:
        """What the filters go by."""
        return _filtered(self.past)


@dataclass(frozen=True)
class IndexGroup:
    """The studies of one question, oldest first."""

    workload: str
    metric: str
    scheduler: str
    better: str
    rows: Sequence[IndexRow]


def render_index(
    verdicts: Sequence[PastVerdict], without: Mapping[Path, str], *, where: Path, title: str
) -> str:
    """Return the page as one HTML document.

    Args:
        verdicts: What the studies concluded, oldest first.
        without: Studies without a verdict, and why.
        where: The folder that the page will be in, for its links.
        title: What was looked through.
    """
    questions: dict[tuple[str, str, str], list[PastVerdict]] = {}
    for past in verdicts:
        questions.setdefault(past.question, []).append(past)
    groups = [_group(of, where) for of in sorted(questions.values(), key=lambda of: -of[-1].began_at)]
    choices = {name: sorted({_filtered(past)[name] for past in verdicts}) for name in FILTERS}
    return (
        environment()
        .get_template("index.html")
        .render(
            title=title,
            groups=groups,
            choices=choices,
            filters=FILTERS,
            without=[(str(folder), reason) for folder, reason in without.items()],
            nr_studies=len(verdicts),
            version=__version__,
        )
    )


def _filtered(past: PastVerdict) -> dict[str, str]:
    return {name: str(getattr(past, name)) for name in FILTERS} | {"verdict": past.told_verdict}


def _group(studies: Sequence[PastVerdict], where: Path) -> IndexGroup:
    first = studies[0]
    span = _span(studies)
    pairs = zip([None, *studies], studies, strict=False)
    return IndexGroup(
        workload=first.workload,
        metric=first.metric,
        scheduler=first.scheduler,
        better="lower" if first.direction == "min" else "higher",
        rows=[_row(past, before, span, where) for before, past in pairs],
    )


def _row(past: PastVerdict, before: PastVerdict | None, span: float, where: Path) -> IndexRow:
    link = "" if past.report is None else quote(os.path.relpath(past.report.resolve(), where.resolve()))
    return IndexRow(
        past=past,
        when=time.strftime("%Y-%m-%d %H:%M", time.gmtime(past.began_at)),
        change=_change(past),
        bar=_bar(past, span),
        link=link,
        changed=tuple(n for n in ("kernel", "machine") if before and getattr(before, n) != getattr(past, n)),
    )


def _change(past: PastVerdict) -> str:
    low = percent_change(past.low) if past.low > 0 else "unknown"
    high = percent_change(past.high) if math.isfinite(past.high) else "unknown"
    return f"{percent_change(past.ratio)} ({low} to {high})"


def _span(studies: Sequence[PastVerdict]) -> float:
    """How far the group's pictures reach to either side of no change, in logs of the ratio."""
    ends = [end for past in studies for end in (past.ratio, past.low, past.high)]
    seen = [abs(math.log(end)) for end in ends if 0 < end < math.inf]
    return min(max([0.02, *seen]), _MOST_SPAN) * 1.05


def _bar(past: PastVerdict, span: float) -> Markup:
    """The interval as a line, the estimate as a dot, no change in the middle; arrows where it goes on."""
    from markupsafe import Markup

    middle, half = _WIDTH / 2, _WIDTH / 2 - _MARGIN

    def place(ratio: float) -> float:
        logarithm = math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 1)
        return middle + half * max(-1.0, min(1.0, logarithm / span))

    y = _HEIGHT / 2
    low, dot, high = place(past.low), place(past.ratio), place(past.high)
    parts = [
        f'<line class="none" x1="{middle:.1f}" x2="{middle:.1f}" y1="2" y2="{_HEIGHT - 2}"/>',
        f'<line class="ci" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
    ]
    if not past.low > math.exp(-span):
        parts.append(f'<path class="end" d="M {_MARGIN - 8} {y} l 7 -4 v 8 z"/>')
    if not past.high < math.exp(span):
        parts.append(f'<path class="end" d="M {_WIDTH - _MARGIN + 8} {y} l -7 -4 v 8 z"/>')
    parts.append(f'<circle class="dot" cx="{dot:.1f}" cy="{y:.1f}" r="4"/>')
    text = "".join(parts)
    return Markup(f'<svg class="{past.verdict}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{text}</svg>')  # noqa: S704 - numbers
