"""Runs over a Ray cluster of two nodes on this machine, whose workers and nodes die; its refusals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from schedtuna.backend.base import PlannedRun, Validity
from schedtuna.backend.places.host import Host
from schedtuna.backend.places.simulated import Simulated
from schedtuna.backend.simulated import workload_of
from schedtuna.errors import MissingExtraError, UnavailableError, UsageError
from schedtuna.experiment.triallog import read_trials
from schedtuna.fleet import cluster as fleet
from schedtuna.fleet.sameness import facts_here
from schedtuna.rl.ray_cluster import _require_reachable as require_reachable
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import RunSpec, Workload

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: tools/ray.sh has it")
DEFAULT = SchedulerConfig(name="default")
PLACE = Simulated.of(cpus=2)
WORKLOAD = workload_of("interactive:load=0.3")
SEEDS = range(100, 140)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named():
    with pytest.raises(MissingExtraError, match="'fleet'"):
        fleet.spread_over("local", [PLACE])


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:port", "head:70000"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="no address of a Ray cluster"):
        require_reachable(address)


def test_an_address_where_nothing_listens_is_told_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"no Ray cluster at {address}: Connection refused"):
            require_reachable(address)


@needs_ray
def test_runs_of_this_machine_are_not_spread():
    with pytest.raises(UsageError, match="this machine is neither"):
        fleet.spread_over("local", [Host()])


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield found
    found.shutdown()


def opened(cluster, workload=WORKLOAD, place=PLACE):
    return fleet.spread_over(cluster.address, [place])(place, RunSpec(workload=workload), [DEFAULT], ())


def comparable(trial):
    return trial.model_dump(exclude={"started_at", "duration_s", "manifest_hash"})


def made_here():
    with PLACE.open(RunSpec(workload=WORKLOAD)) as backend:
        return [comparable(backend.run(WORKLOAD, DEFAULT, seed=seed)) for seed in SEEDS]


def schedtuna(*arguments, **options):
    command = [sys.executable, "-m", "schedtuna", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def variability(folder, *arguments):
    run = ("--backend", "sim", "--cpus", "2", "--workload", "interactive:load=0.3", "--seed", "4")
    return schedtuna("variability", *run, "--results", folder, *arguments)


def trials_in(folder):
    (study,) = folder.iterdir()
    return [comparable(record.trial) for record in read_trials(study)[1]]


@needs_ray
@pytest.mark.long
def test_the_command_says_the_same_with_and_without_and_either_continues_the_other(cluster, tmp_path):
    plain, spread = tmp_path / "plain", tmp_path / "spread"
    done = variability(plain, "-n", 30)
    said = done.communicate()[0]
    other = variability(spread, "-n", 200, "--ray", cluster.address)
    while not any(spread.glob("*/trials.jsonl")) or len(trials_in(spread)) < 5:
        assert other.poll() is None, other.communicate()
        time.sleep(0.1)
    other.send_signal(signal.SIGTERM)
    told = other.communicate(timeout=60)[1]
    assert other.returncode == 130, told
    assert "--resume" in told and len(trials_in(spread)) < 200
    more = variability(spread, "-n", 30, "--resume", next(spread.iterdir()))
    table = more.communicate()[0]
    assert trials_in(spread)[:30] == trials_in(plain)
    assert table.splitlines()[:20] == said.splitlines()[:20]


@needs_ray
@pytest.mark.long
def test_workers_and_a_node_die_and_the_runs_are_those_of_this_process(cluster):
    import ray

    with opened(cluster) as backend:
        backend.foresee(PlannedRun(WORKLOAD, DEFAULT, seed) for seed in SEEDS)
        trials = []
        for number, seed in enumerate(SEEDS):
            if number == 8:  # all of them, whatever they are at
                for hired in list(backend._hired.values()):
                    ray.kill(hired.actor)
            if number == 20:
                cluster.remove_node(next(iter(cluster.worker_nodes)))
            trials.append(comparable(backend.run(WORKLOAD, DEFAULT, seed=seed)))
            assert backend._dispatch.nr_held <= 2 * 2 * 32 + 1
        assert trials == made_here()
        assert any("died" in text and "made anew" in text for text in backend.warnings)
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)


@needs_ray
@pytest.mark.long
def test_a_worker_that_would_make_other_runs_is_refused(cluster, monkeypatch):
    def older(*asked):
        facts = facts_here(*asked)
        return replace(facts, versions={**facts.versions, "numpy": "1.0"})

    monkeypatch.setattr("schedtuna.fleet.cluster.facts_here", older)
    told = r"would not make the same runs: numpy is [\d.]+ there, and 1\.0 here"
    with opened(cluster) as backend, pytest.raises(UnavailableError, match=told):
        backend.run(WORKLOAD, DEFAULT, seed=1)


@needs_ray
@pytest.mark.long
def test_a_run_of_another_machine_whose_worker_died_is_interrupted_and_not_repeated(cluster, tmp_path):
    pytest.importorskip("fastapi")
    import ray
    from tests.servers import serving

    from schedtuna.backend.places.remote import Remote

    with serving(tmp_path) as server, NamedTemporaryFile() as file:
        place = Remote.of(server.url, server.token_file)
        count = Path(file.name)  # where whoever runs the server's commands can write, too
        count.chmod(0o666)
        begun = Workload(argv=("sh", "-c", f"echo begun >> {count}; sleep 3"))
        with opened(cluster, begun, place) as backend:
            assert backend.run(begun, DEFAULT, seed=1).validity is Validity.OK
            (hired,) = backend._hired.values()
            ray.get(hired.actor.__ray_ready__.remote())
            look = backend._look

            def killing():
                if count.read_text().count("begun") == 2:
                    ray.kill(hired.actor)
                look()

            backend._look = killing
            trial = backend.run(begun, DEFAULT, seed=2)
            assert trial.validity is Validity.FAILED and trial.reason.startswith("interrupted")
            backend._look = look
            assert count.read_text().count("begun") == 2
