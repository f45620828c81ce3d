"""`agent advise`, `agent metrics` and `agent monitoring`, as they are typed."""

import json

import pytest

from schedtuna.agent.monitoring import DATA_FILES
from schedtuna.cli.main import main
from schedtuna.sim.traced import simulate

MIXED = {
    "global": {"duration": 2},
    "tasks": {
        "web": {"instance": 2, "loop": -1, "run": 400, "timer": {"ref": "unique", "period": 9000}},
        "batch": {"instance": 3, "loop": -1, "run": 100_000},
    },
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))


def run(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in argv])
    return ended.value.code, *capsys.readouterr()


def test_advice_is_told_and_as_json(tmp_path, capsys):
    simulate(MIXED, cpus=1, trace=tmp_path / "t")
    code, out, _ = run(capsys, "agent", "advise", "--on", tmp_path / "t")
    assert code == 0
    assert "set nice to 10 of batch (3)" in out
    assert "unknown" in out and "not certified" in out
    code, out, _ = run(capsys, "agent", "advise", "--on", tmp_path / "t", "--json")
    (one,) = json.loads(out)["advice"]
    assert (one["setting"], one["value"], one["threads"], one["expected"]) == ("nice", 10, {"batch": 3}, None)


def test_advice_on_what_is_no_trace_is_an_error(tmp_path, capsys):
    code, _, error = run(capsys, "agent", "advise", "--on", tmp_path)
    assert code != 0
    assert "error:" in error
    code, _, error = run(capsys, "agent", "advise", "--on", tmp_path, "--policy", "rule")
    assert code == 2
    assert "did you mean rules" in error


def test_without_a_model_the_policy_priority_says_what_to_do(tmp_path, capsys, monkeypatch):
    from schedtuna.model import shipped

    monkeypatch.setattr(shipped, "SHIPPED", {})
    monkeypatch.setattr("schedtuna.agent.policies.priority.SHIPPED", {})
    code, _, error = run(capsys, "agent", "advise", "--on", tmp_path, "--policy", "priority")
    assert code == 2
    assert "no model for priorities ships" in error and "schedtuna train" in error


def test_metrics_say_that_no_agent_runs(capsys):
    code, out, _ = run(capsys, "agent", "metrics")
    assert code == 0
    assert out.splitlines()[-1] == "schedtuna_agent_up 0"
    code, _, error = run(capsys, "agent", "metrics", "--listen", "0.0.0.0:9798")
    assert code == 2
    assert "from other machines" in error


def test_files_for_monitoring_are_written_once(tmp_path, capsys):
    code, _, _ = run(capsys, "agent", "monitoring", tmp_path / "out")
    assert code == 0
    for name, make in DATA_FILES.items():
        assert (tmp_path / "out" / name).read_text() == make()
    code, _, error = run(capsys, "agent", "monitoring", tmp_path / "out")
    assert code == 2
    assert "already exists" in error
    code, out, _ = run(capsys, "agent", "monitoring", tmp_path / "out", "--force", "--json")
    assert code == 0
    assert len(json.loads(out)["files"]) == len(DATA_FILES)
