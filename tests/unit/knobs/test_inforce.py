from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.knobs.inforce import (
    Attributes,
    Force,
    Seen,
    SettingFinding,
    expectations,
    file_finding,
    findings,
)

PLAIN = Attributes(policy=0, nice=0, slice_ns=3_000_000, slack_ns=50_000, cpus=(0, 1, 2, 3), autogroup_nice=0)
REALTIME = replace(PLAIN, policy=1, slack_ns=0)


def judged(knob: str, wanted: Attributes, *had: tuple[Attributes, int], work_ns: int = 0) -> SettingFinding:
    rows = [Seen(f"task{n}", attributes, cpu_ns) for n, (attributes, cpu_ns) in enumerate(had)]
    return findings(expectations([knob], wanted), rows, work_ns)[knob]


NICED = replace(PLAIN, nice=5)
ON_ONE = replace(PLAIN, cpus=(1,))
ON_TWO = replace(PLAIN, cpus=(0, 1))


@pytest.mark.parametrize(
    ("knob", "wanted", "had", "force"),
    [
        ("nice", NICED, NICED, Force.IN_FORCE),
        ("nice", NICED, PLAIN, Force.UNDONE),
        ("nice", NICED, replace(NICED, nice=8), Force.UNDONE),  # `nice -n 3` adds to it
        ("nice", NICED, replace(NICED, policy=1), Force.UNDONE),  # a realtime task's is without effect
        ("nice", NICED, replace(NICED, policy=3), Force.IN_FORCE),
        ("nice", NICED, replace(NICED, cpus=(0,)), Force.IN_FORCE),
        ("policy", replace(PLAIN, policy=3), replace(PLAIN, policy=3), Force.IN_FORCE),
        ("policy", replace(PLAIN, policy=3), PLAIN, Force.UNDONE),
        ("policy", replace(PLAIN, policy=5), REALTIME, Force.UNDONE),
        ("policy", replace(PLAIN, policy=5), replace(PLAIN, policy=99), Force.UNDONE),
        ("realtime", REALTIME, REALTIME, Force.IN_FORCE),
        ("realtime", REALTIME, PLAIN, Force.UNDONE),
        ("realtime", REALTIME, replace(REALTIME, policy=2), Force.UNDONE),
        ("slice_us", PLAIN, PLAIN, Force.IN_FORCE),
        ("slice_us", PLAIN, replace(PLAIN, slice_ns=1), Force.UNDONE),
        ("slice_us", PLAIN, replace(PLAIN, policy=5), Force.UNDONE),  # idle tasks have no slice of their own
        ("timer_slack_us", PLAIN, PLAIN, Force.IN_FORCE),
        ("timer_slack_us", PLAIN, replace(PLAIN, slack_ns=1), Force.UNDONE),
        ("timer_slack_us", PLAIN, REALTIME, Force.UNDONE),
        ("timer_slack_us", PLAIN, replace(PLAIN, slack_ns=None), Force.NOT_CHECKED),  # unreadable
        ("affinity", ON_TWO, ON_TWO, Force.IN_FORCE),
        ("affinity", ON_TWO, ON_ONE, Force.IN_FORCE),  # bound inside the set
        ("affinity", ON_ONE, ON_TWO, Force.UNDONE),
        ("affinity", ON_ONE, replace(PLAIN, cpus=(2,)), Force.UNDONE),
        ("affinity", ON_ONE, replace(PLAIN, cpus=None), Force.NOT_CHECKED),
        (
            "autogroup_nice",
            replace(PLAIN, autogroup_nice=7),
            replace(PLAIN, autogroup_nice=7),
            Force.IN_FORCE,
        ),
        ("autogroup_nice", replace(PLAIN, autogroup_nice=7), PLAIN, Force.UNDONE),
        ("cpuset", replace(PLAIN, inside=frozenset({"cpuset"})), PLAIN, Force.UNDONE),
        ("cpu_quota", replace(PLAIN, inside=frozenset({"cpu_quota"})), PLAIN, Force.UNDONE),
        (
            "cpu_weight",
            replace(PLAIN, inside=frozenset({"cpu_weight"})),
            replace(PLAIN, inside=frozenset({"cpu_weight"})),
            Force.IN_FORCE,
        ),
    ],
)
def test_what_a_task_has_says_whether_a_setting_holds(knob, wanted, had, force):
    assert judged(knob, wanted, (had, 1_000_000)).force is force


def test_tasks_count_by_the_cpu_time_that_they_used():
    assert judged("nice", NICED, (NICED, 60), (PLAIN, 40)).force is Force.PARTLY
    assert judged("nice", NICED, (NICED, 40), (PLAIN, 60)).force is Force.UNDONE
    assert judged("nice", NICED, (NICED, 999), (PLAIN, 1)).force is Force.IN_FORCE


