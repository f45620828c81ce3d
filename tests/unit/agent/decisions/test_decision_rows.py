"""Rows of decisions: what can't be is refused, what is written comes back, within a cap, at a told rate."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from schedtuna.agent.decisions.log import MOST_MB_PER_H, open_decisions, read_decision_rows
from schedtuna.agent.decisions.rows import (
    DECISION,
    LEFT_OUT,
    OUTCOME,
    DecisionRow,
    OutcomeRow,
    decision_fields,
    decision_of,
    outcome_fields,
    outcome_of,
)
from schedtuna.errors import EvidenceError


def decision(**values):
    given = {
        "id": "1",
        "time_ns": 5,
        "policy": "swap",
        "version": "v1",
        "arms": ("default", "scx_simple"),
        "propensities": (0.95, 0.05),
        "action": "scx_simple",
        "features": {"cpu_percent": 90.0},
        "kernel_action": "default",
    }
    return DecisionRow(**{**given, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"propensities": (0.9, 0.2)}, "sum to"),
        ({"propensities": (1.0,)}, "1 propensities for 2 arms"),
        ({"propensities": (1.0, 0.0)}, "never does"),
        ({"propensities": (float("nan"), 0.5)}, "from 0 to 1"),
        ({"action": "scx_rusty"}, "expected one of"),
        ({"arms": ("scx_simple", "scx_simple")}, "expected one of"),
        ({"features": {"cpu_percent": float("inf")}}, "cpu_percent is inf"),
        ({"id": ""}, "an id"),
    ],
)
def test_what_can_be_no_decision_is_refused(values, said):
    with pytest.raises(EvidenceError, match=said):
        decision(**values)


def test_an_unknown_outcome_says_why():
    with pytest.raises(EvidenceError, match="reason"):
        OutcomeRow("1", 5, None)
    with pytest.raises(EvidenceError, match="finite"):
        OutcomeRow("1", 5, float("nan"))


def test_rows_come_back_as_they_were():
    for row in (decision(), decision(propensities=None, kernel_action=None, subject="thread:1:2")):
        assert decision_of(decision_fields(row)) == row
    for row in (OutcomeRow("1", 5, 0.5, {"turnaround": 0.5}), OutcomeRow("1", 5, None, unknown="no load")):
        assert outcome_of(outcome_fields(row)) == row


@pytest.mark.parametrize("name", ["arms", "propensities", "features", "time_ns", "id"])
def test_a_damaged_row_is_an_error_of_ours(name):
    fields = decision_fields(decision())
    for value in (7, "x", [[]], {"a": "b"}, 1e400):
        if (name, value) in (("time_ns", 7), ("id", 7), ("id", "x")):
            continue
        try:
            assert decision_of(fields | {name: value}).id
        except EvidenceError:
            continue
    del fields[name]
    with pytest.raises(EvidenceError):
        decision_of(fields)


@pytest.fixture
def log(tmp_path):
    made = open_decisions(tmp_path, most_bytes=64 << 20)
    made.rng = random.Random(1)
    yield made
    made.close()


def test_a_decision_and_its_outcome_share_an_id_that_no_other_run_gives(log, tmp_path):
    log.write([decision(), OutcomeRow("1", 9, 0.5)])
    rows = list(read_decision_rows(tmp_path))
    assert [row["kind"] for row in rows] == [DECISION, OUTCOME]
    assert rows[0]["id"] == rows[1]["id"] == f"{log.run}-1"
    assert rows[0]["rate"] == 1.0


def test_what_was_not_in_force_has_no_outcome(log, tmp_path):
    log.write([decision(id="before"), OutcomeRow("before", 6, 0.1), decision(id="held")])
    log.not_in_force("guard: an off window")
    log.write([OutcomeRow("held", 9, 0.5), decision(id="after"), OutcomeRow("after", 12, 0.7)])
    outcomes = [outcome_of(row) for row in read_decision_rows(tmp_path) if row["kind"] == OUTCOME]
    assert [one.loss for one in outcomes] == [0.1, None, 0.7]
    assert outcomes[1].unknown == "it was not in force: guard: an off window"


def test_an_outcome_of_nothing_is_not_written(log, tmp_path):
    log.write([OutcomeRow("never", 9, 0.5), decision(), OutcomeRow("1", 9, 0.5), OutcomeRow("1", 9, 0.5)])
    assert [row["kind"] for row in read_decision_rows(tmp_path)] == [DECISION, OUTCOME]


def test_the_cap_holds_and_weights_by_the_rate_give_all_back(log, tmp_path):
    """Ten minutes at 200 decisions a second, some 300 MB/h, of which the second arm is a fifth."""
    now = [0.0]
    log.clock_s = lambda: now[0]
    log._began_s = 0.0
    bytes_at = []
    for number in range(120_000):
        now[0] = number / 200
        action = "scx_simple" if number % 5 == 0 else "default"
        log.write([decision(id=str(number), action=action), OutcomeRow(str(number), number, 0.5)])
        if number % 12_000 == 11_999:
            bytes_at.append(log.log.nr_bytes)
    spans = [after - before for before, after in pairwise(bytes_at)]
    assert max(spans) <= 1.02 * MOST_MB_PER_H * 1e6 / 60
    rows = [row for row in read_decision_rows(tmp_path) if row["kind"] == DECISION]
    sampled = [row for row in rows if row["rate"] < 1]
    weights = Counter()
    for row in sampled:
        weights[row["action"]] += 1 / row["rate"]
    assert weights.total() == pytest.approx(118_000, rel=0.1)  # all but those of the first seconds
    assert weights["scx_simple"] == pytest.approx(23_600, rel=0.15)
    told = sum(row["nr"] for row in read_decision_rows(tmp_path) if row["kind"] == LEFT_OUT)
    assert told == log.nr_cut > 0  # the first seconds', at a rate that was still 1
    assert log.nr_seen == 120_000
