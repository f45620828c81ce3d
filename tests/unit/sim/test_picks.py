"""Both EEVDFs, set to the state of a queue: whom do they choose, and what is told where that is wrong?"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.trace.making import pick_rows

from schedtuna.cli.main import main
from schedtuna.sim.picks import MUTANTS, native_choices, python_choices, verify_picks
from schedtuna.trace.picks import CandidateFlag, from_rows
from schedtuna.trace.writer import TraceWriter

PREV, BUDDY, GROUP = int(CandidateFlag.PREV), int(CandidateFlag.BUDDY), int(CandidateFlag.GROUP)


def at(vruntime, deadline, weight=1024, **values):
    return {"vruntime": vruntime, "deadline": deadline, "weight": weight, **values}


def chosen_by_both(*candidates):
    picks = from_rows(pick_rows([candidates]))
    [native], [python] = native_choices(picks), python_choices(picks)
    assert native == python
    return int(native)


@pytest.mark.parametrize(
    ("candidates", "wanted"),
    [
        pytest.param([at(0, 9), at(0, 8)], 1, id="the earlier deadline"),
        pytest.param([at(0, 9), at(2, 1)], 0, id="who is ahead of V has to wait"),
        pytest.param([at(0, 9), at(2, 1), at(4, 0)], 1, id="at V exactly: lag 0 is eligible"),
        pytest.param([at(0, 9), at(1, 1)], 0, id="V is 1/2: not rounded up"),
        pytest.param([at(-2, 9), at(-1, 1)], 0, id="V is -3/2: rounded down, not towards zero"),
        pytest.param([at(0, 9, 3), at(4, 1, 1021)], 0, id="V is 3.99: not rounded to the nearest"),
        pytest.param([at(0, 9, 15), at(1000, 1, 88761)], 0, id="V is near the heavy one"),
        pytest.param([at(0, 9, 88761), at(1000, 1, 15)], 0, id="and the light one is far ahead"),
        pytest.param([at(1000, 9, 88761), at(0, 10, 15)], 1, id="the heavy one is ahead, if by little"),
        pytest.param([at(0, 5), at(0, 5)], 0, id="equal deadlines: who came first"),
        pytest.param([at(0, 5, flags=PREV), at(0, 5)], 1, id="equal deadlines: not who ran before"),
        pytest.param([at(0, 4, flags=PREV), at(0, 5)], 0, id="who ran before, by its deadline"),
        pytest.param([at(0, 9, flags=PREV, vprot=1), at(0, 5)], 0, id="who ran before is protected"),
        pytest.param([at(0, 9, flags=PREV, vprot=0), at(0, 5)], 1, id="and no longer, once it had that"),
        pytest.param([at(1, 9, flags=PREV, vprot=7), at(0, 5)], 1, id="and not if it is ahead of V"),
        pytest.param([at(0, 9, vprot=7), at(0, 5)], 1, id="nobody else is"),
        pytest.param([at(0, 9, flags=BUDDY), at(0, 5)], 0, id="a buddy is preferred"),
        pytest.param([at(1, 9, flags=BUDDY), at(0, 5)], 1, id="unless it is ahead of V"),
        pytest.param(
            [at(0, 9, flags=PREV, vprot=1), at(0, 10, flags=BUDDY)], 1, id="to a protected one, too"
        ),
    ],
)
def test_hand_made_queues(candidates, wanted):
    assert chosen_by_both(*candidates) == wanted


TIMES = st.integers(-20, 20) | st.integers(-(1 << 35), 1 << 35)
CANDIDATES = st.builds(
    at,
    TIMES,
    TIMES,
    st.sampled_from([2, 3, 15, 1023, 1024, 88761, 262144]),
    vprot=TIMES,
    flags=st.sampled_from([0, 0, 0, BUDDY, 1, 2]),
)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.lists(CANDIDATES, min_size=2, max_size=40), st.booleans()), min_size=1, max_size=8)
)
def test_both_choose_the_same_whatever_the_queue_holds(drawn):
    rows = []
    for candidates, some_ran in drawn:
        # Who ran before is one at most, and so is the buddy.
        buddies = [candidate for candidate in candidates if candidate["flags"] == BUDDY]
        for candidate in buddies[1:]:
            candidate["flags"] = 0
        if some_ran:
            candidates[-1]["flags"] = PREV
        rows.append(candidates)
    picks = from_rows(pick_rows(rows))
    assert np.array_equal(native_choices(picks), python_choices(picks))
    assert picks.is_consistent().all()


def test_disagreement_is_told_by_kind():
    right = [at(0, 5), at(0, 9), at(3, 1)]
    picks = [
        right,
        [at(3, 1), at(0, 5)],  # ahead of V
        [at(0, 7), at(0, 5)],
        [at(0, 7), at(0, 9, flags=PREV, vprot=3)],
    ]
    flat = verify_picks([from_rows(pick_rows(picks))]).flat
    assert (flat.nr_picks, flat.nr_judged, flat.nr_native, flat.nr_python) == (4, 4, 1, 1)
    assert flat.misses == {"buddy": 0, "protection": 1, "ineligible": 1, "other": 1}
    assert (flat.nr_choices, flat.nr_by_chance) == (3, 1.5)
    assert not flat.agrees
    assert flat.mutants.keys() == MUTANTS.keys()
    assert flat.mutants["no eligibility"] == 2


def test_a_buddy_that_the_pick_cleared_explains_a_group():
    shown = [at(0, 5, flags=GROUP), at(5, 9, flags=GROUP | BUDDY, tid=77)]
    taken = [at(0, 9, flags=GROUP, tid=77), at(0, 5, flags=GROUP)]
    rows = pick_rows([shown, taken, taken])
    rows["level"][rows["kind"] == 1] = 1
    report = verify_picks([from_rows(rows)])
    assert report.flat.nr_picks == 0
    assert (report.groups.nr_picks, report.groups.nr_native) == (3, 1)
    assert report.groups.misses == {"buddy": 1, "protection": 0, "ineligible": 0, "other": 1}


def test_what_is_no_oracle_is_not_judged():
    rows = pick_rows([[at(0, 9), at(0, 5)], [at(0, 5), at(0, 9)], [at(0, 5)]])
    rows["sum_weight"][0] += 1
    flat = verify_picks([from_rows(rows)]).flat
    assert (flat.nr_picks, flat.nr_judged, flat.agrees) == (3, 1, True)
    far = verify_picks([from_rows(pick_rows([[at(1 << 36, 9), at(0, 5)], [at(0, 5, 1), at(0, 5)]]))]).flat
    assert (far.nr_picks, far.nr_judged) == (2, 0)


@pytest.fixture
def verify(tmp_path, capsys):
    """Verify a trace with these picks; the exit code, stdout and stderr."""

    def run(*rows, options=()):
        with TraceWriter(tmp_path / "t", {}, force=True) as writer:
            for part in rows:
                writer.write_picks(part)
        with pytest.raises(SystemExit) as ended:
            main(["sim", "verify-picks", str(tmp_path / "t"), *options])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_the_command_shows_what_agrees(verify):
    code, shown, _ = verify(pick_rows([[at(0, 5), at(0, 9), at(3, 1)]] * 3))
    assert code == 0
    assert "picks from tasks' own queues: 3, of which 3 can be judged" in shown
    lines = {line[:28].strip(): line.split()[-1] for line in shown.splitlines() if "%" in line}
    assert (lines["native rule"], lines["Python rule"]) == ("100.00%", "100.00%")
    assert lines["wrong: no eligibility"] == "0.00%"
    assert "3 had two or more eligible candidates: by chance, 50.00% of these" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_command_fails_where_a_queue_of_tasks_disagrees(verify):
    rows = pick_rows([[at(0, 5), at(0, 9)], [at(0, 9), at(0, 5)]])
    code, shown, told = verify(rows, options=["--json"])
    assert code == 1
    assert "disagree about a queue without groups" in told
    found = json.loads(shown.splitlines()[-1])
    assert (found["agrees"], found["flat"]["nr_native"], found["flat"]["misses"]["other"]) == (False, 1, 1)


def test_a_trace_without_picks_and_one_without_an_oracle_say_so(verify):
    code, _, told = verify()
    assert code == 1
    assert "has no picks" in told
    assert "schedtuna record --picks" in told
    rows = pick_rows([[at(0, 5), at(0, 9)]])
    rows["nr_queued"][0] = 9
    code, _, told = verify(rows)
    assert code == 1
    assert "no pick of a task's own queue can be judged" in told
