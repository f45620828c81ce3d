"""A policy `swap` that learns by the gate alone: what is better is let in, and nothing else."""

import numpy as np
import pytest

from schedtuna.agent.decisions.evaluating import DecisionHistory, JudgedDecision
from schedtuna.agent.decisions.rows import DecisionRow
from schedtuna.agent.decisions.versions import VersionList
from schedtuna.agent.swap.judging import SwapChooser
from schedtuna.agent.swap.learning import learn_swap
from schedtuna.agent.swap.policy import SEEN
from schedtuna.errors import ConfigFileError, EvidenceError, UsageError
from schedtuna.features.observed import OBSERVED, told_observation

ARMS = ("default", "scx_simple", "scx_bpfland")
TABLE = 'learn = "gated"\nstate = "learned.safetensors"\n' + "".join(
    f'[[arm]]\nscheduler = "{name}"\n' for name in ARMS[1:]
)


@pytest.fixture(params=["bandit", "softmax"])
def file(request, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "swap.toml"
    path.write_text(f'decider = "{request.param}"\n{TABLE}')
    path.chmod(0o600)
    return path


def drawn(file, count, cost, *, seed=1, since_s=1e9):
    """Draws of what is in charge; `cost` is of a load, 0 or 1, and an arm's number."""
    chooser, rng = SwapChooser(file), np.random.default_rng(seed)
    names, current, rows = told_observation(ARMS), 0, []
    for number in range(count):
        load = int(rng.integers(2))
        seen = [*np.full(len(OBSERVED), 0.3 + 0.2 * load), *np.eye(len(ARMS))[current]]
        features = {SEEN + name: float(value) for name, value in zip(names, seen, strict=True)}
        blank = DecisionRow(str(number), number, "swap/x", "", ARMS, (1 / 3,) * 3, ARMS[0], features)
        shares = chooser.probabilities(blank)
        current = int(rng.choice(len(ARMS), p=shares))
        row = DecisionRow(str(number), number, "swap/x", "", ARMS, tuple(shares), ARMS[current], features)
        loss = cost(load, current) + 0.1 * float(rng.normal())
        rows.append(JudgedDecision(row, loss, 1.0, since_s + 5 * number))
    return DecisionHistory("swap", tuple(rows), 0, 0, {}, {"": count})


def one_is_better(load, arm):
    return 0.5 if load and arm == 1 else (1.0, 1.1, 1.6)[arm]


def test_before_anything_is_shown_the_default_is_chosen_with_a_floor_for_the_others(file):
    (row,) = drawn(file, 1, one_is_better).decisions
    assert row.row.propensities == pytest.approx((0.9, 0.05, 0.05))


def test_what_later_decisions_show_to_be_better_is_let_in(file, tmp_path):
    versions = VersionList("swap", tmp_path / "state")
    history = drawn(file, 4000, one_is_better)
    row = learn_swap(history, file, versions)
    assert row.passed and row.low > 0, row.why
    assert (file.parent / "learned.safetensors").exists()
    busy = next(one.row for one in history.decisions if one.row.features[SEEN + OBSERVED[0]] > 0.4)
    assert np.argmax(SwapChooser(file).probabilities(busy)) == 1
    with pytest.raises(EvidenceError, match="needs later ones"):
        learn_swap(history, file, versions)
    assert [one.version for one in versions.all()] == [row.version]


def test_what_is_no_better_is_not(file, tmp_path):
    row = learn_swap(drawn(file, 1500, lambda *_: 1.0), file, VersionList("swap", tmp_path / "state"))
    assert not row.passed
    assert not (file.parent / "learned.safetensors").exists()


def test_what_learns_by_itself_or_nothing_is_refused(tmp_path):
    path = tmp_path / "swap.toml"
    path.write_text('decider = "bandit"\n' + TABLE.replace('learn = "gated"\n', ""))
    path.chmod(0o600)
    with pytest.raises(UsageError, match="by the gate"):
        learn_swap(DecisionHistory("swap", (), 0, 0, {}, {}), path, VersionList("swap", tmp_path))
    path.write_text('decider = "bandit"\n' + TABLE.replace('state = "learned.safetensors"\n', ""))
    with pytest.raises(ConfigFileError, match="needs a state"):
        SwapChooser(path)
