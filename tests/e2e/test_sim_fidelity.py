"""`schedtuna sim calibrate`, `--machine` and what is certified, as a user types them."""

from __future__ import annotations

import json

import pytest

from schedtuna.cli.main import main
from schedtuna.errors import UnavailableError

try:
    from schedtuna.fidelity.loads import pure_switching
    from schedtuna.fidelity.machine_file import Constant, SimulatedMachine, write_machine
    from schedtuna.sim.native import cost_table
    from schedtuna.sim.traced import simulate
    from schedtuna.trace.folder import read_manifest
except UnavailableError as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def sim(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["sim", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def trace(tmp_path):
    """Two tasks that wake each other where a switch takes 2,100 ns and a wakeup 1,400."""
    load = pure_switching((0, 1)).simulated()
    costs = {"context_switch_ns": 2100, "wakeup_ns": 1400}
    simulate(load, cpus=2, costs=costs, duration_s=0.05, trace=tmp_path / "trace")
    return tmp_path / "trace"


def test_what_was_recorded_is_fitted_and_simulated(sim, trace):
    code, shown, _ = sim("calibrate", trace)
    assert code == 0
    rows = {line.split()[0]: line.split()[1:3] for line in shown.splitlines() if line}
    assert rows["context_switch_ns"] == ["2,100", "yes"]
    assert rows["wakeup_ns"] == ["1,400", "yes"]
    assert rows["idle_exit_ns"] == ["2,000", "no"]
    told = json.loads(sim("run", "ping-pong", "--cpus", 2, "--for", "1s", "--machine", "here", "--json")[1])
    assert told["simulation"]["costs"]["wakeup_ns"] == 1400
    options = ("--machine", "here", "--cost", "wakeup_ns=7", "--json")
    told = json.loads(sim("run", "ping-pong", "--cpus", 2, "--for", "1s", *options)[1])
    assert told["simulation"]["costs"]["wakeup_ns"] == 7


def test_a_recording_is_replayed_with_what_was_fitted_but_for_noise(sim, trace, tmp_path):
    """What other tasks did is in the recording; what `--cost` says is meant."""
    fitted = {name: initial for name, initial, *_ in cost_table()}
    fitted |= {"context_switch_ns": 2100, "wakeup_ns": 1400, "kthread_per_s": 40}
    constants = {name: Constant(value=value, is_fitted=True, source="") for name, value in fitted.items()}
    write_machine(SimulatedMachine(constants=constants), tmp_path / "machine.json")
    options = ("--scheduler", "fair", "--machine", "machine.json", "-o", "replayed")
    assert sim("replay", trace, *options)[0] == 0
    costs = read_manifest(tmp_path / "replayed")["simulation"]["costs"]
    assert (costs["context_switch_ns"], costs["wakeup_ns"], costs["kthread_per_s"]) == (2100, 1400, 0)
    assert sim("replay", trace, *options, "--force", "--cost", "kthread_per_s=7")[0] == 0
    assert read_manifest(tmp_path / "replayed")["simulation"]["costs"]["kthread_per_s"] == 7


def test_without_a_certificate_nothing_is_certified(sim):
    code, shown, _ = sim("run", "poisson", "--cpus", 2, "--for", "1s")
    assert code == 0
    last = shown.splitlines()[-1]
    assert "not certified for this machine: `schedtuna sim fidelity` has not been run" in last


def test_a_campaign_that_is_not_there_is_not_begun_by_going_on(sim, tmp_path):
    code, _, told = sim("fidelity", "--quick", "--resume", "nowhere")
    assert code == 2
    assert "nowhere holds no campaign" in told
    assert not (tmp_path / "nowhere").exists()


def test_machine_files_that_are_none_are_refused(sim, tmp_path):
    code, _, told = sim("run", "poisson", "--machine", "nowhere.json")
    assert code == 2
    assert "sim calibrate" in told
    (tmp_path / "bad.json").write_text("{}")
    code, _, told = sim("run", "poisson", "--machine", "bad.json")
    assert code == 2
    assert "bad.json is no machine file" in told


def test_a_file_is_replaced_only_if_asked(sim, trace, tmp_path):
    file = tmp_path / "machine.json"
    assert sim("calibrate", trace, "-o", file)[0] == 0
    before = file.read_bytes()
    assert sim("calibrate", trace, "-o", file)[0] == 2
    assert sim("calibrate", trace, "-o", file, "--force", "--json")[0] == 0
    assert file.read_bytes() == before


def test_calibration_needs_traces(sim, tmp_path):
    code, _, told = sim("calibrate", tmp_path)
    assert code in {1, 2}
    assert str(tmp_path) in told
