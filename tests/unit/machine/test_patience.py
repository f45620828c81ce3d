from types import SimpleNamespace

import pytest

from schedtuna.machine.patience import Patience


@pytest.mark.parametrize(
    ("passed_s", "cpu_s", "ended"),
    [
        (59, 59, False),
        (61, 61, True),
        (61, 40, False),  # it had less than the limit of a CPU
        (239, 59, False),
        (241, 0, True),
        (59, 100, False),  # several CPUs at once
    ],
)
def test_a_limit_is_one_of_cpu_time_up_to_four_times_as_long(monkeypatch, passed_s, cpu_s, ended):
    now = {"clock": 1000.0, "cpu": 5.0}
    monkeypatch.setattr("schedtuna.machine.patience.time", SimpleNamespace(monotonic=lambda: now["clock"]))
    patience = Patience(60.0, lambda: now["cpu"])
    now["clock"] += passed_s
    now["cpu"] += cpu_s
    assert patience.passed_s() == passed_s
    assert patience.ended() is ended


def test_without_another_clock_the_limit_is_the_limit(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("schedtuna.machine.patience.time", SimpleNamespace(monotonic=lambda: now[0]))
    patience = Patience(60.0)
    now[0] += 61
    assert patience.ended()
