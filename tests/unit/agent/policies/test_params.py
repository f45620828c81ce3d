"""The policy `params`: which regime holds, what it sets, and which files are refused."""

from dataclasses import replace

import pytest
from tests.unit.agent.rows import sensed

from schedtuna.agent.conformance import check_policy
from schedtuna.agent.contract import ChangeTarget, Intent, Need, RunningScheduler
from schedtuna.agent.limits import Limits, Surroundings, refusal
from schedtuna.agent.managers import running_managers
from schedtuna.agent.policies.registry import make_policy
from schedtuna.errors import ConfigFileError, SchedtunaError
from schedtuna.features.table import feature
from schedtuna.model.file import write_model
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

HEAD = 'scheduler = "scx_tuna"\nintervals = 2\n'
BUSY = """
[[regime]]
name = "busy"
when = ["cpu_percent >= 80", "run_queue_length > 2"]
set = { slice_us = 5000, timer_kick = true }
"""
CALM = """
[[regime]]
name = "calm"
when = ["cpu_percent < 20"]
set = { slice_us = 40000 }
reason = "it is calm"
"""
TUNA = RunningScheduler("scx_tuna", is_ext=True, parameters={"slice_us": 20000, "timer_kick": False})


@pytest.fixture
def make(tmp_path):
    def make(text):
        path = tmp_path / "regimes.toml"
        path.write_text(text)
        return make_policy(f"params:{path}")

    return make


def interval(number, *, scheduler=TUNA, **machine):
    return replace(sensed(number, scheduler=scheduler), machine=machine)


def told(policy, *intervals, held=None):
    """What it wants after each interval, as `setting -> value`."""
    return [{one.setting: one.new for one in policy.decide(each, held or {})} for each in intervals]


def test_a_regime_holds_once_enough_intervals_in_a_row_speak_for_it(make):
    busy, idle = {"cpu_percent": 90, "run_queue_length": 5}, {"cpu_percent": 50, "run_queue_length": 0}
    course = [busy, idle, busy, busy, idle, busy, idle, idle]
    wanted = {"slice_us": 5000, "timer_kick": True}
    found = told(make(HEAD + BUSY), *(interval(n, **one) for n, one in enumerate(course)))
    assert found == [{}, {}, {}, wanted, wanted, wanted, wanted, {}]


def test_the_first_that_holds_counts_and_takes_the_place_of_another(make):
    busy, calm = {"cpu_percent": 90, "run_queue_length": 5}, {"cpu_percent": 5, "run_queue_length": 5}
    policy = make(HEAD + BUSY + CALM)
    found = told(policy, *(interval(n, **one) for n, one in enumerate([busy, busy, calm, calm])))
    assert found[1::2] == [{"slice_us": 5000, "timer_kick": True}, {"slice_us": 40000}]
    (intent,) = policy.decide(interval(4, **calm), {})
    assert (intent.reason, intent.policy, intent.old) == ("it is calm", "params/calm", 20000)
    assert intent.features == {"cpu_percent": 5, "run_queue_length": 5}


def test_what_is_not_known_decides_nothing_anew(make):
    busy, unknown = {"cpu_percent": 90, "run_queue_length": 5}, {"cpu_percent": 90}
    found = told(
        make(HEAD + BUSY), *(interval(n, **one) for n, one in enumerate([busy, unknown, busy, busy]))
    )
    assert [bool(one) for one in found] == [False, False, False, True]
    kept = told(
        make(HEAD + BUSY), *(interval(n, **one) for n, one in enumerate([busy, busy, unknown, unknown]))
    )
    assert [bool(one) for one in kept] == [False, True, True, True]


def test_under_another_scheduler_it_wants_nothing(make):
    busy = {"cpu_percent": 90, "run_queue_length": 5}
    policy = make(HEAD + BUSY)
    assert told(policy, interval(0, **busy), interval(1, **busy))[1]
    other = RunningScheduler("scx_simple", is_ext=True)
    assert told(policy, interval(2, scheduler=other, **busy), interval(3, **busy)) == [{}, {}]


def test_it_asks_for_what_it_looks_at(make):
    assert make(HEAD + BUSY).needs == {Need.SCHEDULER, Need.MACHINE}
    latency = CALM.replace("cpu_percent < 20", "wakeup_latency_p99_us > 500")
    assert Need.KERNEL in make(HEAD + latency).needs


