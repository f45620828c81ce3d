"""Is what a policy wants proven, where, and until when? Past studies answer, for exactly the same settings.

A study is proof of its whole candidate: of all that a policy wants of one target together, not of parts.
It holds under conditions: a machine, kernel and scheduler like those it was made on, its load running, and
not for ever. Where one of them does not hold, the settings are unproven, and what they bring is unknown.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schedtuna import __version__
from schedtuna.agent.contract import ExpectedEffect, Intent, IntentProof, Sensed
from schedtuna.backend.base import KERNELS_OWN
from schedtuna.errors import StudyError
from schedtuna.evidence.result import Verdict
from schedtuna.experiment import comparison
from schedtuna.history import results
from schedtuna.history.verdicts import PastVerdict, find_verdicts
from schedtuna.machine.compare import Severity, compare_manifests
from schedtuna.machine.manifest import Manifest, build_manifest, load_manifest
from schedtuna.scheduler.objects import own_objects
from schedtuna.space import spell_value
from schedtuna.trace.tasks import clean_name

VALID_DAYS = 90
_DAY_S = 86_400
_COMM_BYTES = 15
_HOST_KERNEL = "("  # what `history.verdicts` puts behind a kernel that is not this machine's own
_UNDER_EXT = ("sched_ext_state", "sched_ext_ops")  # told by the scheduler that is in charge now


@dataclass(frozen=True)
class SettingsProof:
    """What a study says of its candidate.

    Attributes:
        past: Its verdict.
        evidence: Twelve digits of its result file's hash.
        scheduler: Whose settings they are: the kernel's own, or a sched_ext scheduler's name.
        values: The candidate, name -> value as it is spelt.
        program: The load's, as the kernel calls its threads; empty: not known.
        expires_s: Unix time from which on it is too old.
        lacks: Why it does not hold on this machine.
    """

    past: PastVerdict
    evidence: str
    scheduler: str
    values: Mapping[str, str]
    program: str
    expires_s: float
    lacks: tuple[str, ...] = ()

    def tell(self) -> str:
        """What it says, for people."""
        one = self.past
        high = f"{one.high:.3f}" if math.isfinite(one.high) else "unknown"
        return (
            f"{one.told_verdict}: {one.metric} x{one.ratio:.3f} [{one.low:.3f}, {high}] of `{one.workload}` "
            f"over {one.nr_pairs} pairs, on kernel {one.kernel}"
        )


def read_proofs(
    places: Sequence[Path],
    *,
    valid_days: float = VALID_DAYS,
    describe: Callable[[Sequence[str]], Manifest] = build_manifest,
) -> tuple[list[SettingsProof], dict[Path, str]]:
    """Read what past studies say, the newest first.

    Args:
        places: Results folders, or folders that hold them.
        valid_days: How long a proof holds.
        describe: Describes this machine and a command.

    Returns:
        The proofs, and why other studies are none.

    Raises:
        UsageError: A place is no folder.
    """
    found, without = find_verdicts(places)
    proofs = []
    for past in reversed(found):
        proof = _proof_of(past, valid_days, describe)
        if proof is None:
            without[past.folder] = "its candidate sets nothing"
        else:
            proofs.append(proof)
    return proofs, without


def _proof_of(
    past: PastVerdict, valid_days: float, describe: Callable[[Sequence[str]], Manifest]
) -> SettingsProof | None:
    scheduler, _, told = past.candidate.partition(":")
    values = dict(part.partition("=")[::2] for part in told.split(",") if part)
    if not values:
        return None
    made_on = load_manifest(past.folder)
    own = scheduler in KERNELS_OWN
    program = Path(made_on.command[0]).name.encode()[:_COMM_BYTES] if made_on.command else b""
    return SettingsProof(
        past,
        _evidence(past.folder),
        scheduler,
        values,
        clean_name(program),
        past.began_at + valid_days * _DAY_S,
        tuple(_lacks(past, scheduler, made_on, describe(made_on.command), own=own)),
    )


def _lacks(past: PastVerdict, scheduler: str, then: Manifest, now: Manifest, *, own: bool) -> list[str]:
    """Why a study does not hold on a machine."""
    lacks = []
    if past.verdict is not Verdict.IMPROVED:
        lacks.append(f"it showed no gain: {past.told_verdict}")
    if past.is_model:
        lacks.append("it was made in the simulated machine")
    elif past.kernel.endswith(")") and _HOST_KERNEL in past.kernel:
        lacks.append(f"it was not made on this machine, but under {past.kernel}")
    default = past.default.partition(":")
    if default[2] or (default[0] not in KERNELS_OWN if own else default[0] != scheduler):
        lacks.append(f"it compares with {past.default}, and not with {scheduler} as it is")
    lacks += [
        f"{one.field} is {one.b}, and was {one.a}: {one.why}"
        for one in compare_manifests(then, now)
        if one.severity is Severity.BLOCKS and (own or one.field not in _UNDER_EXT)
    ]
    if scheduler in own_objects() and then.schedtuna_version != __version__:
        lacks.append(f"{scheduler} is of version {__version__}, and was of {then.schedtuna_version}")
    elif not own and scheduler not in own_objects():
        lacks.append(f"of which version {scheduler} is now, and was then, is not known")
    return lacks


def _evidence(folder: Path) -> str:
    """Twelve digits that name a study's result."""
    for name in (comparison.RESULT_NAME, results.RESULT_NAME):
        if (folder / name).is_file():
            return hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]
    return ""


