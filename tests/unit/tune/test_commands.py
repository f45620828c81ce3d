import shlex
from itertools import pairwise

import pytest
from tests.unit.tune.surface import SCHEDULER

from schedtuna.experiment.triallog import TrialLog
from schedtuna.tune.commands import apply_line, check_line, service_of
from schedtuna.tune.plan import StudyPlan
from schedtuna.workload.metrics import parse_metric, parse_requirement
from schedtuna.workload.spec import Workload


@pytest.mark.parametrize(
    ("workload", "command"),
    [
        (Workload(argv=("a b", "c")), ["a b", "c"]),
        (Workload(argv=("a | b",), shell=True), ["sh", "-c", "a | b"]),
        (Workload(argv=("a",), user="nobody"), ["runuser", "-u", "nobody", "--", "a"]),
    ],
)
def test_the_command_is_applied_as_it_was_run(workload, command):
    words = shlex.split(apply_line("my study", workload, "--print-unit"))
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


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("tree", ()),
        ("pid 4711", ("--pid", "4711")),
        ("cgroup /sys/fs/cgroup/a b", ("--cgroup", "/sys/fs/cgroup/a b")),
        ("machine", ("--scope", "machine")),
    ],
)
def test_the_service_that_was_tuned_is_named(tmp_path, target, options):
    with TrialLog(tmp_path, {"target": target}):
        pass
    assert service_of(tmp_path) == options
    plan = StudyPlan(scheduler=SCHEDULER, workload=Workload(argv=("a",)), metrics=(parse_metric("x:min"),))
    words = shlex.split(check_line(plan, {}, options))
    assert tuple(words[2 : 2 + len(options)]) == options
