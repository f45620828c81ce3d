"""What earlier versions wrote opens, says the same, and goes on where it was.

Every file below `tests/data/old` is read by the test of its kind; see the README there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.old_files import EARLIER, LAST, LATER, OF_AGENT, OLD, copied, every

from schedtuna.backend.base import Side, Trial
from schedtuna.errors import TraceError, UnavailableError
from schedtuna.evidence.verdict import Verdict
from schedtuna.experiment import triallog
from schedtuna.experiment.compare import compare
from schedtuna.experiment.runtable import read_sample
from schedtuna.experiment.triallog import TrialLog, TrialRecord, read_trials
from schedtuna.experiment.variability import describe_trials, run_variability
from schedtuna.history import plan, results
from schedtuna.history.plan import StudyPlan
from schedtuna.history.studies import find_studies, read_study
from schedtuna.history.warmstart import past_runs
from schedtuna.knobs import records
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Record
from schedtuna.knobs.state import JOURNAL_NAME
from schedtuna.knobs.undo import UndoResult, undo
from schedtuna.lab import store
from schedtuna.lab.store import Lab, read_lab
from schedtuna.machine import manifest
from schedtuna.machine.manifest import Manifest, load_manifest
from schedtuna.machine.tasks import boot_id, start_ticks
from schedtuna.samplers.registry import SAMPLERS, make_sampler, missing_extra
from schedtuna.scheduler import definition, parse
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.trace.folder import read_manifest
from schedtuna.trace.schema import STORED as TRACE
from schedtuna.trace.store import open_trace
from schedtuna.tune import bakeoff
from schedtuna.tune.study import Study
from schedtuna.workload.spec import MetricSpec, RunSpec, Workload

LOAD = Workload(argv=("hackbench", "-s", "512", "-l", "20"))
TIME = MetricSpec(name="time_s", direction="min")
DEFAULT = SchedulerConfig(name="default")
AGAIN = RunSpec(workload=LOAD, seed=6)


class NothingRuns:
    """A backend for what has ended: there is nothing to run."""

    name = "nothing"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def run(self, workload, scheduler, *, seed, nth=0):
        raise AssertionError("a run was made again")


class SameAgain:
    """A backend that answers with metrics as the log's own trials have them."""

    name = "same"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(self, trial):
        self.trial = trial
        self.runs = 0

    def run(self, workload, scheduler, *, seed, nth=0):
        self.runs += 1
        changes = {"scheduler": scheduler.name, "values": scheduler.values, "seed": seed}
        return self.trial.model_copy(update=changes | {"in_force": {}})


