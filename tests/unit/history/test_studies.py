import json
import shutil
from typing import Any

import pytest
from tests.unit.tune.studies import WALL, make_study
from tests.unit.tune.surface import SCHEDULER, smooth_gain

from schedtuna.errors import StudyError, UsageError
from schedtuna.history.studies import adapt, find_studies, parse_metrics, read_study
from schedtuna.space import ParameterSpace, ParameterSpec, ParameterType
from schedtuna.workload.spec import Direction, MetricSpec


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_study(folder / "fair_random_a", seed=1)
    make_study(folder / "fair_random_b", seed=2, episodes=15)
    (folder / "notes").mkdir()
    return folder


def damaged(studies, tmp_path, name, change):
    """A copy of a study with one file's text changed."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (studies / "fair_random_b").iterdir():
        text = path.read_text()
        (copy / path.name).write_text(change(text) if path.name == name else text)
    return copy


def test_every_run_is_read_back_on_the_scale_of_its_own_default(studies):
    study = read_study(studies / "fair_random_a")
    assert len(study.episodes) == 40
    observed = study.observe(study.episodes, study.objective())
    errors = [run.cost - smooth_gain(run.values) for run in observed]
    assert max(map(abs, errors)) < 0.1  # five times the noise
    assert study.verdict == "improved"


def test_only_the_first_runs_of_a_search_are_taken_where_that_is_asked(studies):
    study = read_study(studies / "fair_random_a")
    kept = study.first(10)
    assert [r.index for r in kept if r.phase == "search"] == list(range(10))
    others = [r for r in study.records if r.phase != "search"]
    assert [r for r in kept if r.phase != "search"] == others
    assert study.first(None) == list(study.records)


def test_another_metric_that_was_logged_can_be_the_scale(studies):
    study = read_study(studies / "fair_random_a")
    upside_down = study.objective([MetricSpec(name="wall_time_s", direction=Direction.MAX)])
    ours = study.observe(study.episodes, study.objective())
    theirs = study.observe(study.episodes, upside_down)
    assert [run.cost for run in theirs] == pytest.approx([-run.cost for run in ours])


def test_a_metric_that_was_never_logged_is_refused_with_the_nearest_one(studies):
    study = read_study(studies / "fair_random_a")
    with pytest.raises(UsageError, match="did you mean wall_time_s"):
        study.objective([MetricSpec(name="wall_time", direction=Direction.MIN)])


def test_a_metric_of_output_that_is_gone_is_refused(studies):
    study = read_study(studies / "fair_random_a")
    with pytest.raises(UsageError, match="not kept"):
        parse_metrics(["cost:min=regex:cost ([0-9]+)"], study)
    assert parse_metrics(["wall_time_s:min"], study) == (WALL,)


def test_studies_are_found_in_folders_and_by_pattern(studies):
    found, unusable = find_studies([studies])
    assert [study.folder.name for study in found] == ["fair_random_a", "fair_random_b"]
    assert unusable == {}
    found, _ = find_studies([studies], ["*_b", "nothing*"])
    assert [study.folder.name for study in found] == ["fair_random_b"]
    found, _ = find_studies([studies / "fair_random_b", studies])
    assert [study.folder.name for study in found] == ["fair_random_b", "fair_random_a"]


def test_folders_of_earlier_versions_are_found_by_the_name_that_was_asked_for(studies, tmp_path):
    shutil.copytree(studies / "fair_random_b", tmp_path / "exp-ppo_20250131-235959")
    found, _ = find_studies([tmp_path], ["exp_ppo*"])
    assert [study.folder.name for study in found] == ["exp-ppo_20250131-235959"]


@pytest.mark.parametrize(
    ("place", "patterns", "error", "words"),
    [
        ("nope", (), UsageError, "is not a folder"),
        ("notes", (), StudyError, "there is no study"),
        (".", ("x*",), StudyError, "there are: fair_random_a, fair_random_b"),
    ],
)
def test_nothing_to_read_is_explained(studies, place, patterns, error, words):
    with pytest.raises(error, match=words):
        find_studies([studies / place], patterns)


def newer(text):
    return json.dumps(json.loads(text) | {"version": 99})


def newer_log(text):
    header, _, rest = text.partition("\n")
    return json.dumps(json.loads(header) | {"version": 99}) + "\n" + rest


def other_space(text):
    content = json.loads(text)
    del content["scheduler"]["parameters"]["policy"]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("study.json", newer, "version 99"),
        ("trials.jsonl", newer_log, "version 99"),
        ("trials.jsonl", lambda text: "", "no header"),
        ("trials.jsonl", lambda text: text.replace('"phase"', '"stage"', 3), "damaged"),
        ("trials.jsonl", lambda text: "[" * 100_000 + "\n" + text, "line 1 is damaged"),
        ("study.json", other_space, "contradicts itself"),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_named(studies, tmp_path, name, change, words):
    folder = damaged(studies, tmp_path, name, change)
    with pytest.raises(StudyError, match=words):
        read_study(folder)
    with pytest.raises(StudyError, match=words):
        find_studies([folder])
    found, unusable = find_studies([folder, studies])
    assert len(found) == 2
    assert words in unusable[folder]


@pytest.mark.parametrize("result", ["{", "[" * 100_000, "{}", "[]"])
def test_a_study_that_did_not_finish_has_no_verdict(studies, tmp_path, result):
    folder = damaged(studies, tmp_path, "result.json", lambda text: result)
    assert read_study(folder).verdict is None


def test_assignments_move_to_another_space_or_not_at_all():
    source = SCHEDULER.space
    slice_us, policy = source.specs
    extra = ParameterSpec(name="nice", type=ParameterType.INTEGER, default=0, min_value=-20, max_value=19)
    narrow = ParameterSpec(**{**slice_us.model_dump(), "max_value": 5000})
    wider = ParameterSpace(specs=(policy, slice_us, extra))
    values: dict[str, Any] = {"slice_us": 9000, "policy": "batch"}
    assert adapt(values, source, wider) == {"policy": "batch", "slice_us": 9000, "nice": 0}
    assert adapt(values, source, ParameterSpace(specs=(slice_us,))) is None
    assert adapt({"slice_us": 9000, "policy": "other"}, source, ParameterSpace(specs=(slice_us,))) == {
        "slice_us": 9000
    }
    assert adapt(values, source, ParameterSpace(specs=(narrow, policy))) is None


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN"])
def test_a_run_that_worked_has_numbers(studies, tmp_path, value):
    def change(text):
        header, first, *rest = text.splitlines()
        row = json.loads(first)
        row["trial"]["metrics"][WALL.name] = "@"
        return "\n".join([header, json.dumps(row).replace('"@"', value), *rest, ""])

    with pytest.raises(StudyError, match="a run that worked has"):
        read_study(damaged(studies, tmp_path, "trials.jsonl", change))


def test_a_verdict_that_is_no_word_is_none(studies, tmp_path):
    folder = damaged(studies, tmp_path, "result.json", lambda text: text.replace('"improved"', '{"a": 2}'))
    assert '{"a": 2}' in (folder / "result.json").read_text()
    assert read_study(folder).verdict is None
