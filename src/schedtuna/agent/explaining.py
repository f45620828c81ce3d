"""Why is something as it is: the rows of the log about a thread or a change, in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedtuna.agent.log import read_log
from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.machine.tasks import read_stat

_MOST_ROWS = 50
_TRIALS = "trials.jsonl"  # `experiment.triallog`'s, which brings much along


@dataclass(frozen=True)
class AgentAnswer:
    """What is known.

    Attributes:
        asked: A number of a thread or process, or an id.
        rows: Of the log, oldest first.
        effects: What windows with and without all changes say by now, by metric; empty where none do.
        trials: The runs that proofs rest on, by the evidence's name; a text says why they can't be read.
        now: What the kernel has of the thread now; empty where it is gone, or none was named.
    """

    asked: str
    rows: list[dict[str, Any]]
    now: dict[str, Any] = field(default_factory=dict)
    effects: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, list[dict[str, Any]] | str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """It, for people."""
        lines = []
        if self.now:
            told = ", ".join(f"{name} {value}" for name, value in self.now.items())
            lines.append(f"{self.asked} now: {told}")
        for row in self.rows:
            lines.append(tell_row(row))
            if features := row.get("features"):
                told = ", ".join(f"{name} {value}" for name, value in features.items())
                lines.append(f"    decided on: {told}; by {row.get('policy')}, version {row.get('version')}")
            lines += self._proof_lines(row.get("proof"))
        if self.rows:
            lines += [tell_effect(name, found) for name, found in self.effects.items()] or [
                "what it gained: unknown; no window with and without the changes is complete yet"
            ]
        return lines

    def _proof_lines(self, proof: Any) -> list[str]:
        """What proves a change, down to the runs."""
        if not isinstance(proof, Mapping):
            return []
        until = time.strftime("%Y-%m-%d", time.localtime(float(proof.get("expires_s", 0))))
        name, lacks = proof.get("evidence"), proof.get("lacks") or []
        holds = f"it holds until {until}" if not lacks else "it does not hold: " + "; ".join(map(str, lacks))
        lines = [f"    proof {name}: {proof.get('told')}; {holds}"]
        trials = self.trials.get(str(name), "")
        if isinstance(trials, str):
            return [*lines, f"    its runs can't be read: {trials}"]
        arms = Counter(str(one["arm"]) for one in trials if one["validity"] == "ok")
        counts = ", ".join(f"{arm} {count}" for arm, count in arms.items())
        return [*lines, f"    its runs: {proof.get('study')}/{_TRIALS}, in blocks: {counts}"]


def _trials(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]] | str]:
    found: dict[str, list[dict[str, Any]] | str] = {}
    for proof in (row.get("proof") for row in rows):
        if not isinstance(proof, Mapping) or str(proof.get("evidence")) in found:
            continue
        from schedtuna.agent.proof import raw_trials  # brings what reads studies along

        name = str(proof.get("evidence"))
        try:
            found[name] = raw_trials(Path(str(proof.get("study"))), name, str(proof.get("metric")))
        except (SchedtunaError, OSError) as error:
            found[name] = str(error)
    return found


def explain(asked: str, directory: Path | None = None) -> AgentAnswer:
    """Return what the log says of a process, a thread or a change.

    Raises:
        UsageError: It says nothing, and there is no such thread.
    """
    rows: list[dict[str, Any]] = []
    effects: dict[str, Any] = {}
    for row in read_log(directory):
        if row.get("kind") == "start":
            effects = {}
        facts = row.get("facts")
        if row.get("kind") == "guard" and isinstance(facts, dict):
            effects = facts.get("effects") or effects
        if _concerns(row, asked):
            rows.append(row)
    now = _now(int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 8 else {}
    if now:
        started = now.pop("start_ns")
        rows = [row for row in rows if not row.get("tid") or _is_same(row, int(asked), started)]
    if not rows and not now:
        raise UsageError(
            f"the log says nothing of {asked}, and there is no such process",
            hint="`schedtuna agent log` shows what it has",
        )
    rows = rows[-_MOST_ROWS:]
    return AgentAnswer(asked, rows, now, effects, _trials(rows))


def tell_effect(name: str, found: Mapping[str, Any]) -> str:
    """Return what is known of the changes' effect on a metric, as a line for people."""
    if found.get("ratio") is None:
        return f"what all changes together gained in {name}: unknown"
    interval = "of unknown certainty"
    if found.get("ratio_low") is not None and found.get("ratio_high") is not None:
        interval = f"x{found['ratio_low']:.3f} to x{found['ratio_high']:.3f}"
    noise = (
        "" if found.get("noise_ratio") is None else f"; alike windows differ by x{found['noise_ratio']:.3f}"
    )
    units = f"{found.get('nr_units') or 0:.0f} pairs"
    return f"what all changes together do to {name}: x{found['ratio']:.3f} ({interval}) in {units}{noise}"


