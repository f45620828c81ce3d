"""What is SchedBench made of? Its parts, each with the hash of its content, and one hash of all.

A version is frozen: whoever changes what a part hashes gives the benchmark another number, and results of two
versions are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from schedtuna.bench.tracks import TRACKS

VERSION = 1
_MEMBERS, _CPUS, _LOADS, _SECONDS = range(1, 9), (1, 4), (0.7, 0.9), 1
_PLAYED_SEEDS, _PLAYED_CPUS = range(1, 5), (0, 1)


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        kind: ``track``, ``family``, ``certificate`` or ``dataset``.
        name: Within its kind.
        what: It is, in words.
        sha256: Of what it comes to.
    """

    kind: str
    name: str
    what: str
    sha256: str


def parts() -> list[Part]:
    """Return all parts: tracks, families of loads, the certificate's loads, and datasets' definitions."""
    return [*_tracks(), *_families(), *_certificate_loads(), *_datasets()]


def digest(found: list[Part] | None = None) -> str:
    """Return the hash of all parts.

    Args:
        found: What `parts` returned; None: they are computed.
    """
    rows = [[part.kind, part.name, part.sha256] for part in (parts() if found is None else found)]
    return hash_of({"version": VERSION, "parts": rows})


def hash_of(content: Any) -> str:
    """Return the hash of JSON values, whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()


def _tracks() -> Iterator[Part]:
    for name, track in TRACKS.items():
        yield Part("track", name, track.help, hash_of(asdict(track)))


def _families() -> Iterator[Part]:
    from schedtuna.workload.families import FAMILIES, family

    for name in FAMILIES:
        members = [
            family(name, member, cpus, load, seconds=_SECONDS)
            for member in _MEMBERS
            for cpus in _CPUS
            for load in _LOADS
        ]
        yield Part("family", name, "a family of loads; members are drawn by number", hash_of(members))


def _certificate_loads() -> Iterator[Part]:
    from schedtuna.fidelity.loads import LOADS, played_load

    for name, load in LOADS.items():
        drawn = [asdict(played_load(name, seed, _PLAYED_CPUS, _SECONDS)) for seed in _PLAYED_SEEDS]
        yield Part("certificate", name, load.help, hash_of(drawn))


def _datasets() -> Iterator[Part]:
    from schedtuna.learn.dataset_form import LEARNING_TASKS

    for name, task in LEARNING_TASKS.items():
        yield Part("dataset", name, task.help, hash_of(asdict(task)))
