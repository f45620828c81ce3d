"""What is to run in a simulation: a file of rt-app's JSON, a dict of that, a family's member, a trace."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.sim.flat import FlatLoad
from schedtuna.sim.mixed import is_mixed, mixed_load
from schedtuna.sim.native import BadInputError, Workload, cost_table, parse_rt_app
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.trace.parts import MANIFEST
from schedtuna.trace.trace import Trace
from schedtuna.workload.families import FAMILIES, family


@dataclass(frozen=True)
class LoadText:
    """The text of a file, and what it is called."""

    name: str
    text: str


LoadSource = str | Path | Mapping[str, Any] | Trace | RecordedLoad | FlatLoad | LoadText

# What is made of a family if nothing else is asked for.
FAMILY_MEMBER, FAMILY_LOAD, FAMILY_SECONDS = 1, 0.7, 10.0


def with_recording(source: LoadSource) -> LoadSource:
    """Return the load of a trace or its folder, read once; other sources as they are.

    Raises:
        TraceError: The trace can't be replayed.
    """
    if not isinstance(source, str | Path):
        return RecordedLoad(source) if isinstance(source, Trace) else source
    if not Path(source).is_dir():
        return source
    manifest = Path(source) / MANIFEST
    return _load_of_folder(str(source), manifest.stat().st_mtime_ns if manifest.exists() else 0)


@lru_cache(maxsize=2)  # a search replays one trace a thousand times
def _load_of_folder(folder: str, _written_ns: int) -> RecordedLoad:
    return RecordedLoad(folder)


def read_load(
    source: LoadSource,
    *,
    nr_cpus: int,
    duration_s: float | None = None,
    costs: Mapping[str, int] | None = None,
    seed: int | None = None,
) -> tuple[Workload, dict[str, Any]]:
    """Return a workload, and what a manifest says of it: its name, its text and the hash of that.

    Args:
        source: A file, its text, a dict, ``FAMILY:load=0.7,member=1``, a workload of the suite, a trace, or
            its folder.
        nr_cpus: How many CPUs it is for.
        duration_s: How long a family's member goes on, rounded up to seconds. Default: 10.
        costs: Constants of the machine that differ from the defaults: a trace's CPU time has them in it.
        seed: What a workload of the suite is drawn from, once and for all. None: these are refused.

    Raises:
        UsageError: There is no such file or family, or it can't be simulated; the message names the place.
        TraceError: The trace can't be replayed.
    """
    source = with_recording(source)
    assert not isinstance(source, Trace)
    if isinstance(source, RecordedLoad):
        return source.workload(
            nr_cpus, {name: initial for name, initial, *_ in cost_table()} | dict(costs or {})
        )
    if isinstance(source, FlatLoad):
        return source.workload(), {"name": "load"}
    if is_mixed(source):
        if seed is None:
            raise UsageError(
                f"{source} draws its amounts before it begins: here they would never change",
                hint="`schedtuna sim list` shows the families, which are drawn while they run",
            )
        load, facts = mixed_load(str(source), nr_cpus, seed)
        return load.workload(), facts
    if isinstance(source, LoadText):
        name, text = source.name, source.text
    elif isinstance(source, Mapping):
        name, text = "workload", json.dumps(source)
    elif str(source).partition(":")[0] in FAMILIES:
        seconds = math.ceil(FAMILY_SECONDS if duration_s is None else duration_s)
        name, text = str(source), json.dumps(_member(str(source), nr_cpus, seconds))
    else:
        name, text = str(source), _text_of(Path(source))
    try:
        workload = parse_rt_app(text, name)
    except BadInputError as error:
        hint = "docs/workload-files.md says what a file may hold"
        raise UsageError(str(error), hint=hint) from error
    return workload, {"name": name, "sha256": sha256(text.encode()).hexdigest(), "text": text}


def _member(text: str, nr_cpus: int, seconds: int) -> dict[str, Any]:
    """Return the member of a family that ``NAME:load=0.7,member=1,ends=0.5`` means."""
    name, _, settings = text.partition(":")
    values: dict[str, float] = {}
    for setting in filter(None, settings.split(",")):
        key, _, number = setting.partition("=")
        if key in values:
            raise UsageError(f"{text!r} sets {key} twice", hint="leave one of them out")
        try:
            values[key] = {"load": float, "member": int, "ends": float}[key](number)
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"{text!r}: {setting!r} sets nothing", hint=f"{name}:load=0.7,member=1,ends=0.5"
            ) from error
    member, load = int(values.get("member", FAMILY_MEMBER)), values.get("load", FAMILY_LOAD)
    return family(name, member, nr_cpus, load, seconds=seconds, ends=values.get("ends"))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no workload file {path}", hint="`schedtuna sim list` shows the families that need none"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
