"""SchedBench: its version is frozen, and no entry passes that claims what it does not reach."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedtuna.bench import running
from schedtuna.bench.entry import BenchEntry, PlayedEpisode, load_entry
from schedtuna.bench.parts import VERSION, digest, parts
from schedtuna.bench.running import drawn, reached, run, store, verify
from schedtuna.bench.tracks import TRACKS
from schedtuna.errors import BenchError, UsageError

pytest.importorskip("stable_baselines3")

NR = 8
TOMORROW = datetime.now(UTC).date() + timedelta(days=2)


def test_a_version_is_frozen():
    """Whoever changes a part gives the benchmark a new VERSION, and its hash a new row here."""
    hashes = {1: "a68ffa1174d7e21551b5e4aa4096a5fb38c8c1750f5b5e2873beb0f6803e9e01"}
    assert digest() == hashes[VERSION]
    assert {part.kind for part in parts()} == {"track", "family", "certificate", "dataset"}


def test_what_is_cited_is_this_version():
    root = Path(__file__).parents[3]
    assert f"SchedBench {VERSION}, sha256 {digest()}" in (root / "docs/schedbench.md").read_text()
    assert f"sha256 {digest()}" in (root / "CITATION.cff").read_text()


@pytest.mark.parametrize("name", TRACKS)
def test_a_text_gives_everybody_the_same_episodes_and_another_one_others(name):
    track = TRACKS[name]
    one, same, other = (drawn(name, track, text, 30) for text in ("a", "a", "b"))
    assert one == same and not set(one) & set(other)
    assert {family for family, *_ in one} == set(track.families)
    assert len({(load, seed) for _, load, seed in one}) == len(one) >= 30
    assert all(int(load.rpartition("member=")[2]) >= 1000 for _, load, _ in one)
    with pytest.raises(UsageError, match="do not tell how they vary"):
        drawn(name, track, "a", len(track.families))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "las.json"
    entry, policy = run("las", "one-cpu", seed=3, episodes=NR)
    assert policy is None
    store(entry, policy, path)
    return path


def test_an_honest_entry_is_verified_on_episodes_that_it_does_not_have(made):
    found = verify(made, TOMORROW, episodes=NR)
    assert found.problem == "" and found.fresh is not None
    assert found.claimed.nr == found.fresh.nr == NR and found.claimed.score != found.fresh.score
    assert found.drawn_from == f"{found.file_sha256} {TOMORROW}"
    # EEVDF's share of its own is 1: what is claimed is below, as the leaderboard has it of las.
    assert found.claimed.score < 0.95


def test_the_default_scheduler_reaches_1():
    """But for what it costs to come back at each decision, which is nothing."""
    entry, _ = run("fair", "one-cpu", seed=3, episodes=NR)
    assert reached(entry.episodes).score == pytest.approx(1.0, rel=1e-9)


def changed(made, tmp_path, change, *, seals=True):
    content = json.loads(made.read_text())
    change(content)
    entry = BenchEntry.model_validate(content)
    path = tmp_path / "changed.json"
    path.write_text((entry.sealed() if seals else entry).model_dump_json())
    return path


def better(content: dict[str, Any]) -> None:
    content["episodes"][3]["turnaround"] *= 0.9


def chosen(content: dict[str, Any]) -> None:
    content["episodes"][3]["seed"] += 1


def renamed(content: dict[str, Any]) -> None:
    content["entry"] = "fifo"


@pytest.mark.parametrize(
    ("change", "seals", "problem"),
    [
        (better, False, "its content is not what its own hash is of"),
        (better, True, "it claims a turnaround of"),
        (chosen, True, "they were chosen"),
        (renamed, True, "it claims a turnaround of"),
    ],
)
def test_tampering_is_found(made, tmp_path, change, seals, problem):
    found = verify(changed(made, tmp_path, change, seals=seals), TOMORROW, episodes=NR)
    assert problem in found.problem and found.fresh is None


def test_another_policy_beside_the_entry_is_found(tmp_path):
    path = tmp_path / "net.json"
    entry, policy = run("pretrained", "one-cpu", seed=3, episodes=NR)
    store(entry, policy, path)
    assert verify(path, TOMORROW, episodes=NR).problem == ""
    beside = tmp_path / "net.safetensors"
    beside.write_bytes(beside.read_bytes() + b" ")
    assert "another policy" in verify(path, TOMORROW, episodes=NR).problem
    beside.unlink()
    with pytest.raises(BenchError, match=r"net\.safetensors can't be read"):
        verify(path, TOMORROW, episodes=NR)


def episodes(rng, shift, nr=32):
    families = TRACKS["one-cpu"].families
    return [
        PlayedEpisode(
            family=families[i % 4],
            load="",
            seed=i,
            turnaround=float(np.exp(-0.2 * (i % 4) + shift + 0.1 * rng.normal())),
            latency=1.0,
        )
        for i in range(nr)
    ]


def test_episodes_that_were_chosen_are_found_and_luck_is_not():
    rng = np.random.default_rng(1)
    assert "were chosen" in running._too_good(episodes(rng, -0.15), episodes(rng, 0.0))
    problems = [running._too_good(episodes(rng, 0.0), episodes(rng, 0.0)) for _ in range(1000)]
    assert sum(map(bool, problems)) <= 6  # one is expected; more than 6 come once in 10,000 times
    assert running._too_good(episodes(rng, 0.3), episodes(rng, 0.0)) == ""  # whoever claims less may


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no entry of SchedBench"),
        ("[]", "expected an object"),
        ('{"version": 1}', "Field required"),
        ('{"version": 9}', "version 9"),
    ],
)
def test_what_is_no_entry_is_refused(tmp_path, text, message):
    path = tmp_path / "entry.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        load_entry(path)


def test_other_versions_and_days_before_are_refused(made, tmp_path):
    def older(content):
        content["benchmark_sha256"] = "0" * 64

    with pytest.raises(BenchError, match="is of SchedBench 1"):
        verify(changed(made, tmp_path, older), TOMORROW)
    with pytest.raises(UsageError, match="was public before"):
        verify(made, date(2020, 1, 1))
    with pytest.raises(BenchError, match="can't be read"):
        verify(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("name", "track"), [("nobody", "one-cpu"), ("las", "two-cpus"), ("las:x=1", "one-cpu")]
)
def test_what_can_not_compete_is_refused(name, track):
    with pytest.raises(UsageError):
        run(name, track, seed=1, episodes=NR)
