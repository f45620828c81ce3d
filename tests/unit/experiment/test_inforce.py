"""What follows where settings were not in force: no verdict, failed runs, notes. On real commands."""

import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from schedtuna.backend.base import Side, Trial, Validity
from schedtuna.backend.host import HostBackend
from schedtuna.backend.reach import require_reach
from schedtuna.errors import StudyError
from schedtuna.evidence.design import Arm
from schedtuna.experiment.compare import Comparison, compare
from schedtuna.experiment.inforce import (
    Undoing,
    in_force_notes,
    is_undone,
    require_in_force,
    require_some_in_force,
)
from schedtuna.experiment.triallog import LOG_NAME, TrialLog, TrialRecord
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction, MetricSource, MetricSpec, RunSpec, Workload

DEFAULT = SchedulerConfig(name="default")
NICED = SchedulerConfig(name="fair", values={"nice": 5})
LABELS = {Arm.A: "default", Arm.A2: "default", Arm.B: "fair:nice=5"}
SCORE = MetricSpec(
    name="score", direction=Direction.MAX, source=MetricSource(kind="regex", argument="score ([0-9]+)")
)
UNDONE = "not in force: 97% of the CPU time had nice 8 (sh)"
sees_all = pytest.mark.skipif(bool(missing_capabilities()), reason="needs CAP_BPF and CAP_PERFMON")


def trial(text: str = "in force", values: dict | None = None) -> Trial:
    values = {"nice": 5} if values is None else values
    undone = text.startswith("not in force")
    return Trial(
        scheduler="fair",
        values=values,
        validity=Validity.FAILED if undone else Validity.OK,
        reason=f"nice=5 was {text}" if undone else "",
        in_force={"nice": text} if values else {},
    )


def blocks(*texts: str) -> list[TrialRecord]:
    """Blocks whose candidate's runs had these texts."""
    rows = [[(Arm.A, trial(values={})), (Arm.B, trial(text)), (Arm.A2, trial(values={}))] for text in texts]
    flat = [run for row in rows for run in row]
    return [TrialRecord(phase="p", index=n, arm=arm, trial=one) for n, (arm, one) in enumerate(flat)]


def test_a_side_that_never_had_its_settings_ends_the_comparison():
    require_in_force(blocks(UNDONE, UNDONE), LABELS)  # it still has a chance
    with pytest.raises(
        StudyError, match=r"no verdict: .*fair:nice=5.* in none of its 3 runs: .*nice 8"
    ) as caught:
        require_in_force(blocks(UNDONE, UNDONE, UNDONE), LABELS)
    assert caught.value.exit_code == 1 and "knob" in caught.value.hint


class NowAndThen:
    """Runs of a candidate that is faster by a factor; a share of one side's runs is without its settings."""

    name = "now and then"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(self, *, gain: float, share: float, undoes: int, seed: int) -> None:
        self.gain, self.share, self.undoes = gain, share, undoes
        self.rng = np.random.default_rng(seed)

    def run(self, workload, scheduler, *, seed, nth=0):
        nice = scheduler.values["nice"]
        undone = nice == self.undoes and self.rng.random() < self.share
        rate = 1000 * math.exp(0.01 * float(self.rng.standard_normal())) * (self.gain if nice == 5 else 1)
        metrics = {} if undone else {"x": rate}
        made = trial(UNDONE if undone else "in force", scheduler.values)
        return made.model_copy(update={"seed": seed, "metrics": metrics, "duration_s": 1.0})


