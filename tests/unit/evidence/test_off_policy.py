"""Off-policy estimates, against simulated loggers whose policies' true values are known."""

import numpy as np
import pytest
from scipy import signal, stats

from schedtuna.errors import EvidenceError
from schedtuna.evidence.gate import judge_gate
from schedtuna.evidence.off_policy import (
    LoggedDecisions,
    blocks_of_time,
    judge_policy,
)

_NR_ARMS = 3
_LOGITS = np.array([[1.2, -0.8, 0.3], [0.2, 1.0, -1.1], [-0.4, 0.1, 0.9], [0.0, 0.5, -0.5]])


def expected(features):
    """[n, k] the mean loss of each arm: bent, so that no line is right."""
    bent = 0.2 * (features[:, :1] > 0.5) * np.array([0.0, 1.0, -1.0])
    return 1 + 0.3 * np.tanh(features[:, :_NR_ARMS]) + bent


def best(features):
    return np.eye(_NR_ARMS)[expected(features).argmin(axis=1)]


def always(arm):
    return lambda features: np.tile(np.eye(_NR_ARMS)[arm], (len(features), 1))


def slow(random, shape, share):
    """Numbers that resemble the ones before, with variance 1."""
    steps = random.normal(size=shape)
    steps[1:] *= np.sqrt(1 - share**2)
    return signal.lfilter([1], [1, -share], steps, axis=0)


