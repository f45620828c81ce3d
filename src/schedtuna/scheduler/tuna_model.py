"""The model inside scx_tuna: put in, checked by its own rows on this kernel, switched, asked how it does.

The structures are those of include/scx_tuna_model.h. This is what the loader does on the scheduler's machine,
without numpy; `tuna_deploy` makes what it is given of a model.
"""

from __future__ import annotations

import base64
import ctypes
import struct
import time
import zlib
from collections.abc import Mapping
from ctypes import c_int64, c_uint8, c_uint32, c_uint64
from typing import Any

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.kernel.btf import Btf, StructLayout
from schedtuna.kernel.maps import LoadedMaps
from schedtuna.kernel.objects import BpfObject

INPUTS, LOGITS = 16, 4  # include/model.h
ONE = 1024  # TUNA_MODEL_ONE
MODES = ("off", "shadow", "act")  # enum tuna_mode
KINDS = ("none", "batch", "normal", "interactive")  # enum tuna_kind
FAMILIES = ("linear", "trees", "oblivious", "mlp", "step")  # enum tuna_family
FEATURES = (  # enum tuna_feature: rows of schedtuna.features.table
    *("nice", "burst_ns", "mean_burst_ns", "attained_ns", "cpu_time_ns", "sleep_ns", "wakeups_per_s"),
    *("mean_delay_ns", "weight", "nr_cpus", "llc_nr_waiting", "llc_busy_permille", "was_woken"),
)
GIVEN_UP = {  # enum tuna_given_up
    1: "more than half of 64 decisions took longer than its budget",
    2: "too many of 256 tasks were outside of the range that it was made for",
    3: "over 256 bursts it was right less often than the scheduler itself",
    4: "its control was out of bounds",
}
_PERIODS = tuple(1 << power for power in range(17))
# Of how a model is used: name -> (default, least, most), in the units of struct tuna_model_control.
SETTINGS: Mapping[str, tuple[int, int, int]] = {
    "lead_us": (20_000, 0, 100_000),
    "period": (16, 1, _PERIODS[-1]),
    "budget_ns": (20_000, 0, 1_000_000_000),
    "most_out_permille": (250, 0, 1000),
    "worse_permille": (100, 0, 1000),
    "pick": (1, 1, 8),
}
_IN_FORCE, _CANDIDATE = 0, 1
_MOST_BYTES = 16 << 20  # of a table, or of the rows that check it


class ModelControl(ctypes.Structure):
    """struct tuna_model_control: how a model is used."""

    _fields_ = (
        ("version", c_uint64),
        ("model_version", c_uint64),
        *(
            (name, c_uint32)
            for name in (
                *("mode", "family", "period", "nr_inputs", "nr_logits", "logit_one", "lead_us"),
                *("budget_ns", "most_out_permille", "worse_permille", "pick"),
            )
        ),
        ("labels", c_uint8 * 4),
        ("features", c_uint8 * INPUTS),
        ("lo", c_int64 * INPUTS),
        ("hi", c_int64 * INPUTS),
    )


class ModelStats(ctypes.Structure):
    """struct tuna_model_stats: what a CPU has counted under a control."""

    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            *("version", "nr_seen", "nr_decided", "nr_acted", "nr_out_of_range", "nr_no_table", "nr_agreed"),
            *("nr_batch", "nr_normal", "nr_interactive", "nr_timed", "nr_over_budget", "timed_ns"),
            *("nr_outcomes", "nr_right", "nr_scheduler_right", "nr_picks", "nr_walked", "nr_picked"),
        )
    )


class JudgedWindow(ctypes.Structure):
    """struct tuna_window."""

    _fields_ = (("total", c_uint64), ("bad", c_int64))


class Judged(ctypes.Structure):
    """struct tuna_model_judged: which version of the control was given up, and why."""

    _fields_ = (
        *((name, c_uint64) for name in ("version", "reason", "at_ns", "windows_version")),
        ("windows", JudgedWindow * 3),
    )


