"""Were the settings in force that a comparison is about? Ends it where they never were, else tells.

A verdict on settings that the command undid would be one on nothing. A run without them fails (see
`backend.inforce`); here stands what follows for a side of a comparison, for a search, and for readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from schedtuna.backend.base import Trial, Validity
from schedtuna.evidence.design import Arm
from schedtuna.evidence.verdict import Block, Result, Verdict, judge
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.experiment.viability import FIRST_CHANCES, end_without_verdict
from schedtuna.knobs.inforce import Force
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.clients import tell_seen

_HINT = (
    "leave the setting to schedtuna: take out what sets it in the command, or compare without the knob; "
    "a program that sets it by itself often has an option for that"
)
_NO_VERDICT = "the settings of {label} were in force in none of its {nr} runs"


def is_undone(trial: Trial) -> bool:
    """Whether a run failed because its settings were not in force."""
    return trial.validity is Validity.FAILED and any(
        Force.of(text) is Force.UNDONE for text in trial.in_force.values()
    )


def require_in_force(records: Sequence[TrialRecord], labels: Mapping[Arm, str]) -> None:
    """End a comparison of which a side never had its settings in force.

    Args:
        records: The runs so far.
        labels: What each arm ran under; the default's two arms count as one.

    Raises:
        StudyError: Every run of a side was undone, and it had its chances.
    """
    every = [record.trial for record in records]
    for label in dict.fromkeys(labels.values()):
        arms = {arm for arm, name in labels.items() if name == label}
        trials = [record.trial for record in records if record.arm in arms]
        nothing_worked = len(every) == FIRST_CHANCES and all(map(is_undone, every))
        if (len(trials) >= FIRST_CHANCES or nothing_worked) and trials and all(map(is_undone, trials)):
            what = _NO_VERDICT.format(label=label, nr=len(trials))
            end_without_verdict(what, trials[-1].reason, hint=_HINT)


def require_in_force_for(
    result: Result,
    blocks: Sequence[Block],
    trials: Sequence[Mapping[Arm, Trial]],
    labels: Mapping[Arm, str],
) -> None:
    """End a comparison whose verdict would rest on runs without their settings.

    Those count as the worst, which can only speak against their own side: an improvement holds in
    spite of the candidate's, a loss in spite of the default's. Other claims have to be the same
    without their blocks.

    Args:
        result: What the last look found.
        blocks: The blocks.
        trials: Their runs.
        labels: What each arm ran under.

    Raises:
        StudyError: They are not.
    """
    counted = list(zip(blocks, trials, strict=True))[: result.blocks]
    against = {
        Verdict.IMPROVED: (Arm.A, Arm.A2),
        Verdict.WORSE: (Arm.B,),
        Verdict.NO_EVIDENCE: tuple(Arm),
    }.get(result.verdict, ())
    against = tuple(arm for arm in against if arm in trials[0])
    nr_undone = {arm: sum(is_undone(of[arm]) for _, of in counted) for arm in against}
    if not any(nr_undone.values()):
        return
    left = [block for block, of in counted if not any(is_undone(of[arm]) for arm in against)]
    if left and judge(left, result.direction, delta=result.delta).verdict is result.verdict:
        return
    label = labels[max(nr_undone, key=lambda arm: nr_undone[arm])]
    runs = [of[arm] for _, of in counted for arm in against if labels[arm] == label]
    undone = [trial for trial in runs if is_undone(trial)]
    end_without_verdict(
        f"the settings of {label} were not in force in {len(undone)} of its {len(runs)} runs, and the others "
        "alone do not say the same",
        undone[-1].reason,
        hint=_HINT,
    )


def in_force_notes(a: SchedulerConfig, b: SchedulerConfig, records: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield what a reader should know: settings that were partly in force, undone, or not checked."""
    clients = sorted({name for record in records for name in record.trial.clients})
    if clients:
        told = tell_seen(clients)
        yield f"{told[0].upper()}{told[1:]}. The verdict is about the rest of the command's work."
    for side in (b, a) if a.values != b.values else (b,):
        trials = [record.trial for record in records if record.trial.values == side.values]
        for name, value in side.values.items():
            yield from _notes_on(f"{name}={value}", [t.in_force[name] for t in trials if name in t.in_force])


def _notes_on(setting: str, texts: Sequence[str]) -> Iterator[str]:
    counted = Counter(Force.of(text) for text in texts)
    if nr := counted[Force.UNDONE]:
        example = next(text for text in texts if Force.of(text) is Force.UNDONE)
        yield f"{setting} was undone in {nr} of {len(texts)} runs, which count as failed: {_detail(example)}."
    if nr := counted[Force.PARTLY]:
        example = next(text for text in texts if Force.of(text) is Force.PARTLY)
        yield f"{setting} was only partly in force in {nr} of {len(texts)} runs, such as: {_detail(example)}."
    if nr := counted[Force.NOT_CHECKED]:
        yield (
            f"Whether {setting} was in force was not checked in {nr} of {len(texts)} runs, as too little of "
            "them could be looked at: the verdict takes it for granted. Root sees every run."
        )


def _detail(text: str) -> str:
    return text.partition(": ")[2] or text


class Undoing:
    """Which settings does a command undo in a search, whatever they are set to? Told once each."""

    def __init__(self) -> None:
        self._tried: Counter[str] = Counter()
        self._undone: Counter[str] = Counter()
        self._told: set[str] = set()

    def add(self, trial: Trial) -> list[str]:
        """Take a run in; return what is to be told now."""
        advice = []
        for name, text in trial.in_force.items():
            self._tried[name] += 1
            self._undone[name] += Force.of(text) is Force.UNDONE
            enough = self._tried[name] >= FIRST_CHANCES and self._undone[name] == self._tried[name]
            if enough and name not in self._told:
                self._told.add(name)
                advice.append(
                    f"the command undoes {name} in every run that sets it, which wastes those runs ({text}): "
                    f"start anew with --exclude {name}, or have the command leave it alone"
                )
        return advice


def require_some_in_force(trials: Sequence[Trial]) -> None:
    """End a search in which no candidate worked, where that is as all had their settings undone.

    Raises:
        StudyError: They had.
    """
    candidates = [trial for trial in trials if trial.values]
    if candidates and all(map(is_undone, candidates)):
        what = f"none of {len(candidates)} candidates had its settings in force"
        end_without_verdict(what, candidates[-1].reason, hint=_HINT)
