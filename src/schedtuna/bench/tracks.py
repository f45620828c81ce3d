"""In what do entries of SchedBench compete? A row per track; a score is the default scheduler's share."""

from __future__ import annotations

from dataclasses import dataclass, field

from schedtuna.errors import UsageError, nearest

ENVIRONMENT = "schedtuna/PickNext-v0"
SCORE, BESIDE = "turnaround", "latency"  # terms of the environment's rewards: docs/environments.md


@dataclass(frozen=True)
class Track:
    """A row.

    Attributes:
        help: What it asks for, in words.
        families: Of loads; each has as many episodes.
        load: CPU time that a load asks for per second and CPU.
        parameters: Keywords of the environment.
    """

    help: str
    families: tuple[str, ...]
    load: float
    parameters: dict[str, int | float | str] = field(default_factory=dict)


TRACKS: dict[str, Track] = {
    "one-cpu": Track(
        "which task next, on one CPU at load 0.9: the leaderboard's",
        ("poisson", "heavy-tail", "bursts", "interactive"),
        0.9,
        {"cpus": 1, "episode_ms": 500.0, "decision_ns": 500},
    ),
    "four-cpus": Track(
        "which task next, on four CPUs at load 0.8, all families",
        ("poisson", "heavy-tail", "bursts", "interactive", "barrier", "ping-pong", "fork-join"),
        0.8,
        {"cpus": 4, "episode_ms": 500.0, "decision_ns": 500},
    ),
}


def track_named(name: str) -> Track:
    """Return a track.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in TRACKS:
        raise UsageError(f"SchedBench has no track {name!r}: {nearest(name, TRACKS)}")
    return TRACKS[name]
