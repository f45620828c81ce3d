import pytest

from schedtuna.backend.base import Trial
from schedtuna.backend.kernels import KernelsBackend, guests
from schedtuna.backend.vm import GuestChoice
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Workload

LOAD = Workload(argv=("true",))


class Fake:
    """A backend that says on which kernel a run was, and whether it is open."""

    warnings = ()

    def __init__(self, choice):
        self.choice = choice
        self.identity = f"{choice.kernel}, {choice.cpus} CPUs"
        self.is_open = False

    def __enter__(self):
        self.is_open = True
        return self

    def __exit__(self, *error):
        self.is_open = False

    def run(self, workload, scheduler, *, seed):
        assert self.is_open
        return Trial(scheduler=scheduler.name, seed=seed, reason=self.choice.kernel)


def test_each_run_is_on_its_schedulers_kernel():
    choice = GuestChoice(cpus=3, kernels=("6.18", "7.2"))
    with guests(choice, Fake) as backend:  # type: ignore[arg-type] # a stand-in for a VmBackend
        assert isinstance(backend, KernelsBackend)
        assert backend.identity == "6.18, 3 CPUs; 7.2, 3 CPUs"
        for kernel in ("7.2", "6.18", "7.2"):
            scheduler = SchedulerConfig(name="fair", kernel=kernel)
            assert scheduler.label() == f"fair on {kernel}"
            assert backend.run(LOAD, scheduler, seed=1).reason == kernel


def test_all_guests_go_when_it_is_left_by_an_error():
    fakes = []

    def make(choice):
        fakes.append(Fake(choice))
        return fakes[-1]

    with pytest.raises(KeyboardInterrupt):
        _interrupted(guests(GuestChoice(kernels=("a", "b")), make), fakes)
    assert not any(fake.is_open for fake in fakes)


def _interrupted(backend, fakes):
    with backend:
        assert all(fake.is_open for fake in fakes)
        raise KeyboardInterrupt


def test_one_kernel_is_one_guest():
    made: object = guests(GuestChoice("6.18"), Fake)  # type: ignore[arg-type] # a stand-in for a VmBackend
    assert isinstance(made, Fake)
