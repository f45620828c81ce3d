"""`schedtuna compare` as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.cli.main import main
from schedtuna.experiment.triallog import LOG_NAME, read_trials
from schedtuna.workload.metrics import parse_metric

SCHEDTUNA = [sys.executable, "-m", "schedtuna"]
AS_NOBODY_SPECIAL = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]

# A command that sees its nice value: 5 is worth 10%, and its pid is noise of 0.2%.
TOLD = ["--metric", "score:DIRECTION=regex:score ([0-9]+)", "--shell", "--"]
TELL = "echo score $(( 1000 + 20 * $(nice) + $$ % 7 ))"
HERE = os.getpriority(os.PRIO_PROCESS, 0)
FIVE_MORE = f"fair:nice={HERE + 5}"


def told(direction: str) -> list[str]:
    return [word.replace("DIRECTION", direction) for word in TOLD] + [TELL]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(folder / "state"), "COLUMNS": "200"}


def start(folder: Path, *arguments: str, wrapper=()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*wrapper, *SCHEDTUNA, *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str, wrapper=()) -> subprocess.CompletedProcess[str]:
    if not wrapper:
        return run_schedtuna(*arguments, cwd=folder, env=environment(folder))
    process = start(folder, *arguments, wrapper=wrapper)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def held(folder: Path, runs: int) -> list[str]:
    """A command whose run after this many waits for release(), so that a study can be met half-way."""
    (folder / "held").write_text("")
    script = f"echo run >> held; test $(wc -l < held) -le {runs} || test -e released || sleep 60"
    return ["--", "sh", "-c", script]


def release(folder: Path) -> None:
    (folder / "released").touch()


def results(folder: Path) -> list[Path]:
    return sorted((folder / "results").glob("compare_*"))


def wait_for_trials(folder: Path, count: int) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for log in folder.glob(f"**/{LOG_NAME}"):
            if log.read_bytes().count(b"\n") > count:
                return log.parent
        time.sleep(0.02)
    raise AssertionError("no trial was logged")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in this process: as in one of its own, but sooner."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        code: object = 0
        try:
            main([*arguments])
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return call


def test_a_loss_is_found_and_fails_a_gate(tmp_path):
    done = run(tmp_path, "compare", "default", FIVE_MORE, "--fail-on", "worse", "--json", *told("min"))
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["verdict"] == "worse"
    low, high = found["effect"]["ci95"]
    truth = (1000 + 20 * (HERE + 5)) / (1000 + 20 * HERE)
    assert low - 0.005 < truth < high + 0.005
    assert found["effect"]["pairs"] * 3 <= found["trials"] <= 81
    assert found["runs"] == {"search": 0, "confirmation": found["trials"]}
    assert (found["metric"], found["direction"], found["scheduler"]) == ("score", "min", "fair")
    assert (tmp_path / found["report"]).stat().st_size > 1000
    folder = tmp_path / found["study"]
    assert json.loads((folder / "comparison.json").read_text())["verdict"] == "worse"
    assert json.loads((folder / "manifest.json").read_text())["seed"] == found["seed"]


def test_a_gain_is_found_and_passes_a_gate(tmp_path):
    (tmp_path / "b.yaml").write_text(f"scheduler: fair\nparameters: {{nice: {HERE + 5}}}\n")
    options = ("--fail-on", "not-improved", "--require", "score>=1")
    done = run(tmp_path, "compare", "default", "b.yaml", *options, *told("max"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "required: score>=1 is kept (median " in done.stdout
    assert done.stdout.startswith("improved: score +")
    assert f"with {FIVE_MORE} against default." in done.stdout
    assert "default again" in done.stdout
    assert "judged after" in done.stderr


def test_a_gain_that_breaks_a_requirement_is_none(command):
    done = command("compare", "default", FIVE_MORE, "--require", "score<=1000", *told("max"))
    assert done.returncode == 0
    assert "against default; score<=1000 is missed (median " in done.stdout


def test_the_gate_for_a_gain_fails_without_one(command):
    never = ["--metric", "score:max=regex:score ([0-9]+)", "--", "echo", "score 5"]  # true runs do, by chance
    done = command("compare", "default", "default", "--budget", "12", "--fail-on", "not-improved", *never)
    assert done.returncode == 1
    assert "Both sides are the same" in done.stdout


def test_a_seed_repeats_orders_and_workload_seeds(tmp_path, command):
    for name in ("one", "two"):
        arguments = ["--budget", "12", "--seed", "9", "--results", name, "--", "true"]
        assert command("compare", "default", "fair:nice=3", *arguments).returncode == 0
    one, two = (
        [(r.arm, r.trial.seed) for r in read_trials(next((tmp_path / name).iterdir()))[1]]
        for name in ("one", "two")
    )
    assert one[: len(two)] == two[: len(one)]
    assert len(one) >= 12


def test_ctrl_c_keeps_the_runs_and_resume_finishes_the_same_plan(tmp_path):
    arguments = ["compare", "default", "fair:nice=3", "--budget", "12", *held(tmp_path, 5)]
    process = start(tmp_path, *arguments)
    folder = wait_for_trials(tmp_path, 5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"--resume results/{folder.name}" in stderr
    kept = read_trials(folder)[1]
    assert len(kept) == 5
    assert (tmp_path / "state" / "journal.jsonl").read_bytes() == b""
    release(tmp_path)
    done = run(tmp_path, *arguments[:3], "--resume", str(folder), *arguments[3:])
    assert done.returncode == 0, done.stderr
    finished = read_trials(folder)[1]
    assert len(finished) == 12
    assert finished[: len(kept)] == kept


def test_kill_9_loses_no_run(tmp_path):
    arguments = ["compare", "default", "fair:nice=3", "--budget", "12", *held(tmp_path, 4)]
    process = start(tmp_path, *arguments)
    folder = wait_for_trials(tmp_path, 4)
    process.kill()
    process.communicate()
    kept = read_trials(folder)[1]
    release(tmp_path)
    done = run(tmp_path, *arguments[:3], "--resume", str(folder), *arguments[3:])
    assert done.returncode == 0, done.stderr
    finished = read_trials(folder)[1]
    assert (len(kept), len(finished)) == (4, 12)
    assert finished[:4] == kept


def test_termination_restores_a_running_service(tmp_path):
    service = subprocess.Popen(["sleep", "60"])
    before = os.getpriority(os.PRIO_PROCESS, service.pid)
    try:
        process = start(
            tmp_path,
            *("compare", f"fair:nice={before + 1}", f"fair:nice={before + 2}", "--pid", str(service.pid)),
            *held(tmp_path, 2),
        )
        wait_for_trials(tmp_path, 2)
        deadline = time.monotonic() + 60
        while os.getpriority(os.PRIO_PROCESS, service.pid) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        assert os.getpriority(os.PRIO_PROCESS, service.pid) in {before + 1, before + 2}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert os.getpriority(os.PRIO_PROCESS, service.pid) == before
    finally:
        service.kill()
        service.wait()


def test_a_folder_in_use_and_a_folder_of_another_command_are_refused(tmp_path):
    arguments = ["compare", "default", "fair:nice=3", "--budget", "12"]
    command = held(tmp_path, 1)
    process = start(tmp_path, *arguments, *command)
    folder = wait_for_trials(tmp_path, 1)
    resumed = [*arguments[:3], "--resume", str(folder), *arguments[3:]]
    busy = run(tmp_path, *resumed, *command)
    assert (busy.returncode, f"in use by process {process.pid}" in busy.stderr) == (1, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    other = run(tmp_path, *resumed, "--", "true")
    assert other.returncode == 1
    assert "another workload" in other.stderr


def test_a_rebuilt_program_is_another_one(tmp_path, command):
    program = tmp_path / "bench"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    arguments = ["compare", "default", "fair:nice=3", "--budget", "12"]
    assert command(*arguments, "--", "./bench").returncode == 0
    (folder,) = results(tmp_path)
    again = ["--resume", str(folder), "--", "./bench"]
    assert command(*arguments, *again).returncode == 0
    program.write_text("#!/bin/sh\ntrue\n")
    done = command(*arguments, *again)
    assert (done.returncode, "another program" in done.stderr) == (1, True)


def test_logs_that_can_not_be_continued(tmp_path, command):
    arguments = ["compare", "default", "fair:nice=3", "--budget", "12", "--", "true"]
    assert command(*arguments).returncode == 0
    (folder,) = results(tmp_path)
    log, resume = folder / LOG_NAME, ["--resume", str(folder)]
    whole = log.read_text()

    log.write_text(whole[:-20])
    torn = command(*arguments[:3], *resume, *arguments[3:])
    assert torn.returncode == 0
    assert "was unfinished" in torn.stderr
    assert len(read_trials(folder)[1]) == 12

    log.write_text(whole.replace('"version": 2', '"version": 3', 1))
    newer = command(*arguments[:3], *resume, *arguments[3:])
    assert (newer.returncode, "version 3" in newer.stderr) == (1, True)

    log.write_text(whole.replace('"index":3', '"index":x', 1))
    damaged = command(*arguments[:3], *resume, *arguments[3:])
    assert (damaged.returncode, "line 5 is damaged" in damaged.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["default", "fare", "--", "true"], 2, "did you mean fair?"),
        (["default", "fair:slice_u=3", "--", "true"], 2, "did you mean"),
        (["default", "fair:nice=99", "--", "true"], 2, "out of bounds"),
        (["default", "fair:nice=3", "--scope", "machine", "--", "true"], 2, "can't be set in scope machine"),
        (["default", "fair:nice=x", "--", "true"], 2, "expected a"),
        (["default", "broken.yaml", "--", "true"], 2, "line 3"),
        (["default", "broken.json", "--", "true"], 2, "line 1"),
        (["default", "broken.toml", "--", "true"], 2, "line 1"),
        (["default", "missing.yaml", "--", "true"], 2, "No such file"),
        (["default", "fair:nice=3", "--budget", "0", "--", "true"], 2, "--budget: expected 1 or more"),
        (["default", "fair:nice=3", "--budget", "11", "--", "true"], 2, "expected at least 12"),
        (["default", "fair:nice=3", "--time", "0", "--", "true"], 2, "more than 0 seconds"),
        (["default", "fair:nice=3", "--timeout", "9" * 400 + "h", "--", "true"], 2, "less than a year"),
        (["default", "fair:nice=3", "--time", "soon", "--", "true"], 2, "not a duration"),
        (["default", "fair:nice=3", "--time", "1s", "--", "sleep", "0.5"], 2, "can't carry a comparison"),
        (["default", "fair:nice=3", "--delta", "0", "--", "true"], 2, "between 0 and 1"),
        (["default", "fair:nice=3", "--metric", "a b", "--", "true"], 2, "is not a metric"),
        (["default", "fair:nice=3", "--metric", "rps:up", "--", "true"], 2, "min or max"),
        (["default", "fair:nice=3", "--require", "rps", "--", "true"], 2, "is not a requirement"),
        (["default", "fair:nice=3", "--scope", "pid", "--", "true"], 2, "--pid"),
        (["default", "fair:nice=3", "--scope", "tree", "--pid", "1", "--", "true"], 2, "contradict"),
        (["default", "fair:nice=3", "--user", "no-such-user", "--", "true"], 2, "unknown user"),
        (["default", "fair:nice=3"], 2, "COMMAND"),
        (["default", "fair:nice=3", "--", "no-such-tool"], 1, "command not found: no-such-tool"),
        (["default", "fair:nice=3", "--", "false"], 1, "exited with code 1"),
        (["default", "fair:nice=3", "--timeout", "100ms", "--", "sleep", "9"], 1, "its timeout"),
        (["default", "fair:nice=3", "--metric", "rps:max", "--", "true"], 1, "the command printed nothing"),
        (["default", "fair:nice=3", "--require", "rps>=1", "--", "true"], 1, "no metric rps"),
        (["default", "fair:nice=3", "--metric", "t_s:min=regex:t (.+)", "--", "echo", "t nan"], 1, "nan"),
        (["default", "fair:nice=3", "--metric", "t_s:min=regex:t (.+)", "--", "echo", "t -3"], 1, "negative"),
        (["default", "fair:nice=3", "--resume", "nowhere", "--", "true"], 1, "no readable"),
    ],
)
def test_bad_input_is_a_clear_error(tmp_path, command, arguments, code, message):
    (tmp_path / "broken.yaml").write_text("scheduler: fair\nparameters: {nice: [\n")
    (tmp_path / "broken.json").write_text('{"scheduler": "fair", }')
    (tmp_path / "broken.toml").write_text("scheduler = \n")
    done = command("compare", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


@pytest.mark.parametrize("seed", ["1", "2", "3"])  # the first run is one of either configuration
def test_a_request_that_came_to_nothing_leaves_no_folder(tmp_path, command, seed):
    command("compare", "default", "fair:nice=3", "--seed", seed, "--metric", "rps:max", "--", "true")
    command("compare", "default", "fair:nice=3", "--seed", seed, "--", "false")
    assert results(tmp_path) == []


def test_missing_privilege_has_its_own_exit_code(tmp_path):
    probe = subprocess.run([*AS_NOBODY_SPECIAL, "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("user namespaces are not to be had here")
    arguments = ["compare", "default", "fair:nice=3", "--user", "root", "--", "true"]
    done = run(tmp_path, *arguments, wrapper=AS_NOBODY_SPECIAL)
    assert done.returncode == 3, done.stderr
    assert "needs root" in done.stderr
    lower = run(tmp_path, "compare", "default", "fair:nice=-5", "--", "true", wrapper=AS_NOBODY_SPECIAL)
    assert (lower.returncode, "only root may lower nice" in lower.stderr) == (3, True), lower.stderr


def test_a_full_disk_ends_with_the_earlier_runs_intact(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        (disk / "filler").write_bytes(b"x" * 52 * 1024)
        arguments = ["compare", "default", "fair:nice=3", "--results", "disk", "--", "sleep", "0.01"]
        done = run(tmp_path, *arguments)
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        (folder,) = disk.glob("compare_*")
        kept = read_trials(folder)[1]
        assert kept
        (disk / "filler").unlink()
        resumed = [*arguments[:3], "--resume", str(folder), *arguments[5:]]
        process = start(tmp_path, *resumed)
        wait_for_trials(disk, len(kept))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert read_trials(folder)[1][: len(kept)] == kept
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unwritable_place_for_results_is_an_error(tmp_path, command):
    (tmp_path / "taken").write_text("")
    done = command("compare", "default", "fair:nice=3", "--results", "taken", "--", "true")
    assert done.returncode == 1
    assert "can't make the results folder taken" in done.stderr


def test_the_same_from_python(tmp_path):
    """What the command does, through the public names."""
    import schedtuna

    backend = schedtuna.HostBackend(metrics=[score := parse_metric("score:max=regex:score ([0-9]+)")])
    a = schedtuna.fair(include=["nice"])  # which a search may leave out
    with backend, schedtuna.TrialLog(tmp_path / "log", {"made by": "a test"}) as log:
        workload = schedtuna.Workload(argv=(TELL,), shell=True)
        found = schedtuna.compare(
            schedtuna.RunSpec(workload=workload, metrics=(score,), seed=1),
            schedtuna.Side(backend, a),
            schedtuna.Side(backend, a.with_values({"nice": HERE + 5})),
            log=log,
        )
    assert found.verdict == "improved"


def test_a_result_that_can_not_be_written_is_said_all_the_same(tmp_path):
    line = ["--budget", "12", "--seed", "3", "default", "default", "--", "true"]
    first = run(tmp_path, "compare", *line)
    (folder,) = results(tmp_path)
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    done = run(tmp_path, "compare", "--resume", str(folder), *line)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == first.stdout.splitlines()[0]
    assert "report:" not in done.stdout
    assert f"can't write {folder / 'report.html'}" in done.stderr
    assert f"--resume {folder}" in done.stderr


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_that_is_named_with_an_empty_text_is_refused(command, side):
    """As a script's variable that is not set is."""
    sides = ["default", "default"]
    sides[side] = ""
    done = command("compare", *sides, "--", "true")
    assert done.returncode == 2
    assert "unknown scheduler ''" in done.stderr
