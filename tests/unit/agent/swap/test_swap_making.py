"""Files of the policy `swap`, what it has learned, and who is in quarantine."""

import numpy as np
import pytest
from tests.unit.agent.sensed import interval

from schedtuna.agent.config import load_agent_config
from schedtuna.agent.contract import GuardDecision, Need, SwapEvent, SwapResult
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.swap.breaker import SwapGuard
from schedtuna.agent.swap.deciders import LinUcbDecider, SwapSight
from schedtuna.agent.swap.making import keep_state, make_swap
from schedtuna.agent.swap.policy import SwapPolicy
from schedtuna.agent.swap.quarantine import Quarantine, QuarantineError, program_version
from schedtuna.errors import ConfigFileError, PolicyError
from schedtuna.features.observed import OBSERVED

RULES = 'decider = "rules"\n'
REGIME = '[[regime]]\nwhen = ["cpu_percent > 5"]\narm = "scx_simple"\n'
ARMS = '[[arm]]\nscheduler = "scx_simple"\nas = "vtime"\n'


def write(folder, text):
    file = folder / "swap.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('decider = "ucb"\n' + ARMS, "runs in schedtuna/Swap-v0 alone"),
        ('decider = "epsilon"\n' + ARMS, "keeps no share of 5%"),
        ('decider = "bandits"\n' + ARMS, "there is no decider 'bandits': did you mean bandit"),
        (ARMS + ARMS, "named twice"),
        (ARMS + '[[arm]]\nscheduler = "scx_b"\nas = "vtime"\n', "stand for the same"),
        ("step_s = 2\ndiscard_s = 2\n" + ARMS, "can't be discarded"),
        ('decider = "rules"\n' + ARMS, "needs regimes"),
        (ARMS + '[[regime]]\nwhen = ["cpu_percent > 5"]\narm = "scx_simple"\n', "no other one has any"),
        (RULES + ARMS + REGIME.replace("simple", "simpl"), "a regime is for 'scx_simpl'"),
        (RULES + ARMS + REGIME.replace("cpu_percent", "psi_cpu_some_percent"), "no window has 'psi_cpu"),
        ('decider = "trained"\n' + ARMS, "needs `policy`"),
        (RULES + 'state = "x"\n' + ARMS + REGIME, "learns nothing"),
        ("[weights]\nturnaroud = 1\n" + ARMS, "did you mean turnaround"),
        ("colour = 1\n" + ARMS, "colour"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path, text, said):
    top, _, arms = text.partition("[weights]")
    with pytest.raises(ConfigFileError, match=r"swap\.toml") as error:
        make_swap(write(tmp_path, top + ("[weights]" + arms if arms else "")))
    assert said in str(error.value)


def test_it_is_made_by_name(tmp_path):
    policy = make_policy(f"swap:{write(tmp_path, ARMS)}")
    assert isinstance(policy, SwapPolicy)
    assert policy.arms == ("default", "scx_simple")
    assert Need.SWAPS in policy.needs


def learned(policy):
    nr = len(policy.arms)
    seen = SwapSight(np.full(len(OBSERVED) + nr, 0.5, np.float32), {}, 0, np.ones(nr, bool))
    policy.decider.learn(seen, 1, 0.5, 0.4)
    return seen