def rounded(value):
    """Numbers as another machine's arithmetic would give them, too."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def loaded(path):
    return json.loads((OLD / path).read_text())


def continued(folder):
    """The log of a folder, by whoever started it."""
    return TrialLog(folder, read_trials(folder)[0])


def fair(name):
    found = read_study(OLD / LATER / "studies/gp").plan.scheduler
    assert name == "fair"
    return found


# What is read is what the migrations make of it, and stays so when it is written anew.


@pytest.mark.parametrize("path", every("*/studies/*/study.json"))
def test_a_plan_is_what_its_migration_makes(path, tmp_path):
    read = StudyPlan.read((OLD / path).parent)
    assert read == StudyPlan.model_validate(plan.STORED.upgrade(loaded(path), path))
    read.write(tmp_path)
    written = json.loads((tmp_path / "study.json").read_text())
    assert written["version"] == plan.STORED.newest
    assert plan.STORED.upgrade(written, path) == written
    assert StudyPlan.read(tmp_path) == read


@pytest.mark.parametrize("path", every("*/*/*/trials.jsonl"))
def test_a_log_is_what_its_migration_makes(path, tmp_path):
    head, *lines = (OLD / path).read_text().splitlines()
    version = json.loads(head)["version"]
    identity, trials = read_trials((OLD / path).parent)
    texts = [line for line in lines if line.endswith("}}")]
    assert len(texts) in (len(lines), len(lines) - 1)  # the last may be half a line
    assert [TrialRecord.model_validate(upgraded(text, version)) for text in texts] == trials
    folder = copied(str(Path(path).parent), tmp_path)
    with TrialLog(folder, identity) as log:
        assert log.records() == trials
        assert bool(log.warnings) == (len(texts) < len(lines))
    assert read_trials(folder) == (identity, trials)


def upgraded(line, version):
    return triallog.STORED.upgrade_line(json.loads(line), version)


@pytest.mark.parametrize("path", every("*/journals/*.jsonl"))
def test_a_record_is_what_its_migration_makes(path, tmp_path):
    entries = [json.loads(line) for line in (OLD / path).read_text().splitlines()]
    closed = {entry["done"] for entry in entries if "done" in entry}
    open_ones = [entry for entry in entries if "id" in entry and entry["id"] not in closed]
    read = journal_of(path, tmp_path).open_records()
    assert read == [Record.model_validate(records.STORED.upgrade(entry, path)) for entry in open_ones]
    assert [Record.model_validate(record.model_dump(mode="json")) for record in read] == read


@pytest.mark.parametrize("path", every("**/studies/*/manifest.json"))
def test_a_manifest_is_what_its_migration_makes(path):
    read = load_manifest(OLD / path)
    assert read == Manifest.model_validate(manifest.STORED.upgrade(loaded(path), path))
    assert read.machine.topology.online == (0, 1)


@pytest.mark.parametrize("path", every("*/traces/*/manifest.json"))
def test_a_traces_manifest_is_what_its_migration_makes(path):
    assert read_manifest((OLD / path).parent) == TRACE.upgrade(loaded(path), path)
    trace = open_trace((OLD / path).parent)
    with pytest.raises(TraceError, match="in which groups tasks were is unknown"):
        _ = trace.groups
    assert ("imported" in trace.why_no_groups) == (trace.manifest["mode"] == "import")
    if loaded(path)["schema_version"] == 1:
        with pytest.raises(TraceError, match="what tasks asked of the scheduler is unknown"):
            _ = trace.attributes
        assert ("imported" in trace.why_no_attributes) == (trace.manifest["mode"] == "import")


@pytest.mark.parametrize(("trace", "nr_tasks"), [("events", 17), ("cut", 5)])
def test_attributes_of_schema_version_2_have_no_groups(trace, nr_tasks):
    attributes = open_trace(OLD / "2026-11-30/traces" / trace).attributes
    assert attributes["tid"].n_unique() == nr_tasks
    assert attributes["group_id"].null_count() == attributes.height
    assert set(attributes["policy"]) == {"OTHER"}
    assert set(attributes["weight"]) == {1024}


@pytest.mark.parametrize("path", every("*/lab.json"))
def test_a_lab_is_what_its_migration_makes(path, tmp_path):
    content = json.loads((OLD / path).read_text().replace("/var/cache/schedtuna/lab", str(tmp_path)))
    assert "format_version" not in content
    (tmp_path / "lab.json").write_text(json.dumps(content))
    with pytest.raises(UnavailableError, match="is gone"):
        read_lab(tmp_path)
    (kernel,) = content["kernels"].values()
    for file in (content["qemu"]["argv"][0], content["image"], kernel["image"], kernel["unpacked"]):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    read = read_lab(tmp_path)
    assert read == Lab.model_validate(store.STORED.upgrade(content, path))
    assert read.kernel("7.3.4").version == "7.3.4+deb13-cloud-amd64"
    assert read.accelerator == "tcg"
    store.write_lab(read, tmp_path)
    assert json.loads((tmp_path / "lab.json").read_text())["format_version"] == store.STORED.newest
    assert read_lab(tmp_path) == read


FORMATS = {
    "study.json": plan.STORED,
    "trials.jsonl": triallog.STORED,
    "best_parameters.json": parse.STORED,
    "result.json": results.STORED,
    "a file that defines a scheduler": definition.STORED,
    "manifest.json of results": manifest.STORED,
    "manifest.json of a trace": TRACE,
    "journal.jsonl": records.STORED,
    "lab.json": store.STORED,
}


def test_the_documents_have_the_newest_versions():
    text = (Path(__file__).parents[2] / "docs/history.md").read_text().partition("## Files of other")[2]
    rows = [
        [cell.strip().replace("`", "") for cell in line.split("|")[1:4]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    for name, stored in FORMATS.items():
        (row,) = [row for row in rows if row[0].startswith(name)]
        assert (row[1].partition(",")[0], row[2]) == (stored.key, str(stored.newest)), name


# Studies.


@pytest.mark.parametrize("path", every("*/studies/*/result.json"))
def test_a_study_that_has_ended_says_the_same_without_a_run(path, tmp_path, monkeypatch):
    said = loaded(path)
    if said["sampler"] not in ("all", *HERE):
        pytest.skip(f"{said['sampler']} is not installed")
    of_its_time = {name: SAMPLERS[name] for name in ("gp", "random", "ucb")}
    monkeypatch.setattr(bakeoff, "installed_samplers", lambda: of_its_time)
    folder = copied(str(Path(path).parent), tmp_path)
    with continued(folder) as log:
        found = Study(StudyPlan.read(folder), NothingRuns(), log).run()
    assert found.candidate == said["candidate"]
    assert found.best == said["best"]
    summary = results.summary(found)
    for name in ("scheduler", "sampler", "metric", "verdict", "effect", "aa", "trials", "runs"):
        assert rounded(summary[name]) == rounded(said[name]), name
    assert [one["candidate"] for one in summary["samplers"]] == [one["candidate"] for one in said["samplers"]]
    results.write_results(found)
    assert json.loads((folder / "best_parameters.json").read_text())["version"] == 1
    assert read_study(folder).verdict == said["verdict"]


HERE = [name for name in ("gp", "random", "tpe", "ppo") if missing_extra(name) is None]


@pytest.mark.parametrize(("date", "nr_before"), [(EARLIER, 11), (LATER, 10)])
def test_a_study_that_was_killed_goes_on_with_its_next_run(date, nr_before, tmp_path):
    folder = copied(f"{date}/studies/killed", tmp_path)
    before = read_trials(folder)[1]
    assert len(before) == nr_before
    backend = SameAgain(before[0].trial)
    with continued(folder) as log:
        found = Study(StudyPlan.read(folder), backend, log).run()
    assert found.nr_search_runs == 15
    assert backend.runs == 15 + found.comparison.nr_runs - nr_before
    assert read_trials(folder)[1][:nr_before] == before
    assert found.comparison.verdict is not Verdict.IMPROVED


def test_studies_are_found_with_their_runs_and_verdicts():
    found, unusable = find_studies([OLD / LATER / "studies"])
    assert unusable == {}
    assert {one.folder.name: (len(one.records), len(one.episodes), one.verdict) for one in found} == {
        "all": (54, 15, "too_noisy"),
        "gp": (36, 12, "improved"),
        "killed": (10, 7, None),
        "pid": (8, 5, None),
        "ppo": (28, 10, "improved"),
        "random": (36, 12, "improved"),
        "vm": (29, 11, "too_noisy"),
        "warm": (36, 12, "too_noisy"),
    }


def test_what_a_plan_said_is_still_what_it_says():
    read = {path.name: StudyPlan.read(path) for path in (OLD / LATER / "studies").iterdir()}
    assert {name: one.sampler for name, one in read.items()} == {
        "all": "all", "gp": "gp", "killed": "gp", "pid": "random", "ppo": "ppo", "random": "random",
        "vm": "random", "warm": "tpe",
    }  # fmt: skip
    assert [spec.name for spec in read["random"].metrics] == ["wall_time_s", "max_rss_kib"]
    assert read["random"].metrics[1].weight == pytest.approx(0.1)
    assert read["random"].requirements[0].bound == 30
    assert read["all"].episodes == 24
    assert len(read["warm"].warm_start) == 12
    assert read["vm"].scheduler.name == "scx_bpfland"
    assert read["vm"].scheduler.parameters["slice_us"].command_arg == "--slice-us"
    assert read["pid"].place.options() == ("--pid", "23909")
    assert read["vm"].place.options() == ("--backend", "vm")
    assert {read[name].place.options() for name in read.keys() - {"pid", "vm"}} == {()}


def test_costs_are_on_each_studys_own_scale():
    study = read_study(OLD / LATER / "studies/gp")
    costs = [run.cost for run in study.observe(study.episodes, study.objective())]
    assert len(costs) == 12
    assert min(cost for cost in costs if cost is not None) == pytest.approx(-0.7303, abs=1e-3)


def test_an_earlier_study_steers_a_new_one():
    study = read_study(OLD / EARLIER / "studies/gp")
    runs, notes = past_runs([study.folder], study.plan.scheduler, study.plan.workload, study.plan.metrics)
    assert [run.study for run in runs] == ["gp"] * 12
    assert [run.values for run in runs] == [record.trial.values for record in study.episodes]
    assert notes[0] == f"warm start from 12 of 12 runs in {study.folder}"


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_what_a_study_proved_is_what_is_applied(date):
    meant = parse_scheduler(str(OLD / date / "studies/gp"), fair)
    assert meant.values == loaded(f"{date}/studies/gp/best_parameters.json")["parameters"]
    assert "version" not in loaded(f"{date}/studies/gp/best_parameters.json")


def test_a_checkpoint_starts_an_agent():
    pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    import numpy as np

    folder = OLD / LATER / "studies/ppo"
    space = StudyPlan.read(folder).scheduler.space
    pretrained = {"pretrained": str(folder / "checkpoint_episode_10.pt")}
    agent: Any = make_sampler("ppo", space, budget=50, rng=np.random.default_rng(0), **pretrained)
    try:
        assert agent.nr_updates == 2
        assert space.validate_assignment(agent.ask())
    finally:
        agent.close()


# Comparisons and variability.


def compared(backend, a, b, log, *, seed):
    spec = RunSpec(workload=LOAD, metrics=(TIME,), seed=seed)
    return compare(spec, Side(backend, a), Side(backend, b), log=log, budget=27)


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_comparison_that_has_ended_says_the_same_without_a_run(date, tmp_path):
    said = loaded(f"{date}/comparisons/finished/comparison.json")
    folder = copied(f"{date}/comparisons/finished", tmp_path)
    candidate = fair("fair").with_values({"slice_us": 3000})
    with continued(folder) as log:
        found = compared(NothingRuns(), DEFAULT, candidate, log, seed=5)
    for name in ("metric", "default", "candidate", "verdict", "effect", "aa", "noise_cv", "ended"):
        assert rounded(found.summary()[name]) == rounded(said[name]), name
    assert found.nr_runs == said["trials"]
    assert rounded(found.result.to_dict()["effect"]) == rounded(said["evidence"]["effect"])


@pytest.mark.parametrize(
    ("name", "nr_before", "a", "b"),
    [
        ("killed", 12, DEFAULT, fair("fair").with_values({"slice_us": 3000})),
        ("vm", 6, DEFAULT, SchedulerConfig(name="scx_bpfland")),
        ("kernels", 5, DEFAULT, DEFAULT),
    ],
)
def test_a_comparison_that_was_killed_goes_on_with_its_next_run(name, nr_before, a, b, tmp_path):
    folder = copied(f"{LATER}/comparisons/{name}", tmp_path)
    seed = int(read_trials(folder)[0]["seed"])
    backend = SameAgain(read_trials(folder)[1][0].trial)
    with continued(folder) as log:
        before = log.records()
        found = compared(backend, a, b, log, seed=seed)
    assert len(before) == nr_before
    assert backend.runs == found.nr_runs - nr_before > 0
    assert list(found.records[:nr_before]) == before


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_variability_study_is_read_again(date, tmp_path):
    folder = copied(f"{date}/variability/finished", tmp_path)
    with continued(folder) as log:
        trials = run_variability(AGAIN, Side(NothingRuns(), DEFAULT), runs=6, log=log)
    by_runs, by_summary = read_sample(folder / "runs.csv"), read_sample(folder / "summary.csv")
    described = describe_trials(trials, nr_cpus=2)
    assert by_runs.host == by_summary.host == "bench1"
    assert by_runs.nr_cpus == by_summary.nr_cpus == 2
    for ours, one, other in zip(described, by_runs.spreads, by_summary.spreads, strict=True):
        assert ours.as_row() == pytest.approx(one.as_row())
        assert ours.as_row() == pytest.approx(other.as_row())
    assert described[0].metric == "time_s"


def test_a_variability_study_that_was_killed_goes_on(tmp_path):
    folder = copied(f"{LATER}/variability/killed", tmp_path)
    backend = SameAgain(Trial(scheduler="default", metrics={"time_s": 1.0}))
    with continued(folder) as log:
        trials = run_variability(AGAIN, Side(backend, DEFAULT), runs=6, log=log)
    assert (backend.runs, len(trials)) == (3, 6)


# Traces.


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_an_imported_trace_has_its_events(date):
    trace = open_trace(OLD / date / "traces/perf")
    assert len(trace.events) == {EARLIER: 111, LATER: 118}[date]
    assert "schedstat_run_delay_ns" in trace.tasks.columns
    assert "run_delay_ns" not in trace.tasks.columns


# The journal.


def journal_of(path, tmp_path, **replaced):
    """The journal of a fixture, in a state folder."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    text = (OLD / path).read_text()
    for old, new in replaced.items():
        text = text.replace(old, new)
    (state / JOURNAL_NAME).write_text(text)
    return Journal(state)


