"""Why: the rows of the log about a thread, and what is known of the effect."""

import os

import pytest
from tests.unit.agent.rows import intent

from schedtuna.agent.explaining import explain, tell_effect, tell_row
from schedtuna.agent.log import AgentLog, intent_row
from schedtuna.errors import UsageError

EFFECT = {"ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9, "noise_ratio": 1.05, "nr_units": 12.0}


@pytest.fixture
def log(tmp_path):
    made = AgentLog(tmp_path)
    yield made
    made.close()


def decide(log, one, **values):
    log.write("decision", **{"result": "made", "why_not": "", **intent_row(one), **values})


def test_a_change_is_found_by_its_id_its_thread_and_its_process(log, tmp_path):
    one = intent(4_000_000, tgid=4_000_001)
    decide(log, one)
    decide(log, intent(4_000_009))
    for asked in (one.id, "4000000", "4000001"):
        (row,) = explain(asked, tmp_path).rows
        assert row["id"] == one.id


def test_a_thread_that_had_the_number_before_is_not_meant(log, tmp_path):
    decide(log, intent(os.getpid(), start_time_ns=5))
    found = explain(str(os.getpid()), tmp_path)
    assert found.rows == []
    assert found.now["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


def test_the_effect_is_the_last_one_of_this_run(log, tmp_path):
    decide(log, intent(4_000_000))
    log.write("guard", facts={"effects": {"wakeup_latency_p99_us": EFFECT}})
    log.write("guard", facts={"state": "testing"})
    text = "\n".join(explain("4000000", tmp_path).lines())
    assert "do to wakeup_latency_p99_us: x0.800 (x0.700 to x0.900) in 12 pairs" in text
    assert "alike windows differ by x1.050" in text
    log.write("start")
    assert "what it gained: unknown" in "\n".join(explain("4000000", tmp_path).lines())


def test_an_unknown_effect_is_called_so():
    assert tell_effect("p99", {"ratio": None}).endswith("unknown")


def test_what_nobody_knows_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="says nothing of abcdef"):
        explain("abcdef", tmp_path)


@pytest.mark.parametrize("kind", ["decision", "undo", "yield", "gone"])
def test_every_row_can_be_told(kind):
    assert "nice of" in tell_row({"time": 1.0, "kind": kind, **intent_row(intent())})


def test_rows_are_told_without_the_marks_of_python():
    row = {
        "time": 1.0,
        "kind": "guard",
        "reason": "",
        "facts": {"state": "testing", "e": 1 / 3, "none": None},
    }
    told = tell_row(row)
    assert told.endswith("guard facts (state testing, e 0.333)")