@pytest.mark.parametrize("decider", ["bandit", "softmax"])
def test_what_was_learned_is_kept_and_refused_where_arms_differ(tmp_path, decider):
    text = f'decider = "{decider}"\nstate = "learned.safetensors"\n'
    policy = make_swap(write(tmp_path, text + ARMS), seed=1)
    seen = learned(policy)
    keep_state(policy, every=2)
    assert not (tmp_path / "learned.safetensors").exists()
    keep_state(policy)
    again = make_swap(write(tmp_path, text + ARMS), seed=2)
    assert again.decider.nr_learned == 1
    np.testing.assert_allclose(again.decider.propensities(seen), policy.decider.propensities(seen))
    with pytest.raises(PolicyError, match="learned with other arms: fair, vtime, and not fair, scx_simple"):
        make_swap(write(tmp_path, text + ARMS.replace('as = "vtime"\n', "")))
    with pytest.raises(PolicyError, match="learned with other weights"):
        make_swap(write(tmp_path, text + ARMS + "[weights]\nturnaround = 1\n"))
    (tmp_path / "learned.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(PolicyError, match="can't be used"):
        make_swap(write(tmp_path, text + ARMS))


def test_a_policy_of_swap_v0_decides(tmp_path):
    from schedtuna.rl.policy import Network, PolicyFit, PolicyManifest, TrainedPolicy, save_policy

    nr_observed = len(OBSERVED) + 2
    weights = np.zeros((2, nr_observed), np.float32)
    weights[1, 0] = 1.0  # the busier, the rather the second
    fit = PolicyFit(environment="schedtuna/Swap-v0", nr_observed=nr_observed, nr_actions=2)
    manifest = PolicyManifest(
        schedtuna_version="0",
        algorithm="reinforce",
        fit=fit,
        parameters={"schedulers": ["fair", "vtime"]},
        seed=1,
        nr_steps=1,
        cpu_seconds=0.0,
    )
    biases = np.array([0.5, 0.0], np.float32)
    blind = np.zeros(nr_observed, np.float32), np.ones(nr_observed, np.float32)
    save_policy(
        TrainedPolicy(manifest, Network(((weights, biases),), "tanh", *blind)), tmp_path / "p.safetensors"
    )
    text = 'decider = "trained"\npolicy = "p.safetensors"\n'
    policy = make_swap(write(tmp_path, text + ARMS))
    seen = np.zeros(nr_observed, np.float32)
    shares = []
    for busy in (0.0, 1.0):
        seen[0] = busy
        shares.append(policy.decider.propensities(SwapSight(seen, {}, 0, np.ones(2, bool))))
    assert shares[0] == pytest.approx([0.95, 0.05])
    assert shares[1] == pytest.approx([0.05, 0.95])
    with pytest.raises(PolicyError, match="chooses among fair, vtime, and not among fair, scx_simple"):
        make_swap(write(tmp_path, text + ARMS.replace('as = "vtime"\n', "")))


def test_quarantine_is_of_a_program_under_a_kernel(tmp_path):
    program = tmp_path / "scx_some"
    program.write_bytes(b"one")
    version = program_version(program)
    here = Quarantine(tmp_path / "state", kernel="7.3.4")
    assert here.find("scx_some", version) is None
    here.add("scx_some:slice_us=5", version, ops="some_1.0", reason="runnable task stall")
    found = here.find("scx_some", version)
    assert "scx_some:slice_us=5" in found.tell()
    assert "under 7.3.4: runnable task stall" in found.tell()
    assert Quarantine(tmp_path / "state", kernel="7.3.5").find("scx_some", version) is None
    program.write_bytes(b"two")
    assert here.find("scx_some", program_version(program)) is None
    here.add("scx_some", version, ops="some_1.0", reason="again")
    assert [row.reason for row in here.rows()] == ["again"]
    assert [row.name for row in here.lift("scx_some")] == ["scx_some"]
    assert here.rows() == []


def test_a_damaged_list_lets_nothing_be_started(tmp_path):
    (tmp_path / "quarantine.json").write_text('{"version": 1, "ejected": [{"name": 7}]}')
    with pytest.raises(QuarantineError, match="is damaged"):
        Quarantine(tmp_path).find("scx_some", "abc")


def test_three_accidents_within_an_hour_end_all_swaps_until_told():
    guard = SwapGuard(frozenset())

    def judge(number, *names):
        events = tuple(SwapEvent(name, SwapResult.EJECTED, f"{name} stalled") for name in names)
        sensed = interval(number)
        return guard.judge(type(sensed)(**{**vars(sensed), "swaps": events}), {})

    assert judge(0, "a").decision is GuardDecision.ALLOW
    assert judge(3000, "b").decision is GuardDecision.ALLOW
    assert judge(3700, "c").decision is GuardDecision.ALLOW  # the first was more than an hour ago
    found = judge(3701, "d")
    assert found.decision is GuardDecision.ROLL_BACK
    assert "3 schedulers went wrong within an hour: b stalled; c stalled; d stalled" in found.reason
    assert judge(3702).decision is GuardDecision.ROLL_BACK
    guard.resume()
    assert judge(3703).decision is GuardDecision.ALLOW


def test_a_bandit_of_other_size_is_no_state():
    state = LinUcbDecider(2, 3).state()
    with pytest.raises(PolicyError, match="other arrays"):
        LinUcbDecider(3, 3).restore(state)


def test_a_profile_can_not_begin_to_swap(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text(f'[profiles.performance]\npolicy = "swap:{write(tmp_path, ARMS)}"\n')
    with pytest.raises(ConfigFileError, match="can't begin to swap"):
        load_agent_config([config])