BOOT = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize("path", [p for p in every("*/journals/*.jsonl") if "unit" not in p])
def test_a_boot_ended_what_an_earlier_one_had_changed(path, tmp_path):
    journal = journal_of(path, tmp_path)
    outcomes = undo(journal)
    assert outcomes
    assert {outcome.result for outcome in outcomes} == {UndoResult.OTHER_BOOT}
    assert journal.open_records() == []


GONE = {
    "nice": ["policy", "nice", "timer_slack_us"],
    "service": ["policy", "nice"],
    "cgroup": ["nice", "nice", "cpu_weight"],
    "group": ["cpu_weight"],
    "scheduler": ["scheduler"],
}


@pytest.mark.parametrize(
    ("date", "name", "knobs"),
    [
        *[(date, name, knobs) for date in (EARLIER, LATER) for name, knobs in GONE.items()],
        (LAST, "nice", ["policy", "nice", "timer_slack_us"]),
        (LAST, "kept", ["nice", "timer_slack_us"]),
        (OF_AGENT, "agent", ["policy", "nice"]),
    ],
)
def test_what_is_gone_is_closed(date, name, knobs, tmp_path):
    journal = journal_of(f"{date}/journals/{name}.jsonl", tmp_path, **{BOOT: boot_id()})
    outcomes = undo(journal)
    assert [outcome.record.knob for outcome in outcomes] == knobs
    assert {outcome.result for outcome in outcomes} <= {UndoResult.GONE, UndoResult.RESTORED}
    assert journal.open_records() == []


