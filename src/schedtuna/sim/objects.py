"""Which sched_ext scheduler's object does a text mean, and how does the simulated machine run it?

FILE.bpf.o     a compiled object
PROGRAM        a loader's program with such an object inside, by its path
scx_NAME       the same, of SCHEDTUNA_SCX_PATH, PATH or the lab; scx_tuna is this package's own

After each may stand `:NAME=VALUE,...`: variables of the object, as its loader would set them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from schedtuna.configfile import SUFFIXES
from schedtuna.errors import SpaceError, UnavailableError, UsageError, naming, nearest
from schedtuna.files import make_folder, require_trusted, write_bytes
from schedtuna.kernel.sched_ext import SUFFIX
from schedtuna.machine.checks.programs import scx_binaries
from schedtuna.machine.labfolder import lab_directory
from schedtuna.machine.probe import Probe
from schedtuna.scheduler import tuna
from schedtuna.scheduler.objects import object_scheduler, own_objects
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.bpf.compiled import cache_folder
from schedtuna.sim.bpf.kernel import RUNNING, KernelTypes, read_kernel
from schedtuna.sim.bpf.load import ScxObject, describe, load_object, scheduler_in
from schedtuna.sim.bpf.prepared import prepared, unread_maps
from schedtuna.sim.native import BadInputError, BpfObject, NativeScheduler, load_bpf_object
from schedtuna.sim.settings import LoaderSettings, find_settings, read_settings, require_fitting
from schedtuna.sim.topology import MachineShape
from schedtuna.space import ParameterType

KERNEL_VARIABLE = "SCHEDTUNA_SIM_KERNEL"
_PREFIX = "scx_"
_STAND_IN = "object"  # for its name, where its values are parsed
_MOST_U64 = 2**64 - 1
_SPAN = 16  # of a variable's search, to both sides
_TUNA_MAP = "first_params"  # what tuna_params holds at first
_UNSIGNED, _SIGNED, _BOOL = 1, 2, 3  # enum scx_global_kind
_SEED = 1  # of bpf_get_prandom_u32(), where nobody says another


@dataclass(frozen=True)
class LoadedObject:
    """An object that the simulated machine can run.

    Attributes:
        native: What runs it.
        translated: What it was made of; it is kept as long as the process lives.
    """

    native: BpfObject
    translated: ScxObject


def found_objects() -> dict[str, Path]:
    """Return the schedulers that a name means on this machine: name -> object, or program with one inside."""
    installed = {name: Path(path) for name, path in scx_binaries(Probe()).items()}
    return _lab_examples() | installed | own_objects()


def _lab_examples() -> dict[str, Path]:
    """Return the kernel's example schedulers, as they were built for the newest kernel of the lab."""
    folders = list((lab_directory() / "schedulers").glob("*/"))
    if not folders:
        return {}
    newest = max(folders, key=lambda each: _version(each.name))
    return {path.name: path for path in sorted(newest.glob(f"{_PREFIX}*")) if path.is_file()}


def object_named(text: str) -> SchedulerConfig | None:
    """Return the scheduler that a text means, with its values; None: it means none of an object's.

    Raises:
        UsageError: The file has no scheduler's object, or the object no such variable or value.
        UnavailableError: It can't be read.
    """
    file, colon, rest = text.partition(":")
    is_file = "/" in file and not file.lower().endswith(SUFFIXES) and Path(file).is_file()
    if file.endswith(SUFFIX) or is_file:
        path, name = Path(file).absolute(), str(Path(file).absolute())
    elif file.startswith(_PREFIX) and (found := found_objects().get(file)):
        path, name = found, file
    else:
        return None
    config = _config(path, name)
    try:
        # A path may hold what parts a name from values.
        return parse_scheduler(f"{_STAND_IN}{colon}{rest}", lambda _: config, stated=True)
    except (UsageError, SpaceError) as error:
        error.args = (str(error).replace(_STAND_IN, name, 1),)
        error.hint = "what is set here are variables of its object: docs/sched-ext-in-simulator.md"
        raise


