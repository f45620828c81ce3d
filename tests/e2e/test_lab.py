import json
import os
import shutil

import pytest
from tests.commands import run_schedtuna
from tests.kernel.lab_guest import lab_or_skip, schedulers_or_skip

from schedtuna.lab.build.examples import find_examples
from schedtuna.machine.labfolder import STATE_NAME, lab_directory


def schedtuna(*argv, environment=None):
    return run_schedtuna(*argv, timeout=500, env={**os.environ, **(environment or {})})


def test_without_a_lab_every_command_says_how_to_get_one(tmp_path):
    for argv in (["status"], ["run", "--", "true"]):
        done = schedtuna("lab", *argv, environment={"SCHEDTUNA_LAB_DIR": str(tmp_path / "none")})
        assert done.returncode == 3
        assert "hint: schedtuna lab setup" in done.stderr
        assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["run", "--cpus", "0", "--", "true"], 2, "--cpus"),
        (["run", "--timeout", "never", "--", "true"], 2, "not a duration"),
        (["run", "--with", "no-such-program", "--", "true"], 2, "no such program"),
        (["setup", "--kernel", "/dev/null"], 2, "not a bootable Linux image"),
        (["run", "--seed", "1", "--", "true"], 2, "need --deterministic"),
        (["run", "--deterministic", "--cpus", "5", "--", "true"], 2, "1 to 4 CPUs"),
        (["run", "--deterministic", "--", "./absent"], 2, "command not found"),
        (["run", "--deterministic", "--scheduler", "scx_absent", "--", "true"], 2, "unknown scheduler"),
    ],
)
def test_bad_requests_are_refused(tmp_path, argv, code, message):
    lab_or_skip()
    done = schedtuna("lab", *argv)
    assert done.returncode == code, done.stderr
    assert message in done.stderr


def test_a_command_runs_in_a_guest_and_its_results_come_back(tmp_path):
    lab = lab_or_skip()
    (tmp_path / "job").write_text("#!/bin/sh\nuname -r > release\necho done\nexit 5\n")
    (tmp_path / "job").chmod(0o755)
    done = schedtuna("lab", "run", "--json", "--cpus", "1", "--share", str(tmp_path), "--", "./job")
    assert done.returncode == 5, done.stderr
    result = json.loads(done.stdout)
    assert (result["exit_code"], result["stdout"]) == (5, "done\n")
    assert (tmp_path / "release").read_text() == f"{lab.default_kernel}\n"


def test_two_deterministic_runs_have_one_hash(tmp_path):
    lab_or_skip()
    shutil.copyfile(lab_directory() / STATE_NAME, tmp_path / STATE_NAME)  # so that snapshots are kept there
    own = {"SCHEDTUNA_LAB_DIR": str(tmp_path)}
    argv = [
        "lab",
        "run",
        "--deterministic",
        "--seed",
        "3",
        "--",
        "sh",
        "-c",
        "echo done; cat /proc/uptime; exit 5",
    ]
    first = schedtuna(*argv, environment=own)
    assert first.returncode == 5, first.stderr
    assert first.stdout.startswith("done\n")
    for word in ("hash ", "context switches", "limit: ", lab_or_skip().qemu.version):
        assert word in first.stderr
    argv[4:5] = ["3", "--json"]
    result = json.loads(schedtuna(*argv, environment=own).stdout)
    assert f"hash {result['hash']}" in first.stderr
    assert result["stdout"] == first.stdout
    argv[5:6] = ["--json", "--runs", "3", "-m", "up:min=regex:([0-9.]+)"]
    several = json.loads(schedtuna(*argv, environment=own).stdout)
    assert [run["seed"] for run in several["runs"]] == [3, 4, 5]
    assert len({run["hash"] for run in several["runs"]} - {result["hash"]}) == 2
    assert several["distribution"] == {}  # they all failed
    shutil.rmtree(tmp_path / "snapshots")


@pytest.mark.long
def test_an_example_that_the_lab_built_is_in_charge_of_a_deterministic_run(tmp_path):
    lab = lab_or_skip()
    name = next(iter(find_examples(lab.kernel())), None)
    if name is None:
        pytest.skip("no example schedulers: `schedtuna lab setup --schedulers`")
    shutil.copyfile(lab_directory() / STATE_NAME, tmp_path / STATE_NAME)
    own = {"SCHEDTUNA_LAB_DIR": str(tmp_path), "SCHEDTUNA_SCX_PATH": "", "PATH": "/usr/bin:/bin"}
    argv = ["lab", "run", "--deterministic", "--scheduler", name, "--json", "--"]
    done = schedtuna(*argv, "cat", "/sys/kernel/sched_ext/root/ops", environment=own)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stdout"].startswith(name.removeprefix("scx_"))
    shutil.rmtree(tmp_path / "snapshots")


