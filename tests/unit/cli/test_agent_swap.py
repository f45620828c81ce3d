"""`schedtuna agent why swap` and `agent quarantine`, as typed."""

import json

import pytest

from schedtuna.agent.decisions.log import open_decisions
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.agent.swap.quarantine import Quarantine
from schedtuna.cli.main import main

ARMS = ("default", "scx_simple")


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path))
    return tmp_path


def typed(capsys, *argv):
    code = 0
    try:
        main([*argv])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def chosen(number, action, propensities=(0.05, 0.95)):
    seen = {"cpu_percent": 71.25, "cost of scx_simple": 0.7}
    return DecisionRow(
        id=str(number),
        time_ns=number,
        policy="swap/bandit",
        version=f"{number} outcomes",
        arms=ARMS,
        propensities=propensities,
        action=action,
        features=seen,
    )


def write(state):
    log = open_decisions(state, most_bytes=1 << 20)
    log.write([chosen(0, "default", (1.0, 0.0)), OutcomeRow("0", 1, None, {}, "the default was not seen")])
    for number in range(1, 13):
        terms = {"turnaround": 5e6, "swap": 0.01, "default_age_s": 12.0}
        cost = 0.8 if number % 2 else 0.6
        log.write([chosen(number, "scx_simple"), OutcomeRow(str(number), number, cost, terms)])
    log.write([chosen(13, "scx_simple")])
    log.close()


def test_why_swap_tells_what_was_chosen_why_and_what_it_gained(state, capsys):
    write(state)
    code, said, _ = typed(capsys, "agent", "why", "swap")
    assert code == 0
    assert "swap/bandit (after 13 outcomes) chose scx_simple with probability 0.95" in said
    assert "probabilities: default 0.05, scx_simple 0.95" in said
    assert "it saw: cpu_percent 71.25\n" in said
    assert "0.600 of the default's cost, seen 12 s before, of which 0.010 for the swap" in said
    assert "what came of it: its step is not over" in said
    assert "scx_simple: 0.700 of the default's cost, over 12 windows" in said
    # 0.6 and 0.8 in turns: half of the interval is 1.96 x 0.1045 / sqrt(12).
    assert "all 12 windows together, swaps included: 0.700 ± 0.059 of the default's cost" in said


def test_its_json_has_all_choices_of_the_run(state, capsys):
    write(state)
    _, said, _ = typed(capsys, "agent", "why", "swap", "--json")
    found = json.loads(said)
    assert len(found["choices"]) == 14
    assert found["choices"][0]["outcome"]["unknown"] == "the default was not seen"
    assert found["choices"][-1]["outcome"] is None


def test_where_nothing_was_chosen_it_says_what_would(state, capsys):
    code, _, error = typed(capsys, "agent", "why", "swap")
    assert code == 2
    assert "agent run --policy swap" in error


def test_quarantine_is_shown_and_lifted(state, capsys):
    assert typed(capsys, "agent", "quarantine")[:2] == (0, "no scheduler is in quarantine\n")
    Quarantine(state, kernel="7.3.4").add("scx_a:x=1", "abc", ops="a_1", reason="runnable task stall")
    _, said, _ = typed(capsys, "agent", "quarantine")
    assert "scx_a:x=1 (program abc) was ejected on" in said
    assert "under 7.3.4: runnable task stall" in said
    _, said, _ = typed(capsys, "agent", "quarantine", "--json")
    assert json.loads(said)[0]["name"] == "scx_a"
    code, _, error = typed(capsys, "agent", "quarantine", "--lift", "scx_b")
    assert (code, "scx_b is not in quarantine" in error) == (2, True)
    assert typed(capsys, "agent", "quarantine", "--lift", "scx_a")[1] == "scx_a may be started again\n"
    assert json.loads(typed(capsys, "agent", "quarantine", "--json")[1]) == []