def _config(path: Path, name: str) -> SchedulerConfig:
    found = object_scheduler(_bare_object(path), name)
    texts = {"name": name, "binary_path": path, "description": f"the sched_ext scheduler {found.name}"}
    return found.model_copy(update=texts)


def searched(config: SchedulerConfig) -> SchedulerConfig:
    """Return an object's scheduler with what a search may turn, within bounds that make sense for one.

    Of scx_tuna its parameters: no other variable of its object can be set while it runs. Of another's number
    whose bounds are its type's alone: a sixteenth to sixteen times of what it is at first. One that is 0 says
    nothing of what it may be, and is left out.
    """
    if is_tuna(config):
        return config.with_parameters({name: config.parameters[name] for name in tuna.DEFAULTS})
    chosen = {}
    for name, spec in config.parameters.items():
        if spec.type is ParameterType.INTEGER:
            default = int(spec.default) if isinstance(spec.default, int) else 0
            if default <= 0:
                continue
            bounds = max(default // _SPAN, 1), min(default * _SPAN, int(spec.max_value or _MOST_U64))
            chosen[name] = spec.model_copy(
                update={"min_value": bounds[0], "max_value": bounds[1], "log": True}
            )
        else:
            chosen[name] = spec
    return config.with_parameters(chosen)


def is_tuna(config: SchedulerConfig) -> bool:
    """Whether it is scx_tuna, whose parameters are no variables."""
    return tuna.DEFAULTS.keys() <= config.parameters.keys()


def _bare_object(path: Path) -> Path:
    """Return a file with the object alone: this one, or one cut out of a program and kept by its hash."""
    if path.name.endswith(SUFFIX):
        return path
    data = scheduler_in(path)
    folder = cache_folder()
    kept = folder / f"{sha256(data).hexdigest()[:32]}{SUFFIX}"
    if not kept.is_file():
        with naming(folder):
            make_folder(folder)
            write_bytes(kept, data)
    return require_trusted(kept, "as a scheduler's object", hint="remove it")


def simulated_kernel() -> KernelTypes:
    """Return the kernel whose types objects are translated for.

    SCHEDTUNA_SIM_KERNEL names a vmlinux or a file with BTF; else it is the running kernel, if that has
    sched_ext, or the newest of the lab.

    Raises:
        UnavailableError: There is none.
    """
    if named := os.environ.get(KERNEL_VARIABLE):
        return _kernel(Path(named).absolute())
    if RUNNING.exists() and (running := _kernel(RUNNING)).has_sched_ext:
        return running
    of_lab = [each for each in (lab_directory() / "kernels").glob("*/vmlinux") if each.is_file()]
    if not of_lab:
        raise UnavailableError(
            "no kernel with sched_ext is here: this one has none, and the lab has no kernel",
            hint=f"run `schedtuna lab setup`, or name a vmlinux in {KERNEL_VARIABLE}",
        )
    return _kernel(max(of_lab, key=lambda each: _version(each.parent.name)))


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


@cache
def _kernel(path: Path) -> KernelTypes:
    return read_kernel(path)


@cache
def _constants(path: str) -> dict[str, int]:
    every = _kernel(Path(path)).types.constants
    return {name: value & _MOST_U64 for name, value in every.items() if name.startswith("SCX_")}


@cache
def _loaded(path: Path, content: bytes, kernel: str, coverage: bool) -> LoadedObject:
    del content  # which tells one object from another
    translated = load_object(path, _kernel(Path(kernel)), coverage=coverage)
    try:
        native = load_bpf_object(translated.address, _constants(kernel), translated.coverage)
    except BadInputError as error:
        raise UnavailableError(
            str(error), hint="docs/sched-ext-in-simulator.md says what the simulated kernel has"
        ) from error
    return LoadedObject(native, translated)


def loaded_object(path: Path, *, coverage: bool = False) -> LoadedObject:
    """Return an object, translated and loaded.

    Args:
        path: The object, or a program with one inside.
        coverage: Whether it counts which of its instructions run.

    Raises:
        UsageError: It has no scheduler's object.
        UnavailableError: It needs what the simulated kernel lacks: the message names it.
    """
    content = sha256(scheduler_in(path)).digest()
    return _loaded(path, content, simulated_kernel().source, coverage)


def object_native(
    config: SchedulerConfig,
    shape: MachineShape | None,
    *,
    seed: int = _SEED,
    coverage: bool = False,
    settings: Path | None = None,
) -> tuple[NativeScheduler, dict[str, Any]]:
    """Return the native scheduler of an object with its values, and what a manifest says of it.

    Args:
        config: The object, and values of its variables.
        shape: The simulated machine, for which its loader's settings are looked for.
        seed: What its programs draw.
        coverage: Whether it counts which of its instructions run.
        settings: A file of its loader's settings; default: those that are kept for the shape, if any.

    Raises:
        UsageError: There is no such variable or value; or the settings are of another object or machine.
        UnavailableError: As `loaded_object`.
    """
    assert config.binary_path is not None
    loaded = loaded_object(config.binary_path, coverage=coverage)
    values = dict(config.values)
    entries = []
    if is_tuna(config):
        of_tuna = {name: values.pop(name) for name in list(values) if name in tuna.DEFAULTS}
        packed = tuna.pack(of_tuna, version=1)
        entries.append((_TUNA_MAP, bytes(4), bytes(packed)))
    found = None if shape is None else loader_settings(loaded.translated, shape, settings)
    given = None if found is None else prepared(found, loaded.translated, simulated_kernel())
    try:
        native = loaded.native.scheduler(_packed(loaded.native, values), entries, seed, given)
    except BadInputError as error:
        raise UsageError(str(error)) from error
    about = {**_described(loaded, found), "never_called": loaded.native.never_called}
    return native, {"name": config.name, "parameters": dict(config.values), "object": about}


def object_facts(path: Path, shape: MachineShape) -> dict[str, Any]:
    """What results on such a machine say of an object: enough to know again what ran.

    Raises:
        UsageError: It has no scheduler's object.
        UnavailableError: It needs what the simulated kernel lacks.
    """
    loaded = loaded_object(path)
    return _described(loaded, loader_settings(loaded.translated, shape))


def _described(loaded: LoadedObject, settings: LoaderSettings | None) -> dict[str, Any]:
    told = None if settings is None else told_settings(settings, loaded.translated)
    return {**describe(loaded.translated), "settings": told}


def loader_settings(
    object_: ScxObject, shape: MachineShape, given: Path | None = None
) -> LoaderSettings | None:
    """Return what an object's loader prepares on such a machine; None: the object's own values hold.

    Args:
        object_: The object.
        shape: The machine.
        given: A file with it; default: what is kept.

    Raises:
        UsageError: The file is of another object, machine or kernel.
    """
    release = simulated_kernel().release
    if given is None:
        return find_settings(object_.sha256, shape, release)
    found = read_settings(given)
    require_fitting(found, object_.sha256, shape, release)
    return found


def told_settings(settings: LoaderSettings, object_: ScxObject) -> dict[str, Any]:
    """What results say of a loader's settings."""
    return {
        "key": settings.key,
        "program": settings.program,
        "arguments": list(settings.arguments),
        "topology": settings.topology,
        "kernel": settings.release,
        "unread": unread_maps(settings, object_),
    }


def _packed(native: BpfObject, values: Mapping[str, Any]) -> dict[str, bytes]:
    kinds = {name: (kind, size) for name, kind, size, _, _ in native.globals()}
    packed = {}
    for name, value in values.items():
        kind, size = kinds.get(name, (0, 0))
        if kind not in {_UNSIGNED, _SIGNED, _BOOL}:
            raise UsageError(f"{native.name} has no variable {name!r}: {nearest(name, kinds)}")
        try:
            packed[name] = int(value).to_bytes(size, sys.byteorder, signed=kind == _SIGNED)
        except OverflowError:
            low = -(1 << 8 * size - 1) if kind == _SIGNED else 0
            most = low + (1 << 8 * size) - 1
            raise SpaceError(f"{name}={value}: expected {low} to {most}") from None
    return packed
