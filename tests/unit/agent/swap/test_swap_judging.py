"""Another policy `swap` is asked what it would have drawn, by what the logged rows tell."""

import pytest
from tests.unit.agent.swap.test_swap_policy import Running

from schedtuna.agent.decisions.judged import make_chooser
from schedtuna.agent.decisions.rows import DecisionRow, decision_fields, decision_of
from schedtuna.agent.swap.deciders import LinUcbDecider
from schedtuna.errors import EvidenceError, UsageError
from schedtuna.features.observed import OBSERVED

ARMS = "".join(f'[[arm]]\nscheduler = "{name}"\n' for name in ("scx_simple", "scx_bpfland"))
RULES = (
    'decider = "rules"\nfloor = 0.05\nwindows = 1\n'
    + ARMS
    + '[[regime]]\nwhen = ["cpu_percent > 40"]\narm = "scx_bpfland"\n'
)


class Frozen(LinUcbDecider):
    """Learns nothing, so that it draws from each row as a new one does."""

    def learn(self, *_):
        self.nr_learned += 1


@pytest.fixture(scope="module")
def drawn():
    running = Running(("scx_simple", "scx_bpfland"), Frozen(3, len(OBSERVED) + 3))
    running.steps(200)
    rows = [row for row in running.rows if isinstance(row, DecisionRow) and max(row.propensities or (1,)) < 1]
    assert len(rows) > 5
    return [decision_of(decision_fields(row)) for row in rows]


def chooser(folder, text):
    path = folder / "swap.toml"
    path.write_text(text)
    path.chmod(0o600)
    return make_chooser(f"swap:{path}")


def test_the_same_decider_would_have_drawn_the_same(drawn, tmp_path):
    same = chooser(tmp_path, 'decider = "bandit"\n' + ARMS)
    for row in drawn:
        assert same.probabilities(row) == pytest.approx(row.propensities)


def test_rules_look_at_the_metrics_of_the_row(drawn, tmp_path):
    rules = chooser(tmp_path, RULES)
    assert rules.probabilities(drawn[0]) == pytest.approx([0.05, 0.05, 0.9])  # 50% of the CPUs are used
    idle = DecisionRow(**{**vars(drawn[0]), "features": {**drawn[0].features, "cpu_percent": 10.0}})
    assert rules.probabilities(idle) == pytest.approx([0.9, 0.05, 0.05])


def test_rows_of_other_arms_or_features_are_refused(drawn, tmp_path):
    rules = chooser(tmp_path, RULES)
    with pytest.raises(EvidenceError, match="chooses among"):
        rules.probabilities(DecisionRow("1", 1, "swap", "", ("default", "b"), (0.5, 0.5), "b"))
    with pytest.raises(EvidenceError, match="does not tell"):
        rules.probabilities(DecisionRow(**{**vars(drawn[0]), "features": {"cpu_percent": 10.0}}))
    with pytest.raises(UsageError, match="needs its file"):
        make_chooser("swap")
