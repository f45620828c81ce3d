"""`schedtuna analyze` as a user types it, over studies of a surface whose truth is known."""

import json

import pytest
from tests.commands import run_schedtuna
from tests.unit.tune.studies import make_study
from tests.unit.tune.surface import SCHEDULER

from schedtuna.workload.spec import Direction, MetricSpec


def only_policy(values):
    """Batch is 20% better; the slice does nothing."""
    return -0.22 * (values["policy"] == "batch")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_study(folder / "one", only_policy, seed=1)
    make_study(folder / "two", only_policy, seed=2, episodes=20)
    narrow = SCHEDULER.model_copy(update={"parameters": {"slice_us": SCHEDULER.parameters["slice_us"]}})
    make_study(folder / "narrow", seed=3, scheduler=narrow, episodes=6)
    return folder


def run(*arguments):
    return run_schedtuna("analyze", *arguments, timeout=120)


def test_the_parameter_that_matters_is_named_for_people(results):
    done = run(results / "one")
    assert done.returncode == 0, done.stderr
    (policy,) = [line for line in done.stdout.splitlines() if line.startswith("policy")]
    (slice_us,) = [line for line in done.stdout.splitlines() if line.startswith("slice_us")]
    assert policy.split()[1] == "yes"
    assert "batch" in policy
    assert "not shown" in slice_us


def test_several_studies_are_pooled_and_drawn(results, tmp_path):
    plot = tmp_path / "importance.png"
    done = run(results / "one", results / "two", "--plot", plot, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["studies"]) == 2
    first = found["parameters"][0]
    assert (first["name"], first["matters"]) == ("policy", True)
    assert first["total"] > 0.9
    changes = dict(zip(first["curve"]["settings"], first["curve"]["changes"], strict=True))
    assert changes["batch"] == pytest.approx(-0.22, abs=0.03)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert run(results / "one", "--plot", plot).returncode == 2  # never replaced unasked
    assert run(results / "one", "--plot", plot, "--force").returncode == 0


def test_goals_of_pooled_studies_are_all_told(results, tmp_path):
    longest = MetricSpec(name="wall_time_s", direction=Direction.MAX)
    other = make_study(tmp_path / "other", only_policy, seed=4, metrics=(longest,), episodes=20)
    done = run(results / "one", results / "two", other)
    assert done.returncode == 0, done.stderr
    assert ", wall_time_s:min or wall_time_s:max: one, two, other" in done.stdout
    assert "different commands or metrics" in done.stdout


def test_rewards_are_recomputed(results):
    done = run(results / "one", "--metric", "wall_time_s:max", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["metrics"] == "wall_time_s:max"
    curve = found["parameters"][0]["curve"]
    changes = dict(zip(curve["settings"], curve["changes"], strict=True))
    assert changes["batch"] == pytest.approx(0.22, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 2, "nowhere is not a folder"),
        (["."], 2, "different spaces"),
        (["narrow"], 1, "different settings ran"),
        (["one", "--metric", "p99_us:min"], 2, "no metric 'p99_us'"),
        (["one", "--plot", "no/such/folder/x.png"], 2, "no folder"),
        (["one", "--plot", "x.docx"], 2, "x.docx"),
        ([], 2, "DIR"),
    ],
)
def test_bad_requests_are_explained(results, arguments, code, words):
    places = [str(results / a) if a in ("nowhere", ".", "narrow", "one") else a for a in arguments]
    done = run(*places)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
