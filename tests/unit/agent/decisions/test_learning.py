"""Models of migrations from draws: a better one is found and let in, none where nothing is better."""

import random

import numpy as np
import pytest

from schedtuna.agent.decisions.evaluating import DecisionHistory, JudgedDecision
from schedtuna.agent.decisions.learning import fit_migrations, learn
from schedtuna.agent.decisions.rows import DecisionRow
from schedtuna.agent.decisions.versions import ModelVersions
from schedtuna.agent.policies.migration_draws import MIGRATE, OWN, STAY, with_floors
from schedtuna.errors import EvidenceError, PolicyError
from schedtuna.model.migration import made_by_hand
from schedtuna.model.shipped import find_model

ARMS = (OWN, STAY, MIGRATE)
IN_CHARGE = made_by_hand()  # migrates from a high load to a low one, with more of it where CPUs are idle


def history(count, effect, *, seed=1, since_s=1e9):
    """Draws of the model in charge; what moving costs is `effect` of the features."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        features = {
            "cpu": float(drawn.randrange(8)),
            "nr_idle_cpus": float(drawn.randrange(8)),
            "nr_busy_cpus": float(drawn.randrange(8)),
            "src_load_permille": float(drawn.randrange(1001)),
            "dst_load_permille": float(drawn.randrange(1001)),
        }
        go = decides(IN_CHARGE, features)
        shares = with_floors(ARMS, MIGRATE if go else STAY)
        action = drawn.choices(ARMS, shares)[0]
        loss = 3 + drawn.gauss(0, 0.5) + (effect(features) if action == MIGRATE else 0.0)
        row = DecisionRow(str(number), number, "migrate", IN_CHARGE.version, ARMS, shares, action, features)
        rows.append(JudgedDecision(row, loss, 1.0, since_s + number))
    return DecisionHistory("migrate", tuple(rows), 0, 0, {}, {IN_CHARGE.version: count})


def decides(model, features):
    return bool(model.decide(model.quantise([[int(features[one.name]) for one in model.inputs]]))[0])


def idle_pays(features):
    """Moving pays where CPUs are idle, and costs where none is, whatever the loads are."""
    return 1.0 - 0.3 * features["nr_idle_cpus"]


def nothing_matters(_features):
    return 0.0


def test_a_better_model_is_found_and_let_in():
    found = learn(history(4000, idle_pays), IN_CHARGE)
    assert found.attempt.verdict.passed and found.attempt.verdict.low > 0
    fresh = [one.row.features for one in history(500, idle_pays, seed=9).decisions]
    right = [decides(found.model, one) == (idle_pays(one) < 0) for one in fresh if abs(idle_pays(one)) > 0.25]
    before = [decides(IN_CHARGE, one) == (idle_pays(one) < 0) for one in fresh if abs(idle_pays(one)) > 0.25]
    assert np.mean(right) > 0.85 > np.mean(before)
    assert found.attempt.nr_fitted + found.attempt.nr_judged <= 4000


def test_nothing_is_let_in_where_nothing_is_better():
    passed = [
        learn(history(1500, nothing_matters, seed=seed), IN_CHARGE).attempt.verdict.passed
        for seed in range(6)
    ]
    assert sum(passed) <= 1  # by luck one of 40


def test_labels_that_mean_the_opposite_are_kept_out():
    """A model that is fitted to the wrong outcomes loses on later ones that are right."""
    whole = history(4000, idle_pays)
    wrong = [
        JudgedDecision(one.row, 6 - one.loss, one.weight, one.time_s) if number < 2400 else one
        for number, one in enumerate(whole.decisions)
    ]
    found = learn(DecisionHistory("migrate", tuple(wrong), 0, 0, {}, {}), IN_CHARGE)
    assert not found.attempt.verdict.passed and "worse" in found.attempt.verdict.why


def test_decisions_that_have_judged_judge_no_more():
    whole = history(2000, idle_pays)
    first = learn(whole, IN_CHARGE)
    assert first.attempt.judged_until_s == whole.decisions[-1].time_s
    with pytest.raises(EvidenceError, match="needs later ones"):
        learn(whole, IN_CHARGE, first.attempt.judged_until_s)
    later = history(1500, idle_pays, seed=2, since_s=first.attempt.judged_until_s + 1)
    both = DecisionHistory("migrate", whole.decisions + later.decisions, 0, 0, {}, {})
    assert learn(both, IN_CHARGE, first.attempt.judged_until_s).attempt.nr_judged <= 1500


def test_too_few_are_refused():
    with pytest.raises(EvidenceError, match="200 are needed"):
        learn(history(100, idle_pays), IN_CHARGE)


def test_a_fit_does_not_depend_on_what_the_loss_is_counted_in():
    rows = [one for one in history(800, idle_pays).decisions if one.row.action != OWN]
    larger = [JudgedDecision(one.row, 1000 * one.loss, one.weight, one.time_s) for one in rows]
    one, other = (fit_migrations(made).core.arrays() for made in (rows, larger))
    assert one["weights"][0].tolist() == pytest.approx(other["weights"][0].tolist(), abs=3)


def test_versions_are_kept_and_only_what_passed_is_in_charge(tmp_path):
    versions = ModelVersions("migrate", "migration", tmp_path)
    assert versions.in_charge().version == find_model("migration").version
    good = learn(history(4000, idle_pays), IN_CHARGE)
    versions.add(good, IN_CHARGE, 1.0)
    assert versions.in_charge().version == good.model.version
    aside = learn(history(1500, nothing_matters, seed=5), good.model)
    row = versions.add(aside, good.model, 2.0)
    assert versions.in_charge().version == (row.version if row.passed else good.model.version)
    assert [one.version for one in versions.all()] == [good.model.version, aside.model.version]
    assert versions.judged_until_s() == good.attempt.judged_until_s
    assert versions.path(aside.model.version).is_file()


@pytest.mark.parametrize("line", [b"{\n", b"[]\n", b'{"version":"../x"}\n', b"\xff\n"])
def test_a_damaged_list_is_an_error_of_ours(tmp_path, line):
    folder = tmp_path / "models/migrate"
    folder.mkdir(parents=True)
    (folder / "versions.jsonl").write_bytes(line)
    with pytest.raises(PolicyError, match="damaged"):
        ModelVersions("migrate", "migration", tmp_path).in_charge()


def test_a_model_that_is_gone_is_named(tmp_path):
    versions = ModelVersions("migrate", "migration", tmp_path)
    good = learn(history(4000, idle_pays), IN_CHARGE)
    versions.add(good, IN_CHARGE, 1.0)
    versions.path(good.model.version).unlink()
    with pytest.raises(PolicyError, match="is gone"):
        versions.in_charge()
