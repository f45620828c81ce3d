"""A model as a scheduler: it keeps the rules, knows what traces tell, and comes to what it should."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.errors import ModelError
from schedtuna.features.table import feature
from schedtuna.model.file import write_model
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked
from schedtuna.sim import simulate
from schedtuna.sim.conformance import check_scheduler
from schedtuna.sim.model_scheduler import ModelScheduler
from schedtuna.sim.task_past import CHOICE_FEATURES, WAKING_FEATURES, Waking
from schedtuna.trace.analysis import Analysis

NAMES = list(WAKING_FEATURES)


def model(weights: dict[str, int], labels: tuple[str, str] = ("long", "short")) -> DecisionModel:
    inputs = tuple(ModelInput(name, feature(name).bins) for name in weights)
    return checked(DecisionModel("by hand", inputs, labels, Linear([list(weights.values())], [0]), ""))


SHORT_FIRST = {"burst_median_ns": -4, "burst_ns": -1}
LONGEST_WAIT_FIRST = {"waited_ns": 1, "attained_ns": 0}
SEEN: list[tuple[int, int, list[int]]] = []


class Watched(ModelScheduler):
    """Tells what it knew at each wakeup."""

    def _begin(self, machine, task, past, reason):
        super()._begin(machine, task, past, reason)
        waking = Waking(past, task, machine)
        SEEN.append((task.id + 1, machine.now_ns, [WAKING_FEATURES[name](waking) for name in NAMES]))


@pytest.mark.parametrize(
    "weights", [SHORT_FIRST, {"nice": 1}, LONGEST_WAIT_FIRST], ids=["bursts", "nice", "choices"]
)
def test_it_keeps_the_rules_of_schedulers(weights):
    labels = ("wait", "run") if set(weights) & set(CHOICE_FEATURES) else ("long", "short")
    check_scheduler(ModelScheduler(model(weights, labels)))


@pytest.mark.parametrize(
    "load", ["interactive:load=0.9", "fork-join:load=0.8", "heavy-tail:load=0.9", "ping-pong:load=0.5"]
)
def test_it_knows_at_each_wakeup_what_a_trace_tells_of_it(load):
    """So that what was learnt from traces decides by what it was learnt from."""
    from schedtuna.features.task_history import HISTORY_FEATURES
    from schedtuna.learn.known_of_tasks import GROUP_FEATURES
    from schedtuna.learn.task_rows import task_rows
    from schedtuna.learn.wakers import WAKER_FEATURES

    SEEN.clear()
    trace = simulate(load, Watched(model(SHORT_FIRST)), cpus=2, seed=3, duration_s=1)
    columns = task_rows(trace, most=10**6, seed=1).columns
    told_too = {"nice", "policy", "task_weight", *GROUP_FEATURES, *WAKER_FEATURES}
    names = [name for name in NAMES if name in {*HISTORY_FEATURES, *told_too}]
    assert told_too <= set(names)
    told = {tuple(row) for row in np.column_stack([columns[n] for n in ("time_ns", *names)]).tolist()}
    place = [NAMES.index(name) for name in names]
    known = {(at, *(values[i] for i in place)) for _, at, values in SEEN}
    assert len(told) > 100
    assert told <= known


def test_short_bursts_first_wait_less_than_in_the_order_of_arrival():
    """On a busy machine shortest-first has the least mean wait of all orders (Smith, 1956)."""
    waits = {}
    sides: dict[str, str | ModelScheduler] = {
        "fifo": "fifo",
        "short first": ModelScheduler(model(SHORT_FIRST)),
        "long first": ModelScheduler(model({name: -weight for name, weight in SHORT_FIRST.items()})),
    }
    for name, scheduler in sides.items():
        trace = simulate("poisson:load=0.9", scheduler, cpus=2, seed=5, duration_s=2)
        waits[name] = Analysis(trace).overall()["wakeup_latency_mean_ns"]
    assert waits["short first"] < waits["fifo"]
    assert waits["short first"] < waits["long first"]


def test_a_file_is_a_scheduler_by_its_name(tmp_path):
    path = tmp_path / "own.safetensors"
    write_model(model(SHORT_FIRST), path)
    trace = simulate("poisson:load=0.5", f"model:{path}", cpus=2, seed=1, duration_s=0.2)
    facts = trace.manifest["simulation"]["scheduler"]
    assert facts["name"] == f"model:{path}" and len(facts["model_version"]) == 16


def test_the_same_simulation_comes_out_twice():
    hashes = {
        simulate(
            "poisson:load=0.9", ModelScheduler(model(SHORT_FIRST)), cpus=2, seed=2, duration_s=0.3
        ).manifest["simulation"]["totals"]["hash"]
        for _ in range(2)
    }
    assert len(hashes) == 1


def test_nobody_starves():
    """A task that the model puts last waits no longer than it may, beside slices that are under way."""
    trace = simulate("bursts:load=1.5", ModelScheduler(model({"nice": 1})), cpus=1, seed=2, duration_s=2)
    longest = Analysis(trace).overall()["wakeup_latency_max_ns"]
    assert longest < 2_000_000_000
    worst = ModelScheduler(model({"burst_median_ns": 4}))
    trace = simulate("interactive:load=0.9", worst, cpus=1, seed=2, duration_s=2)
    assert Analysis(trace).overall()["wakeup_latency_max_ns"] < 400_000_000


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (model({"nice": 1}, ("stay", "migrate")), "of no task whether it comes first"),
        (model({"slept_for_io": 1}), "does not know: slept_for_io"),
    ],
)
def test_a_model_that_is_no_scheduler_is_refused(made, told):
    with pytest.raises(ModelError, match=told):
        ModelScheduler(made)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="there is no model"):
        simulate("poisson", "model:/nowhere.safetensors", cpus=2, duration_s=0.1)