class CheckedRow(ctypes.Structure):
    """struct tuna_check: a row through the executor."""

    _fields_ = (
        ("family", c_uint32),
        ("reserved", c_uint32),
        ("values", c_int64 * INPUTS),
        ("bins", c_uint64 * INPUTS),
        ("logits", c_int64 * LOGITS),
    )


STRUCTURES = {
    "tuna_model_control": ModelControl,
    "tuna_model_stats": ModelStats,
    "tuna_model_judged": Judged,
    "tuna_check": CheckedRow,
}
COUNTERS = tuple(field[0] for field in ModelStats._fields_[1:])
_MAPS = ("tuna_model", "tuna_predicted", "tuna_judged", *(f"tuna_{family}" for family in FAMILIES))


def has_model(btf: Btf) -> bool:
    """Whether an object is a scx_tuna with executors."""
    return "tuna_model_control" in btf.structs


def check_layout(btf: Btf) -> None:
    """Check that an object has the structures as they are here.

    Raises:
        UnavailableError: It does not: it is of another version of this package.
    """
    for name, structure in STRUCTURES.items():
        btf.require(name, StructLayout.of(structure))


def checked_settings(given: Mapping[str, int]) -> dict[str, int]:
    """Return settings of how a model is used, all of them within their bounds.

    Raises:
        UsageError: There is none of a name, or one is out of bounds.
    """
    for name, value in given.items():
        if name not in SETTINGS:
            raise UsageError(f"a model has no setting {name!r}: there are {', '.join(SETTINGS)}")
        _, least, most = SETTINGS[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UsageError(f"{name}={value}: expected {least} to {most}")
        if name == "period" and value not in _PERIODS:
            raise UsageError(f"period={value}: expected a power of two")
    return {name: given.get(name, default) for name, (default, _, _) in SETTINGS.items()}


def pressed(data: bytes) -> str:
    """Return bytes as a text that can be sent."""
    return base64.b64encode(zlib.compress(data, 6)).decode()


def _unpressed(text: str) -> bytes:
    return zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MOST_BYTES)


