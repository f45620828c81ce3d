"""Settings that a command undoes, or that can't reach its work, as a user meets them."""

import json
import os
import shutil

import pytest
from tests.commands import run_schedtuna

from schedtuna.kernel.privilege import missing_capabilities

SCORE = ["-m", "score:max=regex:score ([0-9]+)"]
HERE = os.getpriority(os.PRIO_PROCESS, 0)
sees_all = pytest.mark.skipif(bool(missing_capabilities()), reason="needs CAP_BPF and CAP_PERFMON")
needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")


@pytest.fixture
def schedtuna(tmp_path):
    def run(*arguments):
        return run_schedtuna(
            *arguments,
            env={
                **os.environ,
                "SCHEDTUNA_STATE_DIR": str(tmp_path / "state"),
                "COLUMNS": "300",
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
            },
            cwd=tmp_path,
            timeout=300,
        )

    return run


@pytest.fixture
def bench(tmp_path):
    return script(tmp_path, "bench", "echo score 10$((SCHEDTUNA_SEED % 9))")


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"./{name}"


@sees_all
@needs_two
def test_compare_gives_no_verdict_on_an_affinity_that_taskset_undoes(schedtuna, bench, tmp_path):
    done = schedtuna(
        "compare", "default", "fair:affinity=cpus_1", "-n", 12, *SCORE, "--", "taskset", "-c", "0,1", bench
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "no verdict" in done.stderr
        and "`taskset -c 0,1` sets its own affinity: drop that, or the knob" in done.stderr
    )
    [log] = tmp_path.glob("results/*/trials.jsonl")
    trials = [json.loads(line)["trial"] for line in log.read_text().splitlines()[1:]]
    undone = [trial for trial in trials if trial["values"]]
    assert len(undone) == 3 and len(trials) <= 9
    assert all(trial["in_force"]["affinity"].startswith("not in force: ") for trial in undone)


@pytest.mark.parametrize("kind", ["compare", "tune"])
def test_a_client_is_refused_before_its_first_run(schedtuna, tmp_path, kind):
    """What stands in for docker would tell that it ran."""
    script(tmp_path, "docker", "touch ran; echo score 12")
    sides = ["default", f"fair:nice={HERE + 5}"] if kind == "compare" else []
    done = schedtuna(kind, *sides, *SCORE, "--", "docker", "run", "--rm", "img", "bench")
    assert (done.returncode, done.stdout) == (1, "")
    assert all(word in done.stderr for word in ("docker", "a daemon", "--pid", "--cgroup"))
    assert not (tmp_path / "ran").exists() and not (tmp_path / "results").exists()


def test_a_client_that_works_here_is_compared_with_a_warning(schedtuna, tmp_path):
    script(tmp_path, "docker", "echo score 1$((SCHEDTUNA_SEED % 9))")
    options = ["-n", 12, "--allow-client", "--json", *SCORE]
    done = schedtuna("compare", "default", f"fair:nice={HERE + 5}", *options, "--", "docker", "run", "img")
    assert done.returncode == 0, done.stderr
    assert any("--pid" in note for note in json.loads(done.stdout.splitlines()[-1])["notes"])


def test_variability_knows_the_way_out_that_it_names(schedtuna, tmp_path):
    script(tmp_path, "docker", "echo score 12")
    command = ["variability", "-n", 2, "-S", f"fair:nice={HERE + 5}", *SCORE, "--", "docker", "run", "img"]
    refused = schedtuna(*command)
    assert refused.returncode == 1 and "--allow-client" in refused.stderr
    done = schedtuna(*command[:1], "--allow-client", *command[1:])
    assert done.returncode == 0, done.stderr


@sees_all
def test_a_client_that_a_script_starts_is_told_of(schedtuna, tmp_path):
    """A task's name is its program's, so that a copy of a program is a client by name."""
    shutil.copy(shutil.which("true") or "", tmp_path / "docker")
    bench = script(tmp_path, "bench.sh", "docker; echo score 10$((SCHEDTUNA_SEED % 9))")
    options = ["-n", 12, "--json", *SCORE]
    done = schedtuna("compare", "default", f"fair:nice={HERE + 5}", *options, "--", bench)
    assert done.returncode == 0, done.stderr
    assert any("started docker" in note for note in json.loads(done.stdout.splitlines()[-1])["notes"])
    done = schedtuna("apply", f"fair:nice={HERE + 5}", "--", bench)
    assert done.returncode == 0 and "started docker" in done.stderr


@sees_all
def test_tune_says_early_what_the_command_undoes_and_claims_nothing(schedtuna, tmp_path):
    bench = script(tmp_path, "own_nice", f"renice -n {HERE} -p $$ > /dev/null; exec sh -c 'echo score 10'")
    left_out = [word for knob in others("nice") for word in ("--exclude", knob)]
    options = ["--include", "nice", *left_out, *SCORE]
    done = schedtuna("tune", "--sampler", "random", "--budget", 40, *options, "--", bench)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("start anew with --exclude nice") == 1
    assert "candidates had its settings in force: nice=" in done.stderr


def test_a_knob_that_is_left_out_is_not_tried(schedtuna, tmp_path):
    done = schedtuna("tune", "--exclude", "nicer", "--", "true")
    assert done.returncode == 2 and "nice" in done.stderr
    done = schedtuna("tune", *[word for knob in others() for word in ("--exclude", knob)], "--", "true")
    assert done.returncode == 2 and "nothing" in done.stderr


def others(*kept: str) -> list[str]:
    from schedtuna.scheduler.fair import fair

    return [name for name in fair().parameters if name not in kept]


@sees_all
@needs_two
def test_apply_says_what_the_command_undid_and_fails_where_nothing_is_in_force(schedtuna):
    pinned = ["taskset", "-c", "0,1", "sh", "-c", "exit"]
    done = schedtuna("apply", "fair:affinity=cpus_1", "--", *pinned)
    assert done.returncode == 1
    assert "`taskset -c 0,1` sets its own affinity" in done.stderr and "in force: nothing" in done.stderr
    done = schedtuna("apply", f"fair:affinity=cpus_1,nice={HERE + 5}", "--", *pinned)
    assert done.returncode == 0
    assert f"in force: nice={HERE + 5}" in done.stderr
    done = schedtuna("apply", "fair:policy=batch", "--", "sh", "-c", "exit 3")
    assert (done.returncode, done.stderr) == (3, "")


def test_apply_warns_of_a_client_and_does_not_call_it_done(schedtuna, tmp_path):
    script(tmp_path, "docker", "echo ran")
    done = schedtuna("apply", f"fair:nice={HERE + 5}", "--", "docker", "run", "img")
    assert (done.returncode, done.stdout) == (1, "ran\n")
    assert "--pid" in done.stderr and "--cgroup" in done.stderr
