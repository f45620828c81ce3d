from types import SimpleNamespace

from schedtuna.scheduler.watch import Watch


class Scheduler:
    """What a watch asks a running scheduler."""

    def __init__(self, ops="test_1.0", reason="", log="", events=None):
        self.machine, self.is_object = None, False
        self.started = SimpleNamespace(ops=ops)
        self._reason, self._log, self._events = reason, log, events or {}

    def ejected(self):
        return self._reason

    def log(self):
        return self._log

    def events(self):
        return self._events


def watched(scheduler, seen=None):
    watch = Watch(scheduler, "scx_test", {} if seen is None else seen)
    watch.look()
    watch.conclude()
    return watch


def test_a_run_in_charge_has_the_counters_that_moved():
    watch = watched(Scheduler(events={"bypass_activate": 0, "enq_skip_exiting": 3}))
    assert watch.ejected() == ""
    assert watch.covariates == {"scx.ev_enq_skip_exiting": 3.0}


def test_an_ejection_has_the_kernels_reason():
    watch = watched(Scheduler(reason="sched_ext is disabled", log="EXIT: disabled by sysrq-S\n"))
    assert watch.ejected() == "sched_ext is disabled; the kernel says: disabled by sysrq-S"
    assert watch.covariates == {}


def test_another_version_than_in_earlier_runs_is_not_a_run_of_this_series():
    seen: dict[str, str] = {}
    assert watched(Scheduler(), seen).ejected() == ""
    assert "test_1.1 now" in watched(Scheduler("test_1.1"), seen).ejected()
    assert watched(Scheduler(), seen).ejected() == ""