@pytest.mark.parametrize("undoes", [3, 5])
@pytest.mark.parametrize("gain", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_runs_without_their_settings_never_turn_a_verdict(tmp_path, undoes, gain, share):
    true = {0.9: "worse", 1.0: "no_evidence", 1.1: "improved"}[gain]
    for seed in range(2):
        with TrialLog(tmp_path / str(seed), {"workload": "w"}) as log:
            try:
                backend = NowAndThen(gain=gain, share=share, undoes=undoes, seed=seed)
                found = compare(
                    RunSpec(
                        workload=Workload(argv=("x",)),
                        metrics=(MetricSpec(name="x", direction=Direction.MAX),),
                        seed=seed,
                    ),
                    Side(backend, SchedulerConfig(name="fair", values={"nice": 3})),
                    Side(backend, NICED),
                    log=log,
                    budget=60,
                )
            except StudyError as error:
                assert f"fair:nice={undoes} were" in str(error)  # noqa: PT017  # either will do
            else:
                allowed = {true, "too_noisy"} | ({"no_evidence"} if true == "worse" else set())
                assert found.verdict in allowed


@pytest.mark.parametrize("at", range(3))
def test_one_run_that_had_them_is_enough_to_go_on(at):
    texts = [UNDONE] * 3
    texts[at] = "in force"
    require_in_force(blocks(*texts), LABELS)


def test_where_both_sides_are_undone_the_first_block_ends_it():
    records = [
        record.model_copy(
            update={"trial": trial(UNDONE, {"nice": 9} if record.arm != Arm.B else {"nice": 5})}
        )
        for record in blocks(UNDONE)
    ]
    with pytest.raises(StudyError, match="in force in none"):
        require_in_force(records, {**LABELS, Arm.A: "fair:nice=9", Arm.A2: "fair:nice=9"})


def test_a_run_that_failed_for_another_reason_is_not_undone():
    failed = Trial(
        scheduler="fair", validity=Validity.FAILED, reason="exit code 1", in_force={"nice": "in force"}
    )
    assert not is_undone(failed)


def test_readers_are_told_of_what_was_partly_in_force_undone_or_not_checked():
    partly = "partly in force: 12% of the CPU time had nice 0 (helper)"
    texts = ["in force", partly, UNDONE, "not checked"]
    told = list(in_force_notes(DEFAULT, NICED, blocks(*texts)))
    assert len(told) == 3
    assert "undone in 1 of 4 runs" in told[0] and "nice 8 (sh)" in told[0]
    assert "partly in force in 1 of 4" in told[1] and "helper" in told[1]
    assert "not checked in 1 of 4" in told[2]
    assert list(in_force_notes(DEFAULT, NICED, blocks("in force"))) == []


def test_a_knob_that_the_command_always_undoes_is_told_once_and_early():
    undoing = Undoing()
    assert [undoing.add(trial(UNDONE)) for _ in range(2)] == [[], []]
    [advice] = undoing.add(trial(UNDONE))
    assert "--exclude nice" in advice
    assert undoing.add(trial(UNDONE)) == []


def test_a_knob_that_was_in_force_once_is_not_a_waste():
    undoing = Undoing()
    texts = ["in force", *[UNDONE] * 10]
    assert [undoing.add(trial(text)) for text in texts] == [[]] * len(texts)


def test_a_search_of_which_every_candidate_was_undone_says_so():
    require_some_in_force([trial(values={}), trial(UNDONE), trial("in force")])
    with pytest.raises(StudyError, match="none of 2 candidates had its settings in force: nice=5 was not"):
        require_some_in_force([trial(values={}), trial(UNDONE), trial(UNDONE)])


def test_a_log_of_before_says_nothing_of_what_was_in_force():
    content = trial().model_dump(mode="json")
    del content["in_force"]
    assert Trial.model_validate(content).in_force == {}


def run_comparison(folder: Path, script: str, backend: HostBackend) -> Comparison:
    workload = Workload(argv=(script,), shell=True)
    with TrialLog(folder, {"workload": "w"}) as log:
        return compare(
            RunSpec(workload=workload, metrics=(SCORE,), seed=3),
            Side(backend, DEFAULT),
            Side(backend, fair(include=["nice"]).with_values({"nice": 5})),
            budget=12,
            log=log,
        )


@sees_all
def test_a_command_that_undoes_the_setting_gets_no_verdict_again_on_resuming(tmp_path):
    script = "exec nice -n 3 sh -c 'echo score 10'"
    with HostBackend(metrics=[SCORE], journal=Journal(tmp_path / "state")) as backend:
        with pytest.raises(StudyError, match=r"nice=5 was not in force.*`nice -n 3` sets its own nice"):
            run_comparison(tmp_path / "log", script, backend)
        lines = (tmp_path / "log" / LOG_NAME).read_text().splitlines()[1:]
        seen = [json.loads(line)["trial"]["in_force"] for line in lines]
        assert sorted(map(len, seen))[-3:] == [1, 1, 1] and {} in seen
        with pytest.raises(StudyError, match="no verdict"):
            run_comparison(tmp_path / "log", script, backend)
    assert len((tmp_path / "log" / LOG_NAME).read_text().splitlines()) == len(lines) + 1


@sees_all
def test_runs_that_had_the_setting_count_and_those_that_had_not_fail(tmp_path):
    """The command undoes the setting in runs of an odd seed only."""
    script = (
        "if [ $(nice) = 5 ] && [ $(($SCHEDTUNA_SEED % 4)) = 1 ]; "
        "then exec nice -n 3 sh -c 'echo score 10'; fi; echo score 10"
    )
    with HostBackend(metrics=[SCORE], journal=Journal(tmp_path / "state")) as backend:
        try:
            found = run_comparison(tmp_path / "log", script, backend)
        except StudyError as error:  # by chance every seed was odd
            pytest.fail(str(error))
    trials = [record.trial for record in found.records if record.arm == Arm.B]
    for one in trials:
        odd = one.seed % 4 == 1
        assert (one.validity is Validity.FAILED) == odd == is_undone(one)
    assert any("undone" in note for note in found.notes) == any(map(is_undone, trials))


def reach(command: list[str], schedulers=(DEFAULT, NICED), target=None, turned=(), **options) -> list[str]:
    workload = Workload(argv=tuple(command), **options)
    return require_reach(workload, target or Target(), schedulers, turned)


def test_a_client_is_refused_before_the_first_run_with_the_way_out():
    with pytest.raises(StudyError, match="docker hands its work to a daemon") as caught:
        reach(["docker", "run", "--rm", "img", "bench"])
    assert "--pid" in caught.value.hint and "--cgroup" in caught.value.hint
    assert "--allow-client" in caught.value.hint


def test_a_client_is_the_load_of_a_service_and_no_matter_where_nothing_is_set():
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert reach(["docker", "run", "img"], target=Target(Scope.PID, pid=process.pid)) == []
    finally:
        process.kill()
        process.wait()
    assert reach(["docker", "run", "img"], schedulers=(DEFAULT, DEFAULT)) == []


def test_settings_of_the_machine_reach_its_daemons_and_no_other_machine():
    sliced = SchedulerConfig(name="fair", values={"base_slice_us": 3000})
    assert reach(["docker", "run", "img"], schedulers=(DEFAULT, sliced)) == []
    with pytest.raises(StudyError, match="another machine"):
        reach(["ssh", "host", "bench"], schedulers=(DEFAULT, sliced))


def test_what_a_search_would_vary_can_not_reach_it_either():
    with pytest.raises(StudyError, match="affinity, nice would be in force nowhere"):
        reach(["kubectl", "exec", "pod"], schedulers=(DEFAULT,), turned=["nice", "affinity"])


def test_who_says_that_it_works_here_or_does_other_work_too_is_warned_alone():
    [warning] = reach(["docker", "run", "img"], works_here=True)
    assert "--pid" in warning and "--cgroup" in warning
    [warning] = reach(["docker start db; ./bench"], shell=True)
    assert "docker" in warning


def test_a_command_line_that_sets_the_attribute_is_warned_of():
    [warning] = reach(["nice", "-n", "3", "./bench"])
    assert "`nice -n 3`" in warning
    assert reach(["taskset", "-c", "0", "./bench"]) == []