def test_a_model_chooses_among_regimes(make, tmp_path):
    inputs = (ModelInput("cpu_percent", feature("cpu_percent").bins),)
    core = Linear([[1]], [-60])  # bins of one percent: busy from 61% on
    model = checked(DecisionModel("load", inputs, ("calm", "busy"), core, "made by hand"))
    write_model(model, tmp_path / "load.safetensors")
    policy = make(HEAD + 'model = "load.safetensors"\n' + BUSY.replace("when", "# when"))
    course = [interval(n, cpu_percent=value) for n, value in enumerate([61.9, 61.0, 60.9, 60.1])]
    assert [bool(one) for one in told(policy, *course)] == [False, True, True, False]
    policy = make(HEAD + 'model = "load.safetensors"\n' + BUSY.replace("when", "# when"))
    policy.decide(course[0], {})
    one, _ = policy.decide(course[1], {})
    assert (one.policy, one.features) == (f"params/busy (model {model.version})", {"cpu_percent": 61.0})
    assert told(policy, interval(3), interval(4))[1]  # a metric that is not known: as it was


def test_it_keeps_the_contract(make):
    check_policy(lambda: make(HEAD + BUSY + CALM))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scheduler = 3", "scheduler: "),
        (HEAD, "regime: "),
        (HEAD + BUSY.replace("5000", "5"), "slice_us"),
        (HEAD + BUSY.replace("timer_kick", "colour"), "colour"),
        (HEAD.replace("scx_tuna", "scx_nobody") + BUSY, "unknown scheduler"),
        (
            HEAD + BUSY.replace("timer_kick = true", "rr_sched = true, native_priority = true"),
            "rr_sched looks",
        ),
        (HEAD + BUSY.replace("cpu_percent", "cpu_part"), "there is no metric 'cpu_part'"),
        (HEAD + BUSY.replace(">= 80", "is high"), "no condition"),
        (HEAD + BUSY.replace(">= 80", ">= 1e999"), "no condition"),
        (HEAD + BUSY.replace(">= 80", ">= 1e-"), "no condition"),
        (HEAD + BUSY + BUSY, "two regimes"),
        (HEAD + '[[regime]]\nname = "a"\nset = { slice_us = 5000 }\n', "it has no conditions"),
        (HEAD + 'model = "default"\n' + BUSY, "a model chooses, and it has conditions"),
        (
            HEAD + 'model = "no such"\n[[regime]]\nname = "a"\nset = { slice_us = 5000 }\n',
            "no model 'no such'",
        ),
        (
            HEAD + 'model = "default"\n[[regime]]\nname = "a"\nset = { slice_us = 5000 }\n',
            "which the agent does",
        ),
    ],
)
def test_what_can_not_be_is_refused_and_the_file_is_named(make, text, words):
    with pytest.raises(ConfigFileError) as caught:
        make(text)
    assert words in str(caught.value)
    assert "regimes.toml" in str(caught.value)


def test_without_a_file_there_is_nothing_to_go_by():
    with pytest.raises(SchedtunaError, match="needs a file"):
        make_policy("params")


def scheduler_intent(**values):
    wanted = {"setting": "slice_us", "old": 20000, "new": 5000, "reason": "busy", **values}
    return Intent(ChangeTarget("scheduler", scheduler="scx_tuna"), **wanted)


@pytest.mark.parametrize(
    ("wanted", "scheduler", "managers", "words"),
    [
        ({}, TUNA, [], None),
        ({}, RunningScheduler("eevdf"), [], "eevdf is in charge, not scx_tuna"),
        ({"setting": "sticky_cpu"}, TUNA, [], "no parameter sticky_cpu"),
        ({}, TUNA, ["scx_loader"], "scx_loader runs"),
        ({}, TUNA, ["ananicy-cpp"], None),  # its slices are of threads
    ],
)
def test_limits_of_a_schedulers_parameters(wanted, scheduler, managers, words):
    around = Surroundings(scheduler=scheduler, managers=running_managers(managers))
    found = refusal(scheduler_intent(**wanted), Limits(), around, None)
    assert found is None if words is None else words in found.reason
    only = refusal(scheduler_intent(**wanted), Limits(cgroups=("/user.slice",)), around, None)
    assert only.quiet
    named = refusal(scheduler_intent(), Limits(settings=frozenset({"nice"})), around, None)
    assert "not among the settings" in named.reason
