"""Where equal seeds are equal runs, blocks are pairs, the default has to repeat, and seeds have to matter."""

import numpy as np
import pytest

from schedtuna.backend.base import Side, Trial, Validity
from schedtuna.backend.places.guest import Guest
from schedtuna.errors import StudyError
from schedtuna.evidence.design import Arm, Design
from schedtuna.evidence.verdict import Verdict
from schedtuna.experiment.compare import compare
from schedtuna.experiment.triallog import TrialLog
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction, MetricSpec, RunSpec, Workload

WALL = MetricSpec(name="wall_time_s", direction=Direction.MIN)
SPEC = RunSpec(workload=Workload(argv=("true",)), metrics=(WALL,), seed=3)


class Exact:
    """A place that a seed decides everything at, unless it is told to break that."""

    name = "exact"
    warnings: tuple[str, ...] = ()

    def __init__(self, *, drift=0.0, draws=True, fails=False):
        self.identity: dict[str, str] = {}
        self.runs: list[tuple[str, int]] = []
        self.drift, self.draws, self.fails = drift, draws, fails

    def run(self, workload, scheduler, *, seed, nth=0):
        self.runs.append((scheduler.name, seed))
        rng = np.random.default_rng(seed if self.draws else 1)
        value = 8 + rng.random() + self.drift * len(self.runs)
        if scheduler.name == "better":
            value *= 0.9 + 0.02 * rng.random()
        if self.fails and scheduler.name == "better":
            return Trial(scheduler=scheduler.name, seed=seed, validity=Validity.FAILED, reason="it failed")
        return Trial(scheduler=scheduler.name, seed=seed, metrics={"wall_time_s": value}, duration_s=0.1)


@pytest.fixture
def compared(tmp_path):
    def run(place, folder="log", **options):
        a, b = (Side(place, SchedulerConfig(name=name), is_exact=True) for name in ("default", "better"))
        with TrialLog(tmp_path / folder, {}, "") as log:
            return compare(SPEC, a, b, log=log, **options)

    return run


def test_blocks_are_pairs_and_the_default_is_repeated_once(compared):
    place = Exact()
    found = compared(place)
    assert (found.verdict, found.result.design) == (Verdict.IMPROVED, Design.PAIRS)
    assert found.nr_runs == 2 * found.result.pairs
    assert {record.arm for record in found.records} == {Arm.A, Arm.B}
    assert len(place.runs) == found.nr_runs + 1
    assert len({seed for _, seed in place.runs}) == found.result.pairs
    assert "Equal seeds" in " ".join(found.notes)


def test_a_default_that_does_not_repeat_ends_it(compared):
    with pytest.raises(StudyError, match=r"does not repeat: wall_time_s .*, then "):
        compared(Exact(drift=1e-12))


def test_a_load_that_draws_nothing_ends_it(compared):
    place = Exact(draws=False)
    with pytest.raises(StudyError, match="draws nothing from its seed"):
        compared(place)
    assert len(place.runs) <= 5


def test_a_budget_is_of_runs_and_a_candidate_that_never_works_has_no_verdict(compared):
    assert compared(Exact(), budget=25).nr_runs <= 24
    with pytest.raises(StudyError, match="better failed in each of its 4 runs"):
        compared(Exact(fails=True), folder="failing")


def test_an_interrupted_one_goes_on_as_planned(compared):
    whole = compared(Exact())
    again = compared(Exact())  # from the log, but for the default's repetition
    assert again.result == whole.result


def test_a_deterministic_guest_is_such_a_place():
    assert Guest(deterministic=True).is_exact
    assert not Guest().is_exact
