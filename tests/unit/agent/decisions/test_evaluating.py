"""From rows of decisions to what another policy would have brought, or why nothing can be said."""

import json
import random

import pytest

from schedtuna.agent.decisions.evaluating import judge, read_history
from schedtuna.agent.decisions.judged import make_chooser
from schedtuna.agent.decisions.log import open_decisions, read_decision_rows
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow, decision_fields
from schedtuna.agent.decisions.table import read_decisions, write_decision_table
from schedtuna.errors import EvidenceError, SchedtunaError, TraceError, UsageError

ARMS = ("default", "scx_simple")
LOSSES = {"default": 1.0, "scx_simple": 0.8}  # when busy; when idle it is the other way round


def true_loss(arm, busy):
    return LOSSES[arm] if busy else 1.8 - LOSSES[arm]


def rows(count=400, *, seed=1, policy="swap/bandit", **values):
    """A policy that draws its arms with 0.8 and 0.2, on a machine that is busy in half of the steps."""
    drawn = random.Random(seed)
    made = []
    for number in range(count):
        busy = drawn.random() < 0.5
        action = drawn.choices(ARMS, (0.8, 0.2))[0]
        given = {
            "id": str(number),
            "time_ns": number,
            "policy": policy,
            "version": f"{number // 100}",
            "arms": ARMS,
            "propensities": (0.8, 0.2),
            "action": action,
            "features": {"cpu_percent": 90.0 if busy else 10.0},
            "kernel_action": "default",
        }
        loss = true_loss(action, busy) + drawn.gauss(0, 0.1)
        made += [
            DecisionRow(**{**given, **values}),
            OutcomeRow(str(number), number + 1, loss, {"wait": loss}),
        ]
    return made


def stored(folder, made):
    log = open_decisions(folder, most_bytes=32 << 20, most_mb_per_h=1000)  # all come in one moment
    log.write(made)
    log.close()
    return list(read_decision_rows(folder))


class WhenBusy:
    """The best there is."""

    name = "when busy"

    def probabilities(self, row):
        busy = row.features["cpu_percent"] > 50
        return [float(arm == ("scx_simple" if busy else "default")) for arm in row.arms]


def test_the_values_of_policies_that_were_never_run_are_found(tmp_path):
    history = read_history(stored(tmp_path, rows()))
    assert (history.policy, len(history.decisions), history.arms) == ("swap", 400, ARMS)
    assert history.versions == {"0": 100, "1": 100, "2": 100, "3": 100}
    for name, expected in (("always:scx_simple", 0.9), ("always:default", 0.9), ("uniform", 0.9)):
        found = judge(history, make_chooser(name)).estimate
        assert found.loss.low < expected < found.loss.high
    best = judge(history, WhenBusy())
    assert best.estimate.loss.low < 0.8 < best.estimate.loss.high
    assert best.estimate.change.high < 0  # shown to be better than what was done
    assert best.features == ("cpu_percent",)


def test_what_the_kernel_would_have_done_is_judged_too(tmp_path):
    history = read_history(stored(tmp_path, rows()))
    always = judge(history, make_chooser("always:default")).estimate
    assert judge(history, make_chooser("kernel")).estimate.loss == always.loss
    silent = read_history(stored(tmp_path / "other", rows(kernel_action=None)))
    with pytest.raises(EvidenceError, match="does not tell what the kernel"):
        judge(silent, make_chooser("kernel"))


def test_a_deterministic_log_is_refused(tmp_path):
    made = [
        row if isinstance(row, OutcomeRow) else DecisionRow(**{**vars(row), "propensities": certain(row)})
        for row in rows()
    ]
    with pytest.raises(EvidenceError, match="deterministic log proves nothing"):
        read_history(stored(tmp_path, made))


def certain(row):
    return tuple(float(arm == row.action) for arm in row.arms)


def test_decisions_that_were_certain_are_set_aside_and_told(tmp_path):
    made = rows()
    for place in range(0, 80, 2):
        made[place] = DecisionRow(**{**vars(made[place]), "propensities": certain(made[place])})
    history = read_history(stored(tmp_path, made))
    assert (history.nr_certain, len(history.decisions)) == (40, 360)
    assert any("40 decisions were certain" in note for note in judge(history, make_chooser("uniform")).notes)


def test_a_missing_probability_is_refused(tmp_path):
    made = rows()
    made[10] = DecisionRow(**{**vars(made[10]), "propensities": None})
    with pytest.raises(EvidenceError, match="1 of 400 decisions do not say"):
        read_history(stored(tmp_path, made))


def test_decisions_of_several_policies_are_not_mixed(tmp_path):
    made = stored(tmp_path / "1", rows()) + stored(tmp_path / "2", rows(policy="migrate", seed=2))
    with pytest.raises(EvidenceError, match="several policies are logged: migrate, swap"):
        read_history(made)
    assert len(read_history(made, "swap").decisions) == 400
    with pytest.raises(EvidenceError, match="no decision among arms of none"):
        read_history(made, "none")


