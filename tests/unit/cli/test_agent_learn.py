"""`agent learn` and `agent versions`, as they are typed, on draws that were logged."""

import json

import pytest
from tests.unit.agent.decisions.test_learning import history, idle_pays

from schedtuna.agent.decisions.log import open_decisions
from schedtuna.agent.decisions.rows import OutcomeRow
from schedtuna.agent.policies.migrate import MigratePolicy
from schedtuna.agent.policies.registry import make_policy
from schedtuna.cli.main import main
from schedtuna.model.shipped import find_model


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path))
    return tmp_path


def run(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in argv])
    return ended.value.code, *capsys.readouterr()


def logged(folder, made):
    log = open_decisions(folder, most_bytes=64 << 20, most_mb_per_h=10_000)
    for one in made.decisions:
        log.write([one.row, OutcomeRow(one.row.id, one.row.time_ns + 1, one.loss)])
    log.close()


def test_a_model_is_learned_and_listed_and_in_charge(capsys, state):
    code, out, _ = run(capsys, "agent", "versions")
    assert code == 0 and f"{find_model('migration').version}, which comes along" in out
    logged(state, history(3000, idle_pays))
    code, out, _ = run(capsys, "agent", "learn")
    assert code == 0 and "replaces" in out and "a gain is shown" in out
    found = json.loads(run(capsys, "agent", "versions", "--json")[1].splitlines()[-1])
    (row,) = found["versions"]
    assert row["passed"] and found["in_charge"] == row["version"]
    code, out, _ = run(capsys, "agent", "evaluate", "--policy", "migrate", "--policy", "always:stay")
    assert code == 0 and f"migrate:migration/{row['version']}" in out
    policy = make_policy("migrate")
    assert isinstance(policy, MigratePolicy) and policy.service.draws.version == row["version"]


def test_what_can_not_be_learned_from_is_an_error(capsys, state):
    code, _, error = run(capsys, "agent", "learn", "--json")
    assert code == 1 and "no decision among arms of migrate is logged" in error
    logged(state, history(60, idle_pays))
    code, _, error = run(capsys, "agent", "learn")
    assert code == 1 and "200 are needed" in error