def raw_trials(study: Path, evidence: str, metric: str) -> list[dict[str, Any]]:
    """Return the runs that a study's verdict rests on: phase, block, arm, validity, and the metric.

    Args:
        study: Its folder.
        evidence: Of the result that is meant.
        metric: What was judged.

    Raises:
        StudyError: They can't be read, or the result is another one by now.
    """
    from schedtuna.experiment.triallog import read_trials

    if _evidence(study) != evidence:
        raise StudyError(f"the result in {study} is gone, or another one than {evidence} by now")
    _, records = read_trials(study)
    return [
        {
            "phase": record.phase,
            "block": record.block,
            "arm": record.arm,
            "validity": str(record.trial.validity),
            metric: record.trial.metrics.get(metric),
        }
        for record in records
        if record.block is not None
    ]


class ProofBook:
    """Says of intents whether they are proven.

    Args:
        proofs: What is known, the one that counts first.
        now_s: Tells the Unix time.
    """

    def __init__(self, proofs: Sequence[SettingsProof] = (), now_s: Callable[[], float] = time.time) -> None:
        self._proofs = list(proofs)
        self._now_s = now_s

    def __len__(self) -> int:
        return len(self._proofs)

    def judge(self, intents: Sequence[Intent], sensed: Sensed) -> list[Intent]:
        """Return intents with their proofs, and with what is expected of them where those hold.

        Args:
            intents: All that a policy wants in an interval.
            sensed: The interval.
        """
        if not self._proofs:
            return list(intents)
        groups: dict[str, list[Intent]] = {}
        for intent in intents:
            groups.setdefault(intent.target.key, []).append(intent)
        names: set[str] | None = None
        judged: dict[str, Intent] = {}
        for group in groups.values():
            found = self._proof_for(group)
            if found is None:
                judged |= {one.key: replace(one, proof=None) for one in group}
                continue
            if names is None:
                names = {clean_name(name) for name in set(sensed.tasks["comm"].tolist())}
            judged |= {one.key: self._with(one, found, names) for one in group}
        return [judged[intent.key] for intent in intents]

    def _proof_for(self, group: Sequence[Intent]) -> SettingsProof | None:
        """The proof of exactly what is wanted of one target; one that holds here before one that does not."""
        target = group[0].target
        wanted = {one.setting: spell_value(one.new) for one in group}
        fits = [
            proof
            for proof in self._proofs
            if dict(proof.values) == wanted
            and (
                proof.scheduler == target.scheduler
                if target.kind == "scheduler"
                else proof.scheduler in KERNELS_OWN
                and (target.kind != "thread" or proof.program == target.comm)
            )
        ]
        return min(fits, key=lambda proof: len(proof.lacks), default=None)

    def _with(self, intent: Intent, proof: SettingsProof, names: set[str]) -> Intent:
        lacks = list(proof.lacks)
        now_s = self._now_s()
        if now_s >= proof.expires_s:
            lacks.append(f"it is too old, since {_date(proof.expires_s)}")
        if proof.past.began_at > now_s + _DAY_S:
            lacks.append("it is of the future: one of the clocks was wrong")
        if not proof.program:
            lacks.append("which load it was made with is not known")
        elif proof.program not in names:
            lacks.append(f"its load does not run: {proof.program}")
        past = proof.past
        told = IntentProof(
            evidence=proof.evidence,
            study=str(past.folder.resolve()),
            metric=past.metric,
            told=proof.tell(),
            expires_s=proof.expires_s,
            lacks=tuple(lacks),
        )
        if lacks or not math.isfinite(past.high):
            return replace(intent, proof=told, expected=None)
        basis = f"study {past.folder.name}, {proof.evidence}"
        effect = ExpectedEffect(past.metric, past.low, past.high, basis)
        return replace(intent, proof=told, expected=effect)


def _date(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(unix_s))