def tell_row(row: Mapping[str, Any]) -> str:
    """Return a row of the log as a line for people."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(row.get("time", 0))))
    kind = str(row.get("kind", ""))
    if "setting" in row:
        turn = f"{row.get('kernel')} -> {row.get('chosen')}"
        what = f"{row.get('id')} {row['setting']} of {row.get('target')}: {turn}"
        match kind:
            case "decision":
                tail = row.get("why_not") or f"because {row.get('reason')}"
                return f"{at} {row.get('result')} {what}, {tail}"
            case "yield":
                return f"{at} yielded {what}: {row.get('who')} set {row.get('what')}"
        return f"{at} {kind} {row.get('result', '')} {what} ({row.get('why', '')})"
    if kind == "decision" and "action" in row:
        return f"{at} {row.get('id')} {_tell_choice(row)}"
    rest = {name: value for name, value in row.items() if name not in ("time", "kind")}
    if kind == "snapshot":
        rest = {name: rest.get(name) for name in ("nr_threads", "standing", "scheduler", "own_cpu_percent")}
    return f"{at} {kind} " + _words(rest)


def _tell_choice(row: Mapping[str, Any]) -> str:
    """What was chosen among arms, and how likely that was."""
    arms, shares = row.get("arms") or [], row.get("propensities") or []
    drawn = dict(zip(arms, shares, strict=False)).get(row["action"])
    likely = "with unknown probability" if drawn is None else f"with probability {drawn:.2g}"
    subject = f" for {row['subject']}" if row.get("subject") else ""
    beside = f", where the kernel had {row['kernel_action']}" if row.get("kernel_action") else ""
    chose = f"{row.get('policy')} chose {row['action']}{subject} {likely} of {', '.join(map(str, arms))}"
    return f"{chose}{beside}: {_words(row.get('features'))}"


def _words(value: Any) -> str:
    """A value of the log for people; what is empty is left out."""
    if isinstance(value, Mapping):
        told = [(name, _words(part)) for name, part in value.items() if part not in (None, "", [], {})]
        return ", ".join(f"{name} ({text})" if ", " in text else f"{name} {text}" for name, text in told)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _concerns(row: Mapping[str, Any], asked: str) -> bool:
    if "setting" not in row:
        return False
    return asked in (str(row.get("id")), str(row.get("tid")), str(row.get("tgid")))


def _is_same(row: Mapping[str, Any], pid: int, start_ns: int) -> bool:
    """Whether a row is of the thread that has the number now (start times of /proc are in clock ticks)."""
    if row.get("tid") != pid:
        return row.get("tgid") == pid and float(row.get("start_time_ns", 0)) >= start_ns - 20_000_000
    return abs(float(row.get("start_time_ns", 0)) - start_ns) < 20_000_000 or not row.get("start_time_ns")


def _now(pid: int) -> dict[str, Any]:
    import os

    from schedtuna.agent.acting import cgroup_of
    from schedtuna.agent.limits import FAIR_POLICIES
    from schedtuna.agent.sensing import running_scheduler

    found = read_stat(f"/proc/{pid}")
    if found is None:
        return {}
    ticks_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    number = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
    return {
        "start_ns": found.start_ticks * ticks_ns - slept_ns,
        "scheduler": running_scheduler().name,
        "policy": FAIR_POLICIES.get(number, f"number {number}"),
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "cgroup": cgroup_of(f"/proc/{pid}"),
    }
