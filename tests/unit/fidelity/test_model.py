"""The judgement of one model against another: the same one passes, those that are wrong on purpose fail."""

from __future__ import annotations

import json

import pytest

from schedtuna.errors import UnavailableError

try:
    from schedtuna.fidelity import judge, rules
    from schedtuna.fidelity.calibrate import calibrated
    from schedtuna.fidelity.certificate import controls_of, judge_changes, judge_controls, judge_load, verdict
    from schedtuna.fidelity.changes import BASE, CHANGES, changed_load
    from schedtuna.fidelity.judge import CellOutcome
    from schedtuna.fidelity.loads import LOADS, played_load, pure_switching, short_wakeups
    from schedtuna.fidelity.measure import Interruptions
    from schedtuna.fidelity.model import Model, matched_noise, nr_simulated, simulated_runs
    from schedtuna.sim.native import parse_rt_app
    from schedtuna.sim.topology import MachineShape
    from schedtuna.sim.traced import simulate
except UnavailableError as missing:
    pytest.skip(str(missing), allow_module_level=True)

CPUS = (0, 1)
MODEL = Model(MachineShape(1, 2, 1))
SEEDS = range(4)
# The machine is the same model with other seeds; one load of each trait, short.
TRIED = ("periodic", "sleepers", "groups", "ping-pong")


@pytest.fixture(scope="module")
def sides():
    real, model, controlled = {}, {}, {}
    for name in TRIED:
        load = played_load(name, 1, CPUS, 1)
        real[name] = simulated_runs(load, MODEL, [seed + 500 for seed in SEEDS])
        model[name] = simulated_runs(load, MODEL, SEEDS)
        controlled[name] = {
            control: simulated_runs(load, MODEL, SEEDS, control=rules.CONTROLS[control])
            for control in controls_of(LOADS[name])
        }
    cells = [cell for name in TRIED for cell in judge_load(name, real[name], model[name], controlled[name])]
    return real, cells, controlled


def test_a_model_passes_against_itself(sides):
    _, cells, _ = sides
    assert judge.cells_agree(cells)[0]
    assert {cell.outcome for cell in cells} <= {CellOutcome.PASS, CellOutcome.INSENSITIVE}
    assert {cell.load for cell in cells if cell.outcome is CellOutcome.PASS} == set(TRIED)


def test_every_model_that_is_wrong_on_purpose_fails(sides):
    real, cells, controlled = sides
    found = judge_controls(cells, real, controlled)
    assert {result.name for result in found} == set(rules.CONTROLS)
    assert [result.name for result in found if not result.fails] == []


def test_what_capacity_alone_decides_does_not_count(sides):
    """Hogs that never sleep wait all the time, whoever runs: their run delay can't tell schedulers apart."""
    _, cells, _ = sides
    delay = next(cell for cell in cells if (cell.load, cell.metric) == ("groups", "run_delay_ms_per_s"))
    assert delay.outcome is CellOutcome.INSENSITIVE


def test_groups_share_by_weight_not_by_number(sides):
    """One hog beside four gets what its group's weight says: 1.25 per nice value between the groups."""
    real, _, _ = sides
    load = played_load("groups", 1, CPUS, 1)
    ratio = 1.25 ** (max(load.groups) - min(load.groups))
    share = sum(run.figures["share:alone"] for run in real["groups"]) / len(real["groups"])
    assert share == pytest.approx(100 * ratio / (1 + ratio), abs=2)


def test_every_load_is_read_by_the_simulator_and_seeded():
    for name in LOADS:
        one = played_load(name, 1, CPUS, 1)
        assert one == played_load(name, 1, CPUS, 1)
        assert any(one != played_load(name, seed, CPUS, 1) for seed in range(2, 6))
        for content in (one.simulated(7), *one.files().values()):
            parse_rt_app(json.dumps(content), name)


def test_shuffled_weights_are_the_same_ones():
    load = played_load("hogs", 1, CPUS, 1)
    before = [task.get("priority", 0) for task in load.simulated()["tasks"].values()]
    shuffled = load.simulated(control=rules.CONTROLS["shuffled_weights"])["tasks"].values()
    after = [task["priority"] for task in shuffled]
    assert sorted(before) == sorted(after)
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_phases_cover_the_tick():
    assert nr_simulated(10) == 20
    for runs in range(1, 30):
        assert nr_simulated(runs) >= rules.FEWEST_PHASES
        assert nr_simulated(runs) % runs == 0


@pytest.mark.parametrize("per_s", [20, 150])
def test_tasks_of_others_come_as_often_as_they_were_seen(per_s):
    load = played_load("hogs", 1, CPUS, 2)
    noise = matched_noise(load, MODEL, Interruptions(per_s=per_s, mean_ns=50_000, share=per_s * 50e-6))
    found = [run.interruptions for run in simulated_runs(load, MODEL, [1, 2], noise=noise, nr_runs=6)]
    assert sum(one.per_s for one in found) / 6 == pytest.approx(per_s, rel=0.2)
    assert sum(one.share for one in found) / 6 == pytest.approx(per_s * 50e-6, rel=0.3)


def test_changes_are_as_many_as_it_takes_and_agree_with_themselves():
    names = ["slice-long", "nice-5", "idle-all", "tasks-3"]
    real, model = {}, {}
    for name in (BASE, *names):
        load = changed_load(name, 1, CPUS, 1)
        real[name] = simulated_runs(load, MODEL, [7, 8, 9])
        model[name] = simulated_runs(load, MODEL, [1, 2, 3])
    found = judge_changes(real, model)
    assert [one.change for one in found] == names
    assert all(one.has_verdict and one.sign_is_right for one in found)
    assert len(CHANGES) - sum(change.fewest_cpus > 1 for change in CHANGES.values()) >= rules.FEWEST_CHANGES
    agreement = judge.differences_agree(found)
    assert agreement.slope == pytest.approx(1, abs=0.1)
    assert not verdict([], [], agreement, fewest=10)[0]


def test_every_change_is_read_by_the_simulator():
    for name in (BASE, *CHANGES):
        parse_rt_app(json.dumps(changed_load(name, 1, CPUS, 1).simulated()), name)


def test_calibration_finds_what_was_simulated():
    costs = {"context_switch_ns": 2100, "wakeup_ns": 1400, "idle_exit_ns": 9000}
    costs |= {"kthread_per_s": 40, "kthread_ns": 30_000}
    loads = [(pure_switching(CPUS).simulated(), 0.1), (short_wakeups(CPUS, 5).simulated(), 5.0)]
    traces = [simulate(load, cpus=2, costs=costs, duration_s=seconds) for load, seconds in loads]
    found = calibrated(traces).constants
    assert found["context_switch_ns"].value == pytest.approx(2100, rel=0.01)
    assert found["wakeup_ns"].value == pytest.approx(1400, rel=0.01)
    assert found["idle_exit_ns"].value == pytest.approx(9000, rel=0.05)
    assert found["kthread_per_s"].value == pytest.approx(40, rel=0.3)
    assert found["kthread_ns"].value == pytest.approx(30_000, rel=0.3)
    fitted = {name for name, constant in found.items() if constant.is_fitted}
    assert fitted == {*costs}


def test_what_moves_nothing_stays_default():
    trace = simulate(played_load("hogs", 1, CPUS, 1).simulated(), cpus=2)
    found = calibrated([trace]).constants
    assert not any(constant.is_fitted for constant in found.values())
    assert "default" in found["context_switch_ns"].source
