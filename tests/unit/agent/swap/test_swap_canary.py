"""What has cost far too much is not chosen again under such loads."""

from schedtuna.agent.swap.canary import LEAST_WINDOWS, LIMIT, Canary

ARMS = ("default", "a", "b")


def test_windows_that_cost_three_times_the_default_leave_their_arm_out_under_their_loads_alone():
    canary = Canary(ARMS)
    for _ in range(LEAST_WINDOWS):
        assert canary.allowed("busy").all()
        canary.take("a", LIMIT + 6, "busy")
    assert canary.allowed("busy").tolist() == [True, False, True]
    assert canary.allowed("calm").all()
    assert "2 windows cost 9.0 times" in canary.why_not("a", "busy")


def test_one_window_that_began_under_another_load_does_not_decide():
    canary = Canary(ARMS)
    for cost in (0.9, 0.9, 9.0, 0.9, 0.9):
        canary.take("a", cost, "calm", "calm")
    assert canary.allowed("calm").all()
    canary.take("a", 9.0, "calm", "busy")
    canary.take("a", 9.0, "busy", "busy")
    assert not canary.allowed("busy")[1]


def test_the_default_is_never_left_out():
    canary = Canary(ARMS)
    for _ in range(9):
        canary.take("default", 50.0, "calm")
    assert canary.allowed("calm").all()
