"""What did every study in some folders conclude, and where? Read from their result files alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, StudyError, UsageError
from schedtuna.evidence.result import Verdict, read_verdict_word, tell_verdict
from schedtuna.experiment import comparison
from schedtuna.experiment.triallog import LOG_NAME
from schedtuna.files.versions import StoredFormat
from schedtuna.history import results
from schedtuna.machine.manifest import load_manifest
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction

# What a kind of study leaves once it has a verdict.
_RESULTS: dict[str, StoredFormat] = {
    comparison.RESULT_NAME: comparison.STORED,
    results.RESULT_NAME: results.STORED,
}
_MOST_BYTES = 8 << 20
_END_OF_TIME = 253402300800  # the year 10000, in Unix time
HOST, MODEL = "host", "sim"


@dataclass(frozen=True)
class PastVerdict:
    """One study's answer.

    Attributes:
        folder: Where it is.
        began_at: Unix time in seconds.
        workload: Its name, or its command line.
        scheduler: What was tuned, or the candidate's scheduler.
        default: What the candidate was held against.
        candidate: What was tried.
        metric: What was judged.
        direction: Which of its values are better.
        verdict: What is proven.
        is_model: Whether that was found in a model, and on no machine.
        ratio: The metric under the candidate over that under the default.
        low: The lower end of the ratio's 95% interval; 0 where it has none.
        high: The upper end; infinite where it has none.
        nr_pairs: What that rests on.
        machine: Where it ran: model and number of CPUs, and a mark that tells two of a kind apart.
        kernel: Under which kernel.
        report: The study's own page, where it has one.
    """

    folder: Path
    began_at: float
    workload: str
    scheduler: str
    default: str
    candidate: str
    metric: str
    direction: Direction
    verdict: Verdict
    ratio: float
    low: float
    high: float
    nr_pairs: int
    machine: str
    kernel: str
    report: Path | None
    is_model: bool = False

    @property
    def told_verdict(self) -> str:
        """The verdict's word, which says where it is one of a model."""
        return tell_verdict(self.verdict, is_model=self.is_model)

    @property
    def question(self) -> tuple[str, str, str]:
        """Studies of one question can be looked at side by side: workload, metric, scheduler."""
        return self.workload, self.metric, self.scheduler

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an end of the interval that is not known is None."""
        return {
            "study": str(self.folder),
            "began_at": self.began_at,
            "workload": self.workload,
            "scheduler": self.scheduler,
            "default": self.default,
            "candidate": self.candidate,
            "metric": self.metric,
            "direction": str(self.direction),
            "verdict": self.told_verdict,
            "is_model": self.is_model,
            "ratio": self.ratio,
            "ci95": [self.low or None, self.high if math.isfinite(self.high) else None],
            "pairs": self.nr_pairs,
            "machine": self.machine,
            "kernel": self.kernel,
            "report": None if self.report is None else str(self.report),
        }


def find_verdicts(places: Sequence[Path]) -> tuple[list[PastVerdict], dict[Path, str]]:
    """Read the verdicts of all studies and comparisons in some folders, and in those below.

    Args:
        places: Studies themselves, or folders that hold them.

    Returns:
        The verdicts, oldest first, and why the other studies have none that can be used.

    Raises:
        UsageError: A place is not a folder.
    """
    folders: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UsageError(f"{place} is not a folder", hint="name a folder of results, such as results/")
        folders |= dict.fromkeys(sorted(log.parent for log in place.rglob(LOG_NAME)))
    found: list[PastVerdict] = []
    without: dict[Path, str] = {}
    for folder in folders:
        try:
            found.append(read_verdict(folder))
        except SchedtunaError as error:
            without[folder] = str(error)
    return sorted(found, key=lambda one: (one.began_at, str(one.folder))), without


def read_verdict(folder: Path) -> PastVerdict:
    """Read one study's verdict.

    Raises:
        StudyError: It has none, or its result is damaged.
        SchedtunaError: Its manifest can't be used.
    """
    path = next((folder / name for name in _RESULTS if (folder / name).is_file()), None)
    if path is None:
        raise StudyError("no verdict: it was interrupted, is not finished, or asks for none")
    if path.stat().st_size > _MOST_BYTES:
        raise StudyError(f"{path} is damaged: it has more than {_MOST_BYTES >> 20} MiB")
    try:
        content = _RESULTS[path.name].upgrade(parse_json(path.read_bytes()), path)
        return _verdict(folder, content)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise StudyError(f"{path} is damaged: {error!r}") from None


def _verdict(folder: Path, content: Mapping[str, Any]) -> PastVerdict:
    facts = load_manifest(folder)
    if not 0 <= facts.created_at < _END_OF_TIME:
        raise ValueError(f"it began at {facts.created_at!r}")
    effect = content["effect"]
    low, high = effect["ci95"]
    places = content.get("places") or [content["place"]]
    scheduler, candidate = str(content["scheduler"]), content["candidate"]
    if not isinstance(candidate, str):
        candidate = SchedulerConfig(name=scheduler, values=candidate).label()
    machine = facts.machine
    verdict, is_model = read_verdict_word(content["verdict"])
    mark = (machine.machine_id_hash or "?")[:4]
    page = folder / results.REPORT_NAME
    return PastVerdict(
        folder=folder,
        began_at=facts.created_at,
        workload=str(content.get("workload") or shlex.join(facts.command)),
        scheduler=scheduler,
        default=str(content["default"]),
        candidate=candidate,
        metric=str(content["metric"]),
        direction=Direction(content["direction"]),
        verdict=verdict,
        is_model=is_model,
        ratio=_ratio(effect["ratio"]),
        low=0.0 if low is None else _ratio(low),
        high=math.inf if high is None else _ratio(high),
        nr_pairs=int(effect["pairs"]),
        machine=f"{machine.cpu_model}, {len(machine.topology.cpus)} CPUs ({mark})",
        kernel=" / ".join(dict.fromkeys(_kernel(place, machine.kernel_release) for place in places)),
        report=page if page.is_file() else None,
    )


def _kernel(place: Mapping[str, Any], own: str | None) -> str:
    """A place's kernel: this machine's own, or the guest's."""
    if place["kind"] == HOST:
        return own or "an unknown kernel"
    if place["kind"] == MODEL:
        return "none (simulated)"
    return f"{place.get('kernel') or 'the newest'} ({place['kind']})"


def _ratio(value: Any) -> float:
    ratio = float(value)
    if not (math.isfinite(ratio) and ratio >= 0):
        raise ValueError(f"a ratio of {value!r}")
    return ratio
