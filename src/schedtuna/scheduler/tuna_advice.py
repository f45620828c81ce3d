"""The advisory channel of scx_tuna: read what it asks about tasks, answer, and say of which kind tasks are.

The structures are those of include/scx_tuna_advice.h. Works on whichever scx_tuna is loaded, without numpy:
it runs in guests, too.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from ctypes import c_int32, c_int64, c_uint32, c_uint64
from pathlib import Path
from typing import Self

from schedtuna.errors import NotLoadedError, UnavailableError, UsageError
from schedtuna.kernel.btf import Btf, StructLayout
from schedtuna.kernel.maps import LoadedMaps
from schedtuna.kernel.ordered import RecordRing
from schedtuna.kernel.runs import loaded_program, run_syscall
from schedtuna.scheduler.tuna_model import FEATURES, KINDS

BATCH = 32  # TUNA_BATCH
RING_BYTES = 1 << 18  # TUNA_ADVICE_RING_BYTES
NR_FEATURES = 16  # TUNA_NR_FEATURES
CLASSES = {"none": 0, "gpu": 1, "batch": 2, "normal": 3, "interactive": 4}  # enum tuna_class
PERIOD_NS = 10_000_000
_LEASE_NS = 1_000_000_000  # for which it asks on after its program is gone
_LIVELY_S, _QUIET_S = 0.001, 0.02
_MAPS = ("tuna_advice", "tuna_advised", "tuna_answers", "tuna_requests")


class AdviceControl(ctypes.Structure):
    """struct tuna_advice_control."""

    _fields_ = tuple((name, c_uint64) for name in ("asked_until_ns", "period_ns", "model_version"))


class AdviceRequest(ctypes.Structure):
    """struct tuna_request: what is asked about a task that fell asleep."""

    _fields_ = (
        *((name, c_uint64) for name in ("id", "start_time_ns", "timestamp_ns", "model_version")),
        ("tid", c_uint32),
        ("cpu", c_int32),
        ("offered_cpu", c_int32),
        *((name, c_uint32) for name in ("nr_idle_cpus", "nr_busy_cpus")),
        *((name, c_uint32) for name in ("src_load_permille", "dst_load_permille", "reserved")),
        ("features", c_int64 * NR_FEATURES),
    )


class AdviceAnswer(ctypes.Structure):
    """struct tuna_answer."""

    _fields_ = (
        *((name, c_uint64) for name in ("id", "start_time_ns", "expires_ns")),
        ("tid", c_uint32),
        ("cpu", c_int32),
        ("kind", c_uint32),
        ("slice_us", c_uint32),
    )


class AnswersGiven(ctypes.Structure):
    """struct tuna_answers_given."""

    _fields_ = (("nr", c_uint32), ("nr_taken", c_uint32))


class AdviceStats(ctypes.Structure):
    """struct tuna_advice_stats: what became of requests and answers."""

    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            *("nr_requests", "nr_ring_full", "nr_batches", "nr_answers", "nr_taken", "nr_unknown"),
            *("nr_wrong_start", "nr_stale", "nr_late", "nr_invalid", "nr_placed", "nr_queued", "nr_expired"),
            *("nr_not_allowed", "nr_hinted"),
        )
    )


STRUCTURES = {
    "tuna_advice_control": AdviceControl,
    "tuna_request": AdviceRequest,
    "tuna_answer": AdviceAnswer,
    "tuna_answers_given": AnswersGiven,
    "tuna_advice_stats": AdviceStats,
}
Adviser = Callable[[Sequence[AdviceRequest]], Sequence[AdviceAnswer]]


def check_layout(btf: Btf) -> None:
    """Check that an object has the structures as they are here.

    Raises:
        UnavailableError: It does not: it is of another version of this package.
    """
    for name, structure in STRUCTURES.items():
        btf.require(name, StructLayout.of(structure))


def features_of(request: AdviceRequest) -> dict[str, int]:
    """What a request says of its task, by the names of the feature table."""
    own = {name: request.features[index] for index, name in enumerate(FEATURES)}
    names = ("cpu", "nr_idle_cpus", "nr_busy_cpus", "src_load_permille", "dst_load_permille")
    return own | {name: getattr(request, name) for name in names}


def answer_to(
    request: AdviceRequest, *, valid_ns: int, cpu: int = -1, kind: str = "none", slice_us: int = 0
) -> AdviceAnswer:
    """Return an answer that holds for so long from now on.

    Args:
        request: What was asked.
        valid_ns: For how long.
        cpu: Where the task should run next; -1: no opinion.
        kind: One of `KINDS`; none: no opinion.
        slice_us: Its slice; 0: no opinion.
    """
    return AdviceAnswer(
        id=request.id,
        start_time_ns=request.start_time_ns,
        expires_ns=time.monotonic_ns() + valid_ns,
        tid=request.tid,
        cpu=cpu,
        kind=KINDS.index(kind),
        slice_us=slice_us,
    )


class AdviceChannel:
    """The reading and answering side; one program at a time. Close it, or use it as a context manager.

    Args:
        model_version: Told in every request.
        period_ns: About one task, no request follows another earlier.

    Raises:
        UnavailableError: No scx_tuna with a channel is loaded, another program advises it, or a privilege is
            missing.
    """

    def __init__(self, *, model_version: int = 0, period_ns: int = PERIOD_NS) -> None:
        try:
            self._maps = LoadedMaps(_MAPS)
            self._program = loaded_program("tuna_answer")
        except NotLoadedError:
            raise NotLoadedError(
                "scx_tuna is not loaded here", hint="start it: schedtuna schedulers start scx_tuna"
            ) from None
        self._control = AdviceControl(period_ns=period_ns, model_version=model_version)
        held = AdviceControl.from_buffer_copy(self._maps.read("tuna_advice", 0, ctypes.sizeof(AdviceControl)))
        if held.asked_until_ns > time.monotonic_ns():
            self._let_go()
            raise UnavailableError(
                "another program advises scx_tuna", hint="end it; a second after it is gone, this one may"
            )
        self._ring = RecordRing(self._maps.fd("tuna_requests"), RING_BYTES)
        self._ring.take()  # what another one was asked
        self.renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Be asked no more."""
        self._control.asked_until_ns = 0
        self._maps.write("tuna_advice", bytes(4), bytes(self._control))
        self._ring.close()
        self._let_go()

    def _let_go(self) -> None:
        self._maps.close()
        os.close(self._program)

    def renew(self) -> None:
        """Be asked for one second more."""
        self._control.asked_until_ns = time.monotonic_ns() + _LEASE_NS
        self._maps.write("tuna_advice", bytes(4), bytes(self._control))

    def take(self, within_s: float = 0.0) -> list[AdviceRequest]:
        """Return what was asked; where that is nothing, wait so long for it."""
        records = self._ring.take()
        if not records and within_s:
            self._ring.wait(within_s)
            records = self._ring.take()
        return [AdviceRequest.from_buffer_copy(record) for record in records]

    def answer(self, answers: Sequence[AdviceAnswer]) -> int:
        """Give answers; returns how many of them hold now. `stats` tells what became of the others.

        Raises:
            OSError: The kernel's errno.
        """
        nr_taken = 0
        for first in range(0, len(answers), BATCH):
            batch = answers[first : first + BATCH]
            for index, one in enumerate(batch):
                self._maps.write("tuna_answers", index.to_bytes(4, "little"), bytes(one))
            context = bytearray(bytes(AnswersGiven(nr=len(batch))))
            code, result = run_syscall(self._program, context)
            if code or result:
                raise OSError(-code, os.strerror(-code), "tuna_answer")
            nr_taken += AnswersGiven.from_buffer_copy(context).nr_taken
        return nr_taken

    def stats(self) -> dict[str, int]:
        """What became of all requests and answers since the scheduler was loaded."""
        data = self._maps.read("tuna_advised", 0, ctypes.sizeof(AdviceStats))
        found = AdviceStats.from_buffer_copy(data)
        return {field[0]: getattr(found, field[0]) for field in AdviceStats._fields_}

    def serve(
        self,
        advise: Adviser,
        *,
        goes_on: Callable[[], bool],
        on_answered: Callable[[Sequence[AdviceAnswer], int], None] = lambda _answers, _nr_taken: None,
    ) -> None:
        """Answer what is asked, in batches, as long as it goes on.

        The scheduler wakes this after 32 requests, or with the first one after 1 ms; what comes alone is
        found 1 ms later while requests come, and 20 ms later when they come again.

        Args:
            advise: Gives answers to at most 32 requests.
            goes_on: Whether it does.
            on_answered: Told after each batch: the answers, and how many of them hold.

        Raises:
            OSError: The kernel's errno.
        """
        asked_at, renewed_at = 0.0, 0.0
        while goes_on():
            now = time.monotonic()
            if now - renewed_at > _LEASE_NS / 4e9:
                self.renew()
                renewed_at = now
            requests = self.take(_LIVELY_S if now - asked_at < _QUIET_S else _QUIET_S)
            if requests:
                asked_at = time.monotonic()
            for first in range(0, len(requests), BATCH):
                answers = advise(requests[first : first + BATCH])
                on_answered(answers, self.answer(answers))


