import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from tests.unit.tune.surface import SCHEDULER

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.history.plan import StudyPlan
from schedtuna.knobs.base import Scope
from schedtuna.scheduler.definition import scheduler_from_mapping
from schedtuna.tune.commands import against_kernel_line, apply_line, check_line, scheduler_line
from schedtuna.workload.metrics import parse_metric, parse_requirement
from schedtuna.workload.spec import Workload

PLAN = StudyPlan(scheduler=SCHEDULER, workload=Workload(argv=("a",)), metrics=(parse_metric("x:min"),))


@pytest.mark.parametrize(
    ("workload", "command"),
    [
        (Workload(argv=("a b", "c")), ["a b", "c"]),
        (Workload(argv=("a | b",), shell=True), ["/bin/sh", "-c", "a | b"]),
        (Workload(argv=("a",), user="nobody"), ["runuser", "-u", "nobody", "--", "a"]),
        (Workload(argv=("a", "--seed", "{seed}")), ["a", "--seed", "7"]),  # apply fills nothing in
    ],
)
def test_the_command_is_applied_as_it_was_run(workload, command):
    plan = PLAN.model_copy(update={"workload": workload, "seed": 7})
    words = shlex.split(apply_line("my study", plan, "--print-unit"))
    assert words == ["schedtuna", "apply", "my study", "--print-unit", "--", *command]


def test_a_check_asks_the_same_question():
    plan = StudyPlan(
        scheduler=SCHEDULER,
        workload=Workload(argv=("a | b",), shell=True, timeout_s=20, warmup_runs=2),
        metrics=(parse_metric("score:max=regex:score ([0-9.]+)"), parse_metric("wall_time_s:min*0.5")),
        requirements=(parse_requirement("max_rss_kib<=500000"),),
        delta=0.01,
    )
    words = shlex.split(check_line(plan, {}))
    given = {key: [b for a, b in pairwise(words) if a == key] for key in words}
    assert tuple(parse_metric(text) for text in given["--metric"]) == plan.metrics
    assert tuple(parse_requirement(text) for text in given["--require"]) == plan.requirements
    assert (given["--timeout"], given["--warmup"], given["--delta"]) == (["20s"], ["2"], ["0.01"])
    assert words[-4:] == ["default", SCHEDULER.label(), "--", "a | b"]
    assert "--shell" in words
    assert "--user" not in words


def test_other_schedulers_are_checked_against_their_own_defaults_and_the_kernels():
    parameters = {"slice_us": {"type": "integer", "default": 5, "min_value": 1, "max_value": 9}}
    mine = scheduler_from_mapping({"name": "scx_mine", "parameters": parameters}, place="here")
    plan = PLAN.model_copy(update={"scheduler": mine})
    lines = check_line(plan, {"slice_us": 7}), against_kernel_line(plan, {"slice_us": 7})
    for line, default in zip(lines, ("scx_mine", "default"), strict=True):
        assert line is not None
        assert shlex.split(line)[-4:] == [default, "scx_mine:slice_us=7", "--", "a"]
    assert against_kernel_line(PLAN, {}) is None


@pytest.mark.parametrize(
    ("place", "options"),
    [
        (Host(), ()),
        (Host(scope=Scope.PID, pid=4711), ("--pid", "4711")),
        (Host(scope=Scope.CGROUP, cgroup=Path("/sys/fs/cgroup/a b")), ("--cgroup", "/sys/fs/cgroup/a b")),
        (Host(scope=Scope.MACHINE), ("--scope", "machine")),
        (Guest(), ("--backend", "vm")),
        (
            Guest(kernel="6.12", cpus=4),
            ("--backend", "vm", "--kernel", "6.12", "--cpus", "4"),
        ),
    ],
)
def test_where_it_was_tuned_is_named(place, options):
    plan = PLAN.model_copy(update={"place": place})
    words = shlex.split(check_line(plan, {}))
    assert tuple(words[: 2 + len(options)]) == ("schedtuna", "compare", *options)
    assert words[2 + len(options) :] == shlex.split(check_line(PLAN, {}))[2:]


def test_a_sched_ext_scheduler_is_started_with_its_flags():
    parameters = {
        "slice_us": {
            "type": "integer",
            "default": 5,
            "min_value": 1,
            "max_value": 9,
            "command_arg": "--slice-us",
        },
        "greedy": {"type": "boolean", "default": False, "command_arg": "-g"},
    }
    mine = scheduler_from_mapping({"name": "scx_mine", "parameters": parameters}, place="here")
    plan = PLAN.model_copy(
        update={"scheduler": mine.model_copy(update={"binary_path": Path("/opt/a b/scx_mine")})}
    )
    words = shlex.split(scheduler_line(plan, {"slice_us": 7, "greedy": True}))
    assert words == ["/opt/a b/scx_mine", "--slice-us=7", "-g"]
