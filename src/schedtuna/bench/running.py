"""What does an entry reach, and is what it claims true? Episodes drawn from a text, played, and compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np

from schedtuna import __version__
from schedtuna.bench.entry import BenchEntry, PlayedEpisode, load_entry, save_entry
from schedtuna.bench.parts import VERSION, digest
from schedtuna.bench.tracks import BESIDE, ENVIRONMENT, SCORE, Track, track_named
from schedtuna.errors import BenchError, UsageError
from schedtuna.files import write_bytes
from schedtuna.rl.evaluation import Decider, evaluate
from schedtuna.rl.policy import FILE_NAME, load_policy
from schedtuna.rl.pretrained import PRETRAINED, is_policy, pretrained_path
from schedtuna.rl.world import World

EPISODES = 64
# Nets are computed in floats, whose last bits differ between processors: a share of the score.
TOLERANCE = 1e-3
DOUBT = 0.001  # how often an honest entry is refused for the luck of its episodes
_MOST_MEMBER, _MOST_SEED = 2**31, 2**62
_FIRST_MEMBER = 1000  # those below are trained on, chosen by, and shown


@dataclass(frozen=True)
class Reached:
    """What episodes amount to.

    Attributes:
        score: The geometric mean over families of the ratio of turnaround: lower is better, 1 is the default.
        beside: The same of latency.
        families: The score of each.
        nr: Episodes.
    """

    score: float
    beside: float
    families: dict[str, float]
    nr: int


@dataclass(frozen=True)
class Verified:
    """What became of an entry.

    Attributes:
        entry: As its file says.
        file_sha256: Of the file.
        drawn_from: The text that fresh episodes were drawn from.
        claimed: What it says that it reached.
        fresh: What it reached in these.
        problem: Why it is refused; empty: it is not.
    """

    entry: BenchEntry
    file_sha256: str
    drawn_from: str
    claimed: Reached
    fresh: Reached | None
    problem: str


def run(name: str, track_name: str, *, seed: int, episodes: int = EPISODES) -> tuple[BenchEntry, Path | None]:
    """Play an entry.

    Args:
        name: A scheduler of the simulator, with or without values, or a policy's file, folder or name.
        track_name: In which it competes.
        seed: What its episodes are drawn from.
        episodes: How many, over all families, rounded up.

    Returns:
        The entry, and the file of its policy, which belongs beside the entry's.

    Raises:
        UsageError: There is no such track, scheduler or policy, or it does not fit.
        PolicyError: The policy can't be read.
    """
    track = track_named(track_name)
    policy = _policy_path(name) if is_policy(name) else None
    material = f"seed {seed}"
    found = BenchEntry(
        benchmark=VERSION,
        benchmark_sha256=digest(),
        schedtuna_version=__version__,
        track=track_name,
        entry=name if policy is None else Path(name).stem,
        policy_sha256="" if policy is None else sha256(_bytes(policy)).hexdigest(),
        made_on=datetime.now(UTC).date(),
        material=material,
        episodes=_play(
            name if policy is None else policy, track, drawn(track_name, track, material, episodes)
        ),
    )
    return found.sealed(), policy


def store(entry: BenchEntry, policy: Path | None, path: Path) -> None:
    """Write an entry, and its policy beside it."""
    if policy is not None:
        beside = path.with_suffix(".safetensors")
        write_bytes(beside, _bytes(policy))
        entry = entry.model_copy(update={"policy_file": beside.name}).sealed()
    save_entry(entry, path)


def verify(path: Path, day: date | None = None, *, episodes: int = EPISODES) -> Verified:
    """Play an entry again: the episodes that it claims, and others that nobody knew when it was made.

    Args:
        path: Its file.
        day: A day that was public only after the file was; default: today, UTC.
        episodes: How many others.

    Raises:
        BenchError: The file can't be read, or is of another version of the benchmark.
        UsageError: The day is before the entry's.
    """
    entry, file_sha256 = load_entry(path)
    _require_benchmark(entry)
    day = day or datetime.now(UTC).date()
    if day < entry.made_on:
        raise UsageError(
            f"the entry is of {entry.made_on}, and the day {day} was public before",
            hint="give a --date that nobody could know when it was handed in",
        )
    track = track_named(entry.track)
    drawn_from = f"{file_sha256} {day.isoformat()}"
    claimed = reached(entry.episodes)

    def told(problem: str, fresh: Reached | None = None) -> Verified:
        return Verified(entry, file_sha256, drawn_from, claimed, fresh, problem)

    if entry.own_hash() != entry.sha256:
        return told("its content is not what its own hash is of: it was changed")
    decider: str | Path = entry.entry
    if entry.policy_file:
        decider = path.parent / entry.policy_file
        if sha256(_bytes(decider)).hexdigest() != entry.policy_sha256:
            return told(f"{entry.policy_file} is another policy than it was made with")
    plan = [(episode.family, episode.load, episode.seed) for episode in entry.episodes]
    if plan != drawn(entry.track, track, entry.material, len(plan)):
        return told("its episodes are not those that its seed gives: they were chosen")
    again = _play(decider, track, plan)
    if problem := _differs(entry.episodes, again, exact=not entry.policy_file):
        return told(problem)
    fresh = _play(decider, track, drawn(entry.track, track, drawn_from, episodes))
    return told(_too_good(entry.episodes, fresh), reached(fresh))


def drawn(track_name: str, track: Track, material: str, episodes: int) -> list[tuple[str, str, int]]:
    """Return family, load and seed of episodes, which a text gives: equal ones to everybody.

    Raises:
        UsageError: There are too few to tell how they vary.
    """
    each = -(-episodes // len(track.families))
    if each < 2:
        raise UsageError(
            f"{episodes} episodes of {len(track.families)} families do not tell how they vary",
            hint=f"give --episodes {2 * len(track.families)} or more",
        )
    key = sha256(f"schedbench {VERSION}\0{track_name}\0{material}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64)))
    found = []
    for family in track.families:
        for _ in range(each):
            member = int(rng.integers(_FIRST_MEMBER, _MOST_MEMBER))
            seed = int(rng.integers(_MOST_SEED))
            found.append((family, f"{family}:load={track.load},member={member}", seed))
    return found


def reached(episodes: Sequence[PlayedEpisode]) -> Reached:
    """Return what episodes amount to."""
    logs = _logs(episodes, SCORE)
    beside = _logs(episodes, BESIDE)
    families = {name: math.exp(float(values.mean())) for name, values in logs.items()}
    return Reached(_geometric(logs), _geometric(beside), families, len(episodes))


def _logs(episodes: Sequence[PlayedEpisode], term: str) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {}
    for episode in episodes:
        found.setdefault(episode.family, []).append(math.log(getattr(episode, term)))
    return {name: np.array(values) for name, values in found.items()}


def _geometric(logs: dict[str, np.ndarray]) -> float:
    return math.exp(float(np.mean([values.mean() for values in logs.values()])))


def _policy_path(name: str) -> Path:
    if name in PRETRAINED:
        return pretrained_path(name)
    path = Path(name)
    return path / FILE_NAME if path.is_dir() else path


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"{path} can't be read: {error.strerror}", hint="an entry's policy lies beside its file"
        ) from error


def _play(decider: str | Path, track: Track, plan: Sequence[tuple[str, str, int]]) -> list[PlayedEpisode]:
    world = World(ENVIRONMENT, track.parameters)
    who: Decider | str
    if isinstance(decider, Path):
        policy = load_policy(decider)
        policy.require_fit(world.fit())
        who = policy
    else:
        world.watched(decider, [])  # raises where there is none
        who = decider
    found = []
    for family, load, seed in plan:
        (episode,) = evaluate(who, world, [load], seed=seed, episodes=1)
        terms = episode.info["terms"]
        found.append(
            PlayedEpisode(family=family, load=load, seed=seed, turnaround=terms[SCORE], latency=terms[BESIDE])
        )
    return found


def _require_benchmark(entry: BenchEntry) -> None:
    if (entry.benchmark, entry.benchmark_sha256) != (VERSION, digest()):
        raise BenchError(
            f"the entry is of SchedBench {entry.benchmark} ({entry.benchmark_sha256[:16]}), and this is "
            f"{VERSION} ({digest()[:16]})",
            hint=f"it was made by schedtuna {entry.schedtuna_version}; verify it with that",
        )


def _differs(claimed: Sequence[PlayedEpisode], again: Sequence[PlayedEpisode], *, exact: bool) -> str:
    """Say where what was claimed is not what comes of it; empty: nowhere."""
    if exact:
        for one, other in zip(claimed, again, strict=True):
            for term in (SCORE, BESIDE):
                said, found = getattr(one, term), getattr(other, term)
                if said != found:
                    return f"it claims a {term} of {said:.6g} for {one.load}, and that gives {found:.6g}"
        return ""
    said, found = reached(claimed), reached(again)
    for term, one_score, other_score in (
        (SCORE, said.score, found.score),
        (BESIDE, said.beside, found.beside),
    ):
        if abs(one_score / other_score - 1) > TOLERANCE:
            return f"it claims a {term} of {one_score:.6g}, and its episodes give {other_score:.6g}"
    return ""


def _too_good(claimed: Sequence[PlayedEpisode], fresh: Sequence[PlayedEpisode]) -> str:
    """Say if what is claimed is better than fresh episodes can be by chance; empty: it is not.

    Welch's test of the mean over families of log ratios, one-sided.
    """
    from scipy import stats

    means, squares, freedoms = [], [], []
    for episodes in (claimed, fresh):
        logs = list(_logs(episodes, SCORE).values())
        means.append(float(np.mean([values.mean() for values in logs])))
        squares.append(sum(float(values.var(ddof=1)) / len(values) for values in logs) / len(logs) ** 2)
        freedoms.append(sum(len(values) - 1 for values in logs))
    variance = sum(squares)
    if variance == 0:
        return "" if means[0] >= means[1] else "it claims more than fresh episodes give"
    freedom = variance**2 / sum(s**2 / f for s, f in zip(squares, freedoms, strict=True))
    chance = float(stats.t.cdf((means[0] - means[1]) / math.sqrt(variance), freedom))
    if chance >= DOUBT:
        return ""
    return (
        f"it claims {math.exp(means[0]):.3f}, and fresh episodes give {math.exp(means[1]):.3f}: "
        f"its own were chosen (p = {chance:.1g})"
    )
