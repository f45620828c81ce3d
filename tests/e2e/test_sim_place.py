"""`--backend sim`: loads are tuned, compared and described as commands are."""

import json

import pytest

from schedtuna.cli.main import main

MACHINE = ("--backend", "sim", "--cpus", "1", "--workload", "poisson:load=0.8")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))

    def start(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return start


def last_object(out):
    return json.loads(out.strip().splitlines()[-1])


@pytest.mark.parametrize("command", ["tune", "compare default fair:base_slice_us=900", "variability"])
def test_a_command_is_refused_with_the_lines_that_record_and_replay_it(run, command):
    code, out, told = run(*command.split(), "--backend", "sim", "--", "hackbench", "-l", "9")
    assert (code, out) == (2, "")
    assert "schedtuna record -o trace -- hackbench -l 9" in told
    assert "--workload trace" in told


def test_tune_without_a_load_is_refused(run):
    code, _, told = run("tune", "--backend", "sim")
    assert code == 2
    assert "--workload" in told


def test_options_of_other_places_are_refused(run):
    code, _, told = run("compare", *MACHINE, "--kernel", "6.18", "default", "fair:base_slice_us=900")
    assert code == 2
    assert "--kernel needs --backend vm" in told
    code, _, told = run("variability", "--topology", "1x2x1", "--", "true")
    assert code == 2
    assert "--topology needs --backend sim" in told


def test_variability_is_that_of_the_loads_seeds(run):
    first, again = (
        last_object(run("variability", *MACHINE, "--runs", 4, "--seed", 3, "--json")[1]) for _ in range(2)
    )
    spread = first["metrics"]["sched.wakeup_latency_p99_us"]
    assert spread["minimum"] < spread["maximum"]
    assert first["metrics"] == again["metrics"]
    assert first["cpus"] == 1
