from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.lookup import registered


def test_only_what_differs_is_on_the_command_line():
    p2dq = registered("scx_p2dq").with_values(
        {"autoslice": True, "dsq_time_slices": (100, 200, 300), "fork_balance": False, "min_slice_us": 100}
    )
    assert command_line(p2dq) == [
        "--autoslice",
        *("--dsq-time-slices", "100", "--dsq-time-slices", "200", "--dsq-time-slices", "300"),
        "--fork-balance=false",
    ]


def test_short_flags_take_their_value_apart():
    assert command_line(registered("scx_central").with_values({"slice_us": 1000})) == ["-s", "1000"]