def test_the_status_names_kernel_and_qemu():
    lab = lab_or_skip()
    done = schedtuna("lab", "status", "--json")
    status = json.loads(done.stdout)
    assert status["default_kernel"] == lab.default_kernel
    assert status["bytes"] > 1e6


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["compare", "--kernel", "6.18", "default", "fair"], 2, "--kernel needs --backend vm"),
        (["compare", "--kernel", "6.18", "--kernel", "7.2"], 2, "--kernel needs --backend vm"),
        (["compare", "--kernel", "6.18", "--kernel", "7.2", "fair"], 2, "--kernel needs --backend vm"),
        (["tune", "--cpus", "4"], 2, "--cpus needs --backend vm"),
        (["tune", "--backend", "vm", "--include", "cpuset"], 2, "--include names knobs of this machine"),
        (["compare", "--backend", "vm", "--scope", "machine", "default", "fair"], 2, "not scope machine"),
        (["compare", "--backend", "vm", "default", "scx_absent"], 2, "unknown scheduler"),
        (["tune", "--backend", "vm", "--scheduler", "scx_simple"], 3, "the lab is not set up"),
        (["tune", "--backend", "vm", "--scheduler", "fair"], 3, "nothing of fair can be tuned"),
        (["compare", "--backend", "vm", "default", "fair"], 3, "the lab is not set up"),
    ],
)
def test_runs_in_guests_that_can_not_be_made_say_why(tmp_path, argv, code, message):
    nothing = {"SCHEDTUNA_LAB_DIR": str(tmp_path / "none"), "SCHEDTUNA_SCX_PATH": "", "PATH": "/usr/bin:/bin"}
    results = ["--results", str(tmp_path / "results")]
    done = schedtuna(*argv, *results, "--", "hackbench", environment=nothing)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert not list((tmp_path / "results").glob("*"))


def test_what_guests_measure_is_described(tmp_path):
    lab_or_skip()
    options = [
        "-n",
        "2",
        "--backend",
        "vm",
        "--cpus",
        "1",
        "--seed",
        "1",
        "--json",
        "--results",
        str(tmp_path),
    ]
    done = schedtuna("variability", *options, "--", "hackbench", "-g", "1", "-l", "5")
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert (described["runs"], described["cpus"]) == ({"ok": 2, "failed": 0}, 1)
    assert described["metrics"]["time_s"]["mean"] > 0


def test_the_suite_runs_in_guests_its_own_program_included():
    lab_or_skip()
    options = ["--backend", "vm", "--seed", "1", "--json"]
    done = schedtuna("suite", "run", "context-switches", "short-bursts", *options)
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["workload"] for run in runs] == ["context-switches", "short-bursts"]
    assert all(run["metrics"][run["metric"]] > 0 for run in runs)


@pytest.mark.long
def test_two_schedulers_are_compared_in_a_guest(tmp_path):
    (name,) = schedulers_or_skip(lab_or_skip(), 1)
    options = ["--backend", "vm", "--budget", "12", "--seed", "1", "--json", "--results", str(tmp_path)]
    done = schedtuna("compare", *options, "default", name, "--", "hackbench", "-g", "1", "-l", "20")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] == 12
    (folder,) = tmp_path.iterdir()
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert {row["trial"]["scheduler"] for row in trials if "trial" in row} == {"default", name}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--kernel", "6.0", "--kernel", "6.1"], "kernel 6.0 is not in the lab"),
        (["--kernel", "{have}", "--kernel", "{have}"], "expected different places"),
    ],
)
def test_two_kernels_that_can_not_be_compared_say_why(tmp_path, argv, message):
    have = lab_or_skip().default_kernel
    options = [word.format(have=have) for word in argv]
    done = schedtuna("compare", "--backend", "vm", *options, "--results", str(tmp_path), "--", "hackbench")
    assert done.returncode in {2, 3}
    assert message in done.stderr


@pytest.mark.long
def test_two_kernels_are_compared_under_one_scheduler(tmp_path):
    kernels = sorted(lab_or_skip().kernels)[:2]
    if len(kernels) < 2:
        pytest.skip("the lab has one kernel: `schedtuna lab setup --kernel VERSION` adds another")
    options = ["--backend", "vm", "--budget", "12", "--seed", "1", "--json", "--results", str(tmp_path)]
    both = [word for kernel in kernels for word in ("--kernel", kernel)]
    job = "grep -c {} /proc/version"
    done = schedtuna(
        "compare", *options, *both, "--shell", "--", job.format(kernels[1].split("-")[0]) + "; true"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["default"], result["candidate"]) == tuple(f"default on {kernel}" for kernel in kernels)
    assert result["trials"] == 12
