"""`schedtuna replay` as a user types it, over studies of a surface whose truth is known."""

import json
import shutil
import subprocess
import sys

import pytest
from tests.commands import run_schedtuna
from tests.unit.tune.studies import make_study
from tests.unit.tune.surface import SCHEDULER, no_gain

from schedtuna.samplers.registry import missing_extra


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_study(folder / "fair_random_one", seed=1)
    make_study(folder / "fair_random_two", seed=2)
    make_study(folder / "fair_gp_flat", no_gain, noise=0.05, seed=3, episodes=12)
    return folder


def run(*arguments):
    return run_schedtuna(*arguments, timeout=120)


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("option", ["--results", "--results-dir"])
def test_without_options_statistics_and_combinations_are_for_people(results, option):
    done = run("replay", option, results)
    assert done.returncode == 0, done.stderr
    assert "fair_random_one" in done.stdout
    assert "slice_us=" in done.stdout
    assert "no claim" in done.stdout


def test_every_option_narrows_what_is_said(results):
    whole = answer(run("replay", "--results-dir", results, "--statistics", "--json"))
    assert [row["episodes"] for row in whole["studies"]] == [12, 40, 40]
    assert "combinations" not in whole
    some = ["--experiment-patterns", "*_random_*", "fair_gp_nothing", "--max-episodes-per-exp", 7]
    what = ["--statistics", "--param-combinations", 3, "--json"]
    few = answer(run("replay", "--results-dir", results, *some, *what))
    assert [row["episodes"] for row in few["studies"]] == [7, 7]
    (group,) = few["combinations"]
    assert len(group["studies"]) == 2
    assert len(group["best"]) == 3
    assert group["best"][0]["change"] < -0.05


def test_rewards_are_recalculated_from_what_was_logged(results):
    own = answer(run("replay", "--results-dir", results / "fair_random_one", "--statistics", "--json"))
    other = answer(
        run(
            "replay",
            "--results-dir",
            results / "fair_random_one",
            "--recalculate",
            "wall_time_s:max",
            "--json",
        )
    )
    before, after = own["studies"][0]["reward"], other["studies"][0]["reward"]
    assert after["mean"] == pytest.approx(-before["mean"])
    assert other["studies"][0]["rank_correlation_with_own_reward"] == pytest.approx(-1)


@pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")
def test_an_agent_is_trained_once_and_fits_its_space_only(results, tmp_path):
    agent = tmp_path / "agent.pt"
    arguments = ["replay", "--results-dir", results, "--pretrain-agent", agent, "--algorithm", "reinforce"]
    trained = answer(run(*arguments, "--pretrain-epochs", 5, "--json"))["pretrained"]
    assert (trained["runs"], trained["epochs"]) == (92, 5)
    assert agent.stat().st_size > 0
    again = run(*arguments)
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    pretrained = ["--algorithm", "reinforce", "--pretrained-model", agent]
    tune = run("tune", *pretrained, "--episodes", 5, "--results", tmp_path / "results", "--", "true")
    assert tune.returncode == 2
    assert "another parameter space" in tune.stderr
    assert not (tmp_path / "results").exists()


def test_studies_that_cannot_be_used_are_named_and_passed_over(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    plan = folder / "fair_gp_flat" / "study.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"version": 99}))
    done = run("replay", "--results-dir", folder, "--statistics", "--json")
    assert len(answer(done)["studies"]) == 2
    assert "version 99" in done.stderr
    assert "version 99" in answer(done)["skipped"][str(folder / "fair_gp_flat")]
    alone = run("replay", "--results-dir", folder / "fair_gp_flat")
    assert alone.returncode == 1
    assert "version 99" in alone.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--results-dir", "nowhere"], 2, "nowhere is not a folder"),
        (["--experiment-patterns", "x*"], 1, "is called x*"),
        (["--recalculate", "p99_us:min"], 2, "no metric 'p99_us'"),
        (["--recalculate", "wall_time_s:up"], 2, "min or max"),
        (["--recalculate", "wall_time_s:min=regex:([0-9]+)"], 2, "not kept"),
        (["--param-combinations", "0"], 2, "--param-combinations"),
        (["--max-episodes-per-exp", "0"], 2, "--max-episodes-per-exp"),
        (["--pretrain-agent", "agent.pt", "--algorithm", "gp"], 2, "no network"),
        (["--pretrain-agent", "agent.pt", "--algorithm", "pp0"], 2, "did you mean ppo"),
    ],
)
def test_bad_requests_are_explained(results, tmp_path, options, code, words):
    base = [] if "--results-dir" in options else ["--results-dir", results]
    done = run("replay", *base, *options)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_studies_of_two_spaces_train_no_agent(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results / "fair_random_one", folder / "one")
    narrow = SCHEDULER.model_copy(update={"parameters": {"slice_us": SCHEDULER.parameters["slice_us"]}})
    make_study(folder / "two", scheduler=narrow, episodes=6)
    done = run("replay", "--results-dir", folder, "--pretrain-agent", tmp_path / "a.pt", "--algorithm", "ppo")
    assert done.returncode == 2 if missing_extra("ppo") is None else 3
    assert "different spaces" in done.stderr or "extra" in done.stderr
    assert not (tmp_path / "a.pt").exists()


def test_a_sampler_without_its_packages_names_the_extra(results, tmp_path):
    """As in an installation without the extra: the packages can't be found."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from schedtuna.cli.main import main; main(sys.argv[1:])"
    )
    base = [sys.executable, "-c", code]
    replay = ["replay", "--results-dir", str(results), "--pretrain-agent", str(tmp_path / "a.pt")]
    for arguments in (replay, ["tune", "--algorithm", "ppo", "--", "true"]):
        done = subprocess.run([*base, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3
        assert "sampler ppo needs the extra 'rl'" in done.stderr
        assert "pip install 'schedtuna[rl]'" in done.stderr