def test_journals_of_all_earlier_versions_are_here():
    there = {json.loads(line)["version"] for path in every("*/journals/*.jsonl") for line in lines_of(path)}
    assert there == set(range(1, records.STORED.newest))


def lines_of(path):
    return [line for line in (OLD / path).read_text().splitlines() if '"id"' in line]


def test_what_version_3_kept_is_put_back(tmp_path):
    if os.geteuid():
        pytest.skip("lowers a nice value: root only")
    path = f"{LAST}/journals/kept.jsonl"
    subject = json.loads(lines_of(path)[0])["subject"]
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            pid, ticks = process.pid, start_ticks(process.pid)
            here = {str(subject["start_ticks"]): str(ticks), f": {subject['tid']},": f": {pid},"}
            os.setpriority(os.PRIO_PROCESS, pid, 7)
            Path(f"/proc/{pid}/timerslack_ns").write_text("99000")
            journal = journal_of(path, tmp_path, **{BOOT: boot_id()}, **here)
            assert [record.kept for record in journal.open_records()] == [True, True]
            outcomes = undo(journal)
            assert [outcome.result for outcome in outcomes] == [UndoResult.RESTORED] * 2
            assert os.getpriority(os.PRIO_PROCESS, pid) == 0
            assert Path(f"/proc/{pid}/timerslack_ns").read_text() == "50000\n"
        finally:
            process.kill()
    assert journal.open_records() == []


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_sysctl_would_be_put_back(date, tmp_path):
    journal = journal_of(f"{date}/journals/sysctl.jsonl", tmp_path, **{BOOT: boot_id()})
    (outcome,) = undo(journal, dry_run=True)
    assert outcome.result is UndoResult.WOULD_RESTORE
    assert (outcome.record.old, outcome.record.new) == ("5000", "7000")


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_unit_is_removed_after_any_number_of_boots(date, tmp_path):
    root = tmp_path / "root"
    journal = journal_of(f"{date}/journals/unit.jsonl", tmp_path, **{"/srv/root": str(root)})
    (record,) = journal.open_records()
    record.subject.path.parent.mkdir(parents=True)
    record.subject.path.write_text(record.new)
    (outcome,) = undo(journal)
    assert outcome.result is UndoResult.RESTORED
    assert not record.subject.path.exists()
    assert journal.open_records() == []
