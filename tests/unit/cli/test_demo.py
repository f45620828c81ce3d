"""`schedtuna demo agent` on loads of a second: every arm runs, and nothing is left changed."""

import dataclasses
import json

import pytest

from schedtuna.agent.demo import loads
from schedtuna.cli.main import main
from schedtuna.knobs.journal import Journal


@pytest.fixture(autouse=True)
def short(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    small = {
        name: dataclasses.replace(load, seconds=2.0, skipped_s=0.2, nr_blocks=2)
        for name, load in loads.LOADS.items()
    }
    monkeypatch.setattr(loads, "LOADS", small)
    families = {
        name: dataclasses.replace(load, seconds=4.0, skipped_s=2.0, nr_blocks=2)
        for name, load in loads.FAMILIES.items()
    }
    monkeypatch.setattr(loads, "FAMILIES", families)


def run(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "agent", *argv])
    return ended.value.code, *capsys.readouterr()


def test_all_arms_are_compared_and_all_is_put_back(capsys):
    code, out, error = run(capsys, "--load", "beside", "--policy", "rules", "--seed", "1", "--json")
    assert code == 0, error
    (load,) = json.loads(out)["loads"]
    arms = {arm["arm"]: arm for arm in load["arms"]}
    assert list(arms) == ["none", "placebo", "one-liner", "rules", "oracle"]
    assert arms["none"]["acted_on"] == 0
    told = [arms[name]["acted_on"] for name in ("oracle", "one-liner", "placebo")]
    # On a machine that is busy with other things a short run may end before the agent first looks.
    assert max(told) <= 0.5 and sum(told) > 0
    assert len(load["runs"]) == 10
    assert all(one["figures"]["nr_requests"] > 0 for one in load["runs"])
    assert len(load["verdicts"]) == 2
    assert not Journal().open_records()


def test_where_nothing_can_be_gained_a_table_and_the_cost_are_told(capsys):
    code, out, error = run(capsys, "--load", "nothing", "--policy", "rules", "--blocks", "2")
    assert code == 0, error
    assert "4 runs" in error
    assert "ARM" in out and "none" in out
    assert "rules: changes nothing; " in out


def test_all_families_run_simulated_and_go_on_where_they_ended(capsys, tmp_path):
    kept = tmp_path / "runs.jsonl"
    argv = ["--families", "all", "--simulated", "--policy", "rules", "--seed", "1", "--out", str(kept)]
    code, out, error = run(capsys, *argv, "--json")
    assert code == 0, error
    told = json.loads(out)
    assert [load["load"] for load in told["loads"]] == list(loads.FAMILIES)
    assert all(arm["own_cpu_percent"] is None for load in told["loads"] for arm in load["arms"])
    whole = kept.read_text()
    kept.write_text(whole[: 2 * len(whole) // 3])
    assert json.loads(run(capsys, *argv, "--json")[1]) == told
    assert sorted(kept.read_text().splitlines()) == sorted(whole.splitlines())
    code, _, error = run(capsys, *argv[:-4], "--seed", "2", "--out", str(kept))
    assert code == 1 and "--seed" in error
    assert "chain" in run(capsys, "--families", "chain", "--simulated", "--seed", "1", "--policy", "rules")[1]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--load", "besides"], "did you mean beside"),
        (["--families", "chains"], "did you mean chain"),
        (["--policy", "rule"], "did you mean rules"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(capsys, argv, told):
    code, _, error = run(capsys, *argv)
    assert code == 2
    assert told in error
