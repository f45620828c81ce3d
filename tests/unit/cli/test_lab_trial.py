from types import SimpleNamespace

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.backend.deterministic import DeterministicBackend
from schedtuna.backend.places.guest import Guest
from schedtuna.cli import lab_trial
from schedtuna.errors import MetricError
from schedtuna.workload.command import RawRun


class Guests(DeterministicBackend):
    """Deterministic guests without a lab, whose first run prints a score and whose second one does not."""

    def __init__(self) -> None:
        self.machine = SimpleNamespace(saved=SimpleNamespace(boot_s=None))  # type: ignore[assignment]
        self._trials = [
            Trial(scheduler="fair", metrics={"score": 5.0}),
            Trial(scheduler="fair", validity=Validity.FAILED, reason="the pattern matches nothing"),
        ]

    def run(self, _workload, _scheduler, *, seed, nth=0):
        raw = RawRun(0, None, False, 0.0, {"wall_time_s": 1.0})
        self.last = SimpleNamespace(  # type: ignore[assignment]
            seed=seed, raw=raw, ejected="", hash="00", guest_ns=10**9, nr_switches=3, wall_s=1.0
        )
        return self._trials.pop(0)


def test_a_metric_that_a_later_seed_does_not_print_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(Guest, "open", lambda _place, _spec: Guests())
    monkeypatch.setattr(lab_trial, "_shared", lambda _machine: {})
    options = lab_trial.TrialOptions(
        ("true",),
        kernel=None,
        cpus=1,
        topology=None,
        memory_mib=512,
        share=None,
        programs=(),
        timeout_s=9.0,
        seed=3,
        runs=2,
        scheduler="",
        metrics=("score:max=regex:score ([0-9]+)",),
        as_json=False,
    )
    with pytest.raises(MetricError, match="seed 4: the pattern matches nothing"):
        lab_trial.run_trials(options)