def simulated(random, count, *, floor=0.05, noise=0.2, drift=0.0):
    """A logger that prefers some arms by what it sees, with a floor; loads and noise change slowly."""
    features = slow(random, (count, 4), 0.7)
    shares = np.exp(features @ _LOGITS)
    shares = floor + (1 - _NR_ARMS * floor) * shares / shares.sum(axis=1, keepdims=True)
    actions = (random.random(count)[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    means = expected(features)[np.arange(count), actions]
    losses = means * np.exp(noise * slow(random, count, 0.5) - noise**2 / 2)
    losses += drift * (np.arange(count) >= count // 2)
    return LoggedDecisions(features, actions, shares, losses, np.ones(count))


def true_value(policy):
    features = np.random.default_rng(99).normal(size=(400_000, 4))
    return float((expected(features) * policy(features)).sum(axis=1).mean())


def judged(policy, *, nr=1000, count=600, seed=1, change=lambda logged: logged):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(nr):
        logged = change(simulated(random, count))
        found.append(judge_policy(logged, policy(logged.features)))
    return found


@pytest.mark.parametrize("policy", [best, always(1)])
def test_the_interval_covers_the_true_value_as_often_as_it_says(policy):
    value, found = true_value(policy), judged(policy)
    covered = np.mean([one.loss.low <= value <= one.loss.high for one in found])
    assert 0.93 <= covered <= 0.985
    estimates = np.array([one.loss.value for one in found])
    assert abs(estimates.mean() - value) < 0.006  # of a loss of about 1
    assert estimates.std() < 0.5 * np.std([one.ips for one in found])  # what the model is good for


def test_weights_correct_a_wrong_model_and_a_model_alone_stays_wrong():
    """The features that it sees are squared: no line through them says anything of the loss."""
    value = true_value(best)

    def squared(logged):
        return LoggedDecisions(
            logged.features**2, logged.actions, logged.propensities, logged.losses, logged.weights
        )

    random = np.random.default_rng(2)
    robust, direct = [], []
    for _ in range(300):
        logged = simulated(random, 600)
        one = judge_policy(squared(logged), best(logged.features))
        robust.append(one.loss.value)
        direct.append(one.direct)
    assert abs(np.mean(robust) - value) < 0.01
    assert np.mean(direct) - value > 0.06


def test_features_of_other_decisions_cost_precision_and_nothing_else():
    random = np.random.default_rng(3)
    value = true_value(always(1))
    found, permuted = [], []
    for _ in range(200):
        logged = simulated(random, 600, noise=0.02)
        wanted = always(1)(logged.features)
        mixed = random.permutation(logged.features)
        other = LoggedDecisions(mixed, logged.actions, logged.propensities, logged.losses, logged.weights)
        found.append(judge_policy(logged, wanted).loss.value)
        permuted.append(judge_policy(other, wanted).loss.value)
    assert abs(np.mean(permuted) - value) < 4 * np.std(permuted) / np.sqrt(200)
    assert np.std(permuted) > 1.2 * np.std(found)


def test_wrong_probabilities_are_not_made_up_for():
    """A negative control of the tests above: what is logged wrongly shows as bias."""
    value = true_value(always(1))

    def claimed_uniform(logged):
        alike = np.full_like(logged.propensities, 1 / _NR_ARMS)
        return LoggedDecisions(logged.features[:, 3:], logged.actions, alike, logged.losses, logged.weights)

    random = np.random.default_rng(4)
    found = []
    for _ in range(100):
        logged = simulated(random, 600)
        found.append(judge_policy(claimed_uniform(logged), always(1)(logged.features)).loss.value)
    assert abs(np.mean(found) - value) > 10 * np.std(found) / np.sqrt(100)


def test_decisions_that_stand_for_several_count_as_many():
    """A log of which some were left out at random, at two rates, gives what the whole log does."""
    random = np.random.default_rng(5)
    whole, thinned = [], []
    for _ in range(200):
        logged = simulated(random, 1200, drift=0.5)
        rate = np.where(np.arange(1200) < 600, 0.9, 0.3)
        kept = random.random(1200) < rate
        some = LoggedDecisions(
            logged.features[kept],
            logged.actions[kept],
            logged.propensities[kept],
            logged.losses[kept],
            1 / rate[kept],
        )
        whole.append(judge_policy(logged, best(logged.features)).loss.value)
        thinned.append(judge_policy(some, best(some.features)).loss.value)
    difference = np.array(thinned) - whole
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(200)
    assert abs(np.mean(whole) - true_value(best) - 0.25) < 0.01


def test_the_change_is_against_what_was_done():
    random = np.random.default_rng(6)
    logged = simulated(random, 2000)
    found = judge_policy(logged, logged.propensities)
    assert found.logged == pytest.approx(logged.losses.mean())
    assert found.change.low <= 0 <= found.change.high
    assert found.effective == pytest.approx(2000)  # its own policy: each weight is 1
    assert (found.ips, found.snips) == pytest.approx((found.logged, found.logged))
    better = judge_policy(logged, best(logged.features))
    assert better.change.high < 0
    assert better.block_changes.mean() == pytest.approx(better.change.value)


def test_a_change_of_the_machine_is_told_and_none_is_rarely_told():
    random = np.random.default_rng(7)
    calm = [
        judge_policy(log, log.propensities).drifts for log in (simulated(random, 400) for _ in range(300))
    ]
    assert stats.binomtest(sum(calm), 300, 0.01).pvalue > 0.001
    found = judge_policy(simulated(random, 800, drift=0.3), simulated(random, 800).propensities)
    assert found.drifts and found.drift == pytest.approx(0.3, abs=0.1)


def test_effects_of_the_decision_before_are_weighted_too():
    """The loss is that of the decision and half of the one before; only arm 0 costs."""
    random = np.random.default_rng(8)
    plain, carried = [], []
    for _ in range(100):
        count = 3000
        shares = np.tile([0.5, 0.5], (count, 1))
        actions = random.integers(0, 2, count)
        cost = (actions == 0).astype(float)
        losses = 1 + cost + 0.5 * np.concatenate([[0.0], cost[:-1]]) + 0.1 * random.normal(size=count)
        logged = LoggedDecisions(np.zeros((count, 1)), actions, shares, losses, np.ones(count))
        wanted = np.tile([1.0, 0.0], (count, 1))
        before = np.concatenate([[1.0], 2.0 * (actions[:-1] == 0)])
        plain.append(judge_policy(logged, wanted).loss.value)
        carried.append(judge_policy(logged, wanted, before=before).loss.value)
    assert np.mean(carried) == pytest.approx(2.5, abs=0.02)
    assert np.mean(plain) == pytest.approx(2.25, abs=0.02)


def test_weights_that_are_cut_are_told_and_by_how_much():
    random = np.random.default_rng(9)
    logged = simulated(random, 3000, floor=0.02)
    wanted = always(2)(logged.features)
    cut, whole = judge_policy(logged, wanted), judge_policy(logged, wanted, most_weight=1e9)
    assert cut.nr_clipped > 0 and whole.nr_clipped == 0
    assert cut.loss.value + cut.clipped_by == pytest.approx(whole.loss.value)


def gains_of(logged, new, old):
    changes = (judge_policy(logged, one(logged.features)).block_changes for one in (old, new))
    return np.subtract(*changes).tolist()


def test_a_gate_opens_for_a_better_policy_and_stays_shut_for_the_same():
    random = np.random.default_rng(10)
    logged = simulated(random, 2000)
    assert judge_gate(gains_of(logged, best, always(1))).passed
    passed = 0
    for _ in range(200):  # of loads that no arm is better for
        log = simulated(random, 600)
        alike = LoggedDecisions(
            log.features, log.actions, log.propensities, slow(random, 600, 0.5), log.weights
        )
        passed += judge_gate(gains_of(alike, always(1), always(2))).passed
    assert stats.binomtest(passed, 200, 0.025, alternative="greater").pvalue > 0.01


def kept(**changes):
    random = np.random.default_rng(11)
    logged = simulated(random, 200)
    given = {
        "features": logged.features,
        "actions": logged.actions,
        "propensities": logged.propensities,
        "losses": logged.losses,
        "weights": logged.weights,
    }
    return {**given, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"losses": np.full(200, np.nan)}, "finite"),
        ({"losses": np.ones(3)}, "different lengths"),
        ({"weights": np.zeros(200)}, "above zero"),
    ],
)
def test_logs_that_can_not_be_are_refused(changes, said):
    with pytest.raises(EvidenceError, match=said):
        LoggedDecisions(**kept(**changes))