def test_a_realtime_helper_is_told_of_and_undoes_nothing():
    found = judged("policy", replace(PLAIN, policy=3), (replace(PLAIN, policy=3), 95), (REALTIME, 5))
    assert str(found) == "partly in force: 5% of the CPU time had policy fifo (task1)"


def test_threads_bound_to_one_cpu_each_of_the_set_undo_nothing():
    each = [(replace(PLAIN, cpus=(cpu,)), 10) for cpu in (0, 1)]
    assert judged("affinity", ON_TWO, *each) == SettingFinding(Force.IN_FORCE)


def test_the_one_that_used_most_is_named():
    found = judged("affinity", ON_ONE, (ON_ONE, 1), (PLAIN, 5), (ON_TWO, 7))
    assert str(found) == "not in force: 92% of the CPU time had CPUs 0-1 (task2)"
    assert Force.of(str(found)) is Force.UNDONE


def test_what_was_not_seen_is_not_judged():
    assert judged("nice", NICED).force is Force.NOT_CHECKED
    assert judged("nice", NICED, (NICED, 40), work_ns=100).force is Force.NOT_CHECKED
    assert judged("nice", NICED, (PLAIN, 40), work_ns=100).force is Force.NOT_CHECKED
    assert judged("nice", NICED, (NICED, 60), work_ns=100).force is Force.IN_FORCE


def test_what_a_setting_can_not_have_is_not_expected():
    """A slice is not an attribute of an idle task; a knob of the whole machine is none of any task."""
    idle = replace(PLAIN, policy=5)
    assert expectations(["policy", "slice_us", "base_slice_us"], idle) == {"policy": "idle"}


def test_a_name_can_not_steer_the_terminal():
    found = findings(expectations(["nice"], NICED), [Seen("a\x1b[2Jb", PLAIN, 1)])["nice"]
    assert "\x1b" not in str(found) and "(a?[2Jb)" in str(found)


def test_a_file_that_is_as_it_was_set_was_in_force():
    assert file_finding("100", "100").force is Force.IN_FORCE
    assert str(file_finding("100", "50")) == "not in force: it was changed to '50' during the run"


ATTRIBUTES = st.builds(
    Attributes,
    policy=st.sampled_from([0, 1, 2, 3, 5, 6, 7]),
    nice=st.integers(-20, 19),
    slice_ns=st.sampled_from([100_000, 3_000_000, 100_000_000]),
    slack_ns=st.sampled_from([None, 0, 1000, 50_000]),
    cpus=st.none() | st.sets(st.integers(0, 4), min_size=1).map(lambda cpus: tuple(sorted(cpus))),
    autogroup_nice=st.none() | st.integers(-20, 19),
    inside=st.frozensets(st.sampled_from(["cpu_weight", "cpu_quota", "cpuset"])),
)
KNOBS = ["nice", "policy", "realtime", "slice_us", "timer_slack_us", "affinity", "autogroup_nice"]
KNOBS += ["cpu_weight", "cpu_quota", "cpuset"]
ROWS = st.lists(
    st.builds(Seen, name=st.text(max_size=15), attributes=ATTRIBUTES, cpu_ns=st.integers(1, 10**9))
)


@settings(max_examples=300)
@given(gate=ATTRIBUTES, cpu_ns=st.lists(st.integers(1, 10**9), min_size=1))
def test_tasks_that_have_what_was_set_are_in_force_whatever_it_is(gate, cpu_ns):
    wanted = expectations(KNOBS, gate)
    found = findings(wanted, [Seen("x", gate, ns) for ns in cpu_ns], sum(cpu_ns))
    assert {one.force for one in found.values()} <= {Force.IN_FORCE}
    assert found.keys() == wanted.keys()


@settings(max_examples=300)
@given(gate=ATTRIBUTES, rows=ROWS, work_ns=st.integers(0, 10**10), factor=st.integers(2, 1000))
def test_findings_depend_on_shares_alone_and_their_texts_tell_them(gate, rows, work_ns, factor):
    wanted = expectations(KNOBS, gate)
    found = findings(wanted, rows, work_ns)
    scaled = [replace(row, cpu_ns=factor * row.cpu_ns) for row in rows]
    assert findings(wanted, list(reversed(scaled)), factor * work_ns) == found
    for one in found.values():
        assert Force.of(str(one)) is one.force
        assert str(one).isprintable()
        assert (one.force is Force.UNDONE) <= (one.without >= 0.5)


@settings(max_examples=200)
@given(gate=ATTRIBUTES, rows=ROWS, more=st.integers(1, 10**9))
def test_more_work_under_the_settings_never_undoes_them(gate, rows, more):
    wanted = expectations(KNOBS, gate)
    before = findings(wanted, rows)
    after = findings(wanted, [*rows, Seen("more", gate, more)])
    for knob, one in before.items():
        assert after[knob].without <= one.without + 1e-9 or one.force is Force.NOT_CHECKED