def lost(made, arm, share):
    """Of an arm, a share of the outcomes becomes unknown."""
    actions = {row.id: row.action for row in made if isinstance(row, DecisionRow)}
    drawn = random.Random(3)
    return [
        OutcomeRow(row.id, row.time_ns, None, {}, "it was ejected")
        if isinstance(row, OutcomeRow) and arm in ("", actions[row.id]) and drawn.random() < share
        else row
        for row in made
    ]


def test_outcomes_that_one_arm_lacks_more_often_are_not_passed_over(tmp_path):
    history = read_history(stored(tmp_path, lost(rows(), "scx_simple", 0.4)))
    with pytest.raises(EvidenceError, match="unknown more often than of others"):
        judge(history, make_chooser("always:scx_simple"))
    found = judge(history, make_chooser("always:scx_simple"), unknown_as_worst=True)
    assert found.estimate.loss.low > 0.93  # 0.9 where all is known
    assert any("counted as the worst: it was ejected" in note for note in found.notes)


def test_outcomes_that_all_arms_lack_alike_are_left_out_and_told(tmp_path):
    history = read_history(stored(tmp_path, lost(rows(), "", 0.2)))
    found = judge(history, make_chooser("always:scx_simple"))
    assert found.estimate.loss.low < 0.9 < found.estimate.loss.high
    assert any("left out: it was ejected" in note for note in found.notes)


def test_an_id_twice_is_no_log_of_ours(tmp_path):
    made = stored(tmp_path, rows())
    with pytest.raises(EvidenceError, match="two decisions are called"):
        read_history(made + made)


def test_an_arm_that_could_not_be_drawn_is_not_judged(tmp_path):
    made = rows()
    made += [
        DecisionRow("x", 900, "swap/bandit", "4", (*ARMS, "scx_new"), (0.5, 0.25, 0.25), "scx_new", {}),
        OutcomeRow("x", 901, 0.5),
    ]
    history = read_history(stored(tmp_path, made))
    with pytest.raises(EvidenceError, match="scx_new is no arm of decision"):
        judge(history, make_chooser("always:scx_new"))


class Wrong:
    name = "wrong"

    def __init__(self, given):
        self.given = given

    def probabilities(self, row):
        return self.given


@pytest.mark.parametrize("given", [[1.0], [0.7, 0.7], [-1.0, 2.0], [float("nan"), 1.0], [0.0, 0.0]])
def test_what_draws_nothing_that_can_be_is_refused(tmp_path, given):
    history = read_history(stored(tmp_path, rows()))
    with pytest.raises(EvidenceError, match="wrong"):
        judge(history, Wrong(given))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alway", "there is no policy 'alway'"),
        ("always", "needs an arm"),
        ("uniform:5", "nothing after a colon"),
        ("json:JSONEncoder", "has no name and probabilities"),
        ("nowhere.to.be:Found", "can't be imported"),
    ],
)
def test_what_can_not_be_judged_is_named(text, said):
    with pytest.raises(UsageError, match=said):
        make_chooser(text)


def test_a_table_in_the_traces_schema_gives_the_same(tmp_path):
    pytest.importorskip("polars")
    from schedtuna import open_trace

    made = stored(tmp_path / "log", lost(rows(), "", 0.1))
    folder = tmp_path / "table"
    assert write_decision_table(made, folder) == 400
    frame = open_trace(folder).samples("decision")
    assert (frame["propensity default"].to_list()[0], frame.height) == (0.8, 400)
    assert open_trace(folder).samples("outcome").height == 400
    one, other = (
        judge(read_history(read_decisions(place)), WhenBusy()).estimate
        for place in (folder, tmp_path / "log")
    )
    assert (one.loss, one.effective) == (other.loss, other.effective)


def test_a_file_is_read_alone(tmp_path):
    stored(tmp_path, rows())
    assert len(read_history(read_decisions(tmp_path / "decisions.jsonl")).decisions) == 400


ROW = {"kind": "decision", **decision_fields(rows(1)[0])}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"kind":"decision"}',
        b'{"kind":"outcome","id":"1"}',
        b'{"kind":"left_out","nr":-5}',
        json.dumps(ROW | {"rate": 0}).encode(),
        json.dumps(ROW | {"arms": ["a", "a"]}).encode(),
        b"\xff\xfe",
    ],
)
def test_damaged_files_are_errors_of_ours(tmp_path, line):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(EvidenceError):
        read_history(read_decisions(path))


def test_places_without_decisions_are_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        list(read_decisions(tmp_path / "none"))
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(SchedtunaError):
        list(read_decisions(tmp_path))
    trace = tmp_path / "trace"
    pytest.importorskip("polars")
    from schedtuna.trace.writer import TraceWriter

    TraceWriter(trace, {"mode": "stream"}).close()
    with pytest.raises(TraceError, match="without decisions"):
        list(read_decisions(trace))