def test_what_is_not_shown_is_refused():
    logged = LoggedDecisions(**kept())
    certain = np.eye(_NR_ARMS)[logged.actions]
    with pytest.raises(EvidenceError, match="deterministic log"):
        judge_policy(LoggedDecisions(**kept(propensities=certain)), certain)
    halved = logged.propensities.copy()
    halved[::2] = certain[::2]
    with pytest.raises(EvidenceError, match="could not be drawn"):
        judge_policy(LoggedDecisions(**kept(propensities=halved)), always(1)(logged.features))
    with pytest.raises(EvidenceError, match="230 are needed"):
        judge_policy(logged, logged.propensities, least_effective=230)
    with pytest.raises(EvidenceError, match="summing to 1"):
        judge_policy(logged, 2 * logged.propensities)
    few = {name: value[:15] for name, value in kept().items()}
    with pytest.raises(EvidenceError, match="16 or more"):
        judge_policy(LoggedDecisions(**few), few["propensities"])


def test_too_few_like_its_own_are_refused():
    random = np.random.default_rng(12)
    logged = simulated(random, 60)
    with pytest.raises(EvidenceError, match="amount to"):
        judge_policy(logged, always(1)(logged.features))


def test_blocks_are_alike_and_in_order():
    block = blocks_of_time(100)
    assert (np.diff(block) >= 0).all()
    assert set(np.bincount(block).tolist()) <= {12, 13}


def vowpal_wabbit(logged, chosen, kind):
    """What Vowpal Wabbit estimates of a policy that chooses an arm for each decision."""
    vw = pytest.importorskip("vowpalwabbit", reason="an independent estimate: pip install vowpalwabbit")
    workspace = vw.Workspace(f"--cb {_NR_ARMS} --cb_type {kind} --eval --quiet")
    rows = zip(logged.features, logged.actions, logged.propensities, logged.losses, chosen, strict=True)
    for features, action, shares, loss, arm in rows:
        seen = " ".join(f"f{number}:{value:.6f}" for number, value in enumerate(features))
        workspace.learn(f"{arm + 1} {action + 1}:{loss:.7f}:{shares[action]:.7f} | {seen}")
    found = workspace.get_sum_loss() / len(logged)
    workspace.finish()
    return found


def test_vowpal_wabbit_finds_the_same():
    """Weighted it is the same; doubly robust, by a model that learns as it goes, it is in the interval."""
    logged = simulated(np.random.default_rng(13), 3000)
    wanted = best(logged.features)
    found, chosen = judge_policy(logged, wanted), wanted.argmax(axis=1)
    assert found.nr_clipped == 0
    assert vowpal_wabbit(logged, chosen, "ips") == pytest.approx(found.ips, rel=1e-5)
    assert found.loss.low < vowpal_wabbit(logged, chosen, "dr") < found.loss.high