class InsideModel:
    """The model of the scx_tuna that an object was loaded as.

    Args:
        bpf: The object, loaded.
    """

    def __init__(self, bpf: BpfObject) -> None:
        self._bpf = bpf
        self._maps = LoadedMaps(_MAPS)
        self._name = ""
        self._control = ModelControl()
        self._settings = checked_settings({})

    def close(self) -> None:
        """Let go of its maps; what is in force stays."""
        self._maps.close()

    def load(self, deployment: Mapping[str, Any]) -> int:
        """Put a model in, which decides nothing yet; returns how many of its rows were checked here.

        Args:
            deployment: As `tuna_deploy.deploy` makes it.

        Raises:
            UsageError: It is damaged, or its rows give anything else here than they should.
            UnavailableError: The kernel has no memory for it.
        """
        control, table, rows = self._read(deployment)
        family = FAMILIES[control.family]
        try:
            self._maps.exchange(f"tuna_{family}", _CANDIDATE, table)
        except OSError as error:
            raise UnavailableError(
                f"the kernel takes no table of {len(table)} bytes: {error.strerror}"
            ) from error
        nr_rows = self._check(control, rows)
        self._switch("off")
        self._maps.exchange(f"tuna_{family}", _IN_FORCE, table)
        self._name, self._control = str(deployment["name"]), control
        self._switch("off")
        return nr_rows

    def _read(self, deployment: Mapping[str, Any]) -> tuple[ModelControl, bytes, list[tuple[int, ...]]]:
        try:
            family = str(deployment["family"])
            control = ModelControl(
                model_version=int(deployment["version"], 16),
                family=FAMILIES.index(family),
                nr_inputs=len(deployment["features"]),
                nr_logits=int(deployment["nr_logits"]),
                logit_one=int(deployment["logit_one"]),
            )
            for name, values in (
                ("labels", [KINDS.index(label) for label in deployment["labels"]]),
                ("features", [FEATURES.index(name) for name in deployment["features"]]),
                *((end, [int(value) for value in deployment[end]]) for end in ("lo", "hi")),
            ):
                getattr(control, name)[: len(values)] = values
            table = _unpressed(deployment["table"])
            numbers = _unpressed(deployment["rows"])
        except (KeyError, ValueError, TypeError, IndexError, zlib.error) as error:
            raise UsageError(f"what was sent of the model is damaged: {error}") from None
        expected = self._bpf.btf.structs[f"model_{family}"].size
        if (
            len(table) != expected
            or not 1 <= control.nr_inputs <= INPUTS
            or not 1 <= control.nr_logits <= LOGITS
        ):
            raise UsageError(
                f"the table of {len(table)} bytes is none of the family {family}, which has {expected}"
            )
        row = struct.Struct(f"<{2 * control.nr_inputs + control.nr_logits}q")
        if not numbers or len(numbers) % row.size:
            raise UsageError("the model has no whole rows to check it with")
        return control, table, list(row.iter_unpack(numbers))

    def _check(self, control: ModelControl, rows: list[tuple[int, ...]]) -> int:
        """Have the executor that is to decide give the bins and logits of every row."""
        nr = control.nr_inputs
        context = bytearray(ctypes.sizeof(CheckedRow))
        at = CheckedRow.from_buffer(context)
        for number, row in enumerate(rows):
            at.family = control.family
            at.values[:nr] = row[:nr]
            again = bytearray(context)
            if self._bpf.run("tuna_check", again):
                raise UsageError("the scheduler has no table of this family")
            got = CheckedRow.from_buffer(again)
            found = (*got.bins[:nr], *got.logits[: control.nr_logits])
            if found != row[nr:]:
                place = next(i for i, (a, b) in enumerate(zip(found, row[nr:], strict=True)) if a != b)
                what = f"bin {place}" if place < nr else f"logit {place - nr}"
                raise UsageError(
                    f"this kernel computes the model wrongly: {what} of its row {number} is {found[place]}, "
                    f"and should be {row[nr + place]}; it is not used"
                )
        return len(rows)

    def switch(self, mode: str, settings: Mapping[str, int]) -> None:
        """Let the model that was loaded predict, or act, or neither.

        Args:
            mode: One of `MODES`.
            settings: Of `SETTINGS`; those that are not named stay.

        Raises:
            UsageError: There is no model, no such mode, or a setting is out of bounds.
        """
        if mode not in MODES:
            raise UsageError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
        if not self._name:
            raise UsageError("no model is loaded")
        self._settings = checked_settings({**self._settings, **settings})
        self._switch(mode)

    def _switch(self, mode: str) -> None:
        for name, value in self._settings.items():
            setattr(self._control, name, value)
        # Another one than ever was, also in a loader that was started anew.
        self._control.version = max(time.monotonic_ns(), self._control.version + 1)
        self._control.mode = MODES.index(mode)
        self._maps.exchange("tuna_model", 0, bytes(self._control))

    def status(self) -> dict[str, Any]:
        """Which model there is, what it does, what it counted since it was switched, why it was given up."""
        judged = Judged.from_buffer_copy(self._maps.read("tuna_judged", 0, ctypes.sizeof(Judged)))
        given_up = judged.version == self._control.version and judged.reason
        cpus = [
            ModelStats.from_buffer_copy(data)
            for data in self._maps.read_cpus("tuna_predicted", ctypes.sizeof(ModelStats))
        ]
        under = [cpu for cpu in cpus if cpu.version == self._control.version and self._control.version]
        return {
            "name": self._name,
            "model_version": f"{self._control.model_version:016x}" if self._name else "",
            "family": FAMILIES[self._control.family] if self._name else "",
            "mode": MODES[self._control.mode],
            "settings": dict(self._settings),
            "given_up": GIVEN_UP.get(judged.reason, f"reason {judged.reason}") if given_up else "",
            "given_up_s": time.monotonic() - judged.at_ns / 1e9 if given_up else None,
            "counted": {name: sum(getattr(cpu, name) for cpu in under) for name in COUNTERS},
        }
