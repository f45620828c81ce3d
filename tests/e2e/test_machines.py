"""A comparison on two machines at once: two servers, each of which sees an /etc/machine-id of its own."""

import functools
import json
import os
import signal
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.servers import as_another_machine, serving

from schedtuna.backend.agent_client import AgentClient
from schedtuna.backend.places.registry import make_place
from schedtuna.experiment.campaign import Question, open_campaign
from schedtuna.experiment.compare import compare
from schedtuna.workload.spec import RunSpec, Workload

pytest.importorskip("fastapi")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount namespace for each server")


def tokens_of(folder):
    """A file of tokens for all servers, and one with the client's token."""
    done = run_schedtuna("serve", "--token-file", folder / "clients.toml", "--add-client", "me:admin")
    assert done.returncode == 0, done.stderr
    (folder / "token").write_text(done.stdout)
    return folder / "clients.toml", folder / "token"


@pytest.fixture
def machines(tmp_path):
    """Two servers with the same tokens, and where the client's is."""
    clients, token = tokens_of(tmp_path)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    a, b = (serving(folder, "--token-file", clients, before=as_another_machine(folder)) for folder in folders)
    with a as first, b as second:
        yield first, second, token


def asked(*servers):
    return ",".join(server.url for server in servers)


def environment(tmp_path):
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}


def blocks_of(folder):
    """Of each block its machines and arms, from the log."""
    rows = [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_text().splitlines()[1:]]
    found = defaultdict(list)
    for row in rows:
        found[row["block"]].append((row["machine"], row["arm"]))
    return [({machine for machine, _ in runs}, {arm for _, arm in runs}) for runs in found.values()]


@needs_root
def test_blocks_are_spread_and_never_mixed(machines, tmp_path):
    first, second, token = machines
    done = run_schedtuna(
        *("compare", "--backend", asked(first, second), "--token-file", token, "default", "fair:nice=1"),
        *("--budget", "12", "--seed", "3", "--results", tmp_path / "results", "--json"),
        *("--", "sh", "-c", "sleep 0.2"),
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    blocks = blocks_of(told["study"])
    assert all(len(where) == 1 and len(arms) == 3 for where, arms in blocks)
    assert len(set.union(*(where for where, _ in blocks))) == 2
    assert any(note.startswith("By machine: ") for note in told["notes"])
    for server in (first, second):
        assert server.ask("GET", "/metrics", token=token.read_text().strip())[0] == 200
    again = run_schedtuna(
        *("compare", "--backend", asked(second, first), "--token-file", token, "default", "fair:nice=1"),
        *("--budget", "12", "--resume", told["study"], "--json", "--", "sh", "-c", "sleep 0.2"),
        env=environment(tmp_path),
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["effect"] == told["effect"]


@needs_root
def test_one_that_dies_leaves_the_other_going(machines, tmp_path, monkeypatch):
    first, second, token = machines
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    impatient = functools.partial(AgentClient, patience_s=2)
    monkeypatch.setattr("schedtuna.backend.places.remote.AgentClient", impatient)
    place = make_place(asked(first, second), {"token_file": token})
    workload = Workload(argv=("sleep", "0.3"))
    from schedtuna.workload.metrics import parse_metric

    spec = RunSpec(workload=workload, metrics=(parse_metric("wall_time_s", workload),), seed=3)
    sides = [(place, place.scheduler("default")), (place, place.scheduler("fair:nice=1"))]
    runs = []

    def kill_once(event):
        runs.append(event.record.machine)
        if len(set(runs)) == 2 and second.process.poll() is None:
            second.process.send_signal(signal.SIGKILL)

    with open_campaign(Question("compare", sides), spec, results=tmp_path) as campaign:
        found = compare(campaign.spec, *campaign.sides, log=campaign.log, budget=18, on_event=kill_once)
        warnings = campaign.warnings
    blocks = blocks_of(campaign.folder)
    assert all(len(where) == 1 and len(arms) == 3 for where, arms in blocks)
    assert found.nr_runs == 3 * len(blocks)
    assert any(" was lost in block " in text and "do not count" in text for text in warnings)
    assert not [one for one in threading.enumerate() if one.name.startswith("schedtuna-")]


@needs_root
def test_one_machine_under_two_addresses_is_refused(tmp_path):
    clients, token = tokens_of(tmp_path)
    (tmp_path / "b").mkdir()
    with (
        serving(tmp_path, "--token-file", clients) as first,
        serving(tmp_path / "b", "--token-file", clients) as second,
    ):
        done = run_schedtuna(
            *("compare", "--backend", asked(first, second), "--token-file", token, "default"),
            *("fair:nice=1", "--budget", "12", "--results", tmp_path, "--", "true"),
            env=environment(tmp_path),
        )
        assert done.returncode == 2, done.stderr
        assert "are one machine" in done.stderr
        refused = run_schedtuna(
            *("compare", "--backend", asked(first, second), "--backend", "host", "default"),
            *("--token-file", token, "--results", tmp_path, "--", "true"),
            env=environment(tmp_path),
        )
        assert refused.returncode == 2, refused.stderr
        assert "hint:" in refused.stderr


def test_how_runs_vary_is_told_of_each_machine_and_how_they_differ(tmp_path):
    """Two servers of one machine will do: nothing is pooled, and no two runs are made at once."""
    clients, token = tokens_of(tmp_path)
    (tmp_path / "b").mkdir()
    with (
        serving(tmp_path, "--token-file", clients) as first,
        serving(tmp_path / "b", "--token-file", clients) as second,
    ):
        command = (
            *("variability", "--backend", asked(first, second), "--token-file", token, "--seed", "3"),
            *("--metric", "score:max=regex:score ([0-9]+)"),
        )
        printing = ("--", "sh", "-c", "echo score $((SCHEDTUNA_SEED % 90 + 10))")
        done = run_schedtuna(
            *(*command, "-n", "3", "--results", tmp_path / "results", "--json", *printing),
            env=environment(tmp_path),
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        scores = [machine["metrics"]["score"]["mean"] for machine in told["machines"]]
        assert scores[0] == scores[1]  # one seed a round
        (score,) = (one for one in told["differences"] if one["metric"] == "score")
        assert (score["rounds"], score["mean_ratio"]) == (3, 1.0)
        more = run_schedtuna(
            *(*command, "-n", "4", "--resume", told["study"], *printing), env=environment(tmp_path)
        )
        assert more.returncode == 0, more.stderr
        assert " against " in more.stdout
        assert more.stdout.count(": 4 runs, 0 failed") == 2
        refused = run_schedtuna(
            *(*command, "-n", "4", "--against", told["files"]["summary"], *printing),
            env=environment(tmp_path),
        )
        assert refused.returncode == 2
        assert "--against shows one machine" in refused.stderr