class Hints:
    """Of which kind tasks are, said once: by tid, or for all tasks of a cgroup and of those below it."""

    def __init__(self) -> None:
        self._maps = LoadedMaps(("tuna_classes", "tuna_groups", "tuna_hinted"))

    def close(self) -> None:
        """Let go of the maps; hints stay."""
        self._maps.close()

    def set(self, class_: str, *, tid: int | None = None, group: str | None = None) -> None:
        """Give a hint, or take it away.

        Args:
            class_: One of `CLASSES`; none takes a hint away; gpu is for tids alone.
            tid: The task's.
            group: Path of the cgroup's folder.

        Raises:
            UsageError: There is no such class or group, or both or neither of tid and group are named.
        """
        if class_ not in CLASSES or (class_ == "gpu" and group is not None):
            raise UsageError(f"hint {class_!r}: expected {', '.join(CLASSES)}; gpu for a tid alone")
        if (tid is None) == (group is None):
            raise UsageError("a hint is for a tid or for a control group")
        if group is not None:
            try:
                name, key = "tuna_groups", Path(group).stat().st_ino.to_bytes(8, "little")
            except OSError as error:
                raise UsageError(f"there is no control group {group}: {error.strerror}") from None
        else:
            name, key = "tuna_classes", int(tid or 0).to_bytes(4, "little")
        if class_ == "none":
            self._maps.remove(name, key)
            return
        self._maps.write(name, key, CLASSES[class_].to_bytes(4, "little"))
        self._maps.write("tuna_hinted", bytes(4), (1).to_bytes(8, "little"))
