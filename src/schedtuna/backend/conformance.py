"""Does a place, and the backend that it opens, keep the contract? Checks that every place here passes.

from schedtuna.backend.conformance import check_place

check_place(MyPlace())  # raises ConformanceError and says what was expected
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from schedtuna.backend.base import Trial, Validity
from schedtuna.backend.places.base import Place
from schedtuna.backend.places.field import AnyPlace
from schedtuna.backend.places.registry import PLACES, place_class
from schedtuna.errors import ConformanceError, UsageError
from schedtuna.workload.spec import RunSpec, Workload

SEED = 7


@dataclass(frozen=True)
class Example:
    """What is run to find out.

    Attributes:
        works: A workload that succeeds.
        fails: One that fails.
        metric: Name of a metric that every successful run has.
    """

    works: Workload = field(default_factory=lambda: Workload(argv=("true",)))
    fails: Workload = field(default_factory=lambda: Workload(argv=("false",)))
    metric: str = "wall_time_s"


def check_place(place: Place, example: Example | None = None) -> None:
    """Run all checks.

    Args:
        place: A place whose kind is in `PLACES`.
        example: What is run there; default: `true` and `false`.

    Raises:
        ConformanceError: The first check that failed, and how.
    """
    for check in CHECKS:
        check(place, example or Example())


def it_is_data(place: Place, _example: Example) -> None:
    """A place is frozen, hashable, picklable, and comes back from JSON as what it was."""
    _expect(PLACES.get(place.kind) is not None, f"{place.kind!r} is not in the table of places")
    _expect(place_class(place.kind) is type(place), f"{place.kind!r} is another class in the table")
    _expect(pickle.loads(pickle.dumps(place)) == place, "it is another one once pickled")  # noqa: S301 - our own
    _expect({place: 1}[place.model_copy()] == 1, "equal places have different hashes")
    kinds: TypeAdapter[Place] = TypeAdapter(AnyPlace)
    _expect(kinds.validate_json(kinds.dump_json(place)) == place, "it is another one once read from JSON")
    _expect(bool(place.model_config.get("frozen")), "it can be changed")


def it_says_what_it_is(place: Place, example: Example) -> None:
    """Its label, options and CPUs can be told; equal workloads have equal identities."""
    _expect(bool(place.label), "it has no label")
    _expect(all(isinstance(word, str) for word in place.options()), "its options are not words")
    _expect(place.nr_cpus() >= 1, "it has no CPUs")
    _expect(place.identity(example.works) == place.identity(example.works), "its identity changes")


def schedulers_have_names(place: Place, _example: Example) -> None:
    """`default` is as it is found, and a name that nobody has is refused."""
    found = place.scheduler("default")
    _expect((found.name, found.values) == ("default", {}), f"default means {found.label()}")
    try:
        found = place.scheduler("scx_no_such_scheduler")
    except UsageError:
        return
    raise ConformanceError(f"scx_no_such_scheduler means {found.label()}")


def runs_become_trials(place: Place, example: Example) -> None:
    """A run that works has its metrics; one that fails is a trial with a reason, and ends nothing."""
    scheduler = place.scheduler("default")
    with place.open(RunSpec(workload=example.works), [scheduler]) as backend:
        _expect(backend.name == place.kind, f"its backend calls itself {backend.name!r}")
        for workload in (example.works, example.fails, example.works):
            trial = backend.run(workload, scheduler, seed=SEED)
            what = f"a run of {workload.argv[0]}"
            _expect((trial.scheduler, trial.seed) == ("default", SEED), f"{what} is a trial of another")
            worked = workload == example.works
            _expect((trial.validity is Validity.OK) == worked, f"{what} is {trial.validity}: {trial.reason}")
            _expect(bool(trial.reason) is not worked, f"{what} has the reason {trial.reason!r}")
            _expect((example.metric in trial.metrics) == worked, f"{what} has the metrics {trial.metrics}")
            _expect(Trial.model_validate_json(trial.model_dump_json()) == trial, f"{what} is lost in JSON")


def it_can_be_opened_again(place: Place, example: Example) -> None:
    """Whatever ends a session, the next one finds the place as the first one did."""
    spec, scheduler = RunSpec(workload=example.works), place.scheduler("default")
    with place.open(spec, [scheduler]) as first:
        told = dict(first.identity), list(first.warnings)
    with suppress(KeyboardInterrupt), place.open(spec, [scheduler]) as broken:
        broken.run(example.works, scheduler, seed=SEED)
        raise KeyboardInterrupt
    with place.open(spec, [scheduler]) as again:
        _expect((dict(again.identity), list(again.warnings)) == told, "it is another place after Ctrl-C")
        trial = again.run(example.works, scheduler, seed=SEED)
    _expect(trial.validity is Validity.OK, f"nothing runs after Ctrl-C: {trial.reason}")


CHECKS: tuple[Callable[[Place, Example], None], ...] = (
    it_is_data,
    it_says_what_it_is,
    schedulers_have_names,
    runs_become_trials,
    it_can_be_opened_again,
)


def _expect(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)
