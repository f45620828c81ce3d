"""`schedtuna bisect` as a user types it."""

import json
import re

import pytest
from tests.commands import run_schedtuna

from schedtuna.history.verdicts import find_verdicts

# What it prints depends on how nice it is, as of which "release"; its noise is that of its seeds, 1%: the
# runs of a block share one, so that no verdict is a matter of luck.
BENCH = 'echo "score $(($(nice) >= 2 ? 8000 : 10000 + SCHEDTUNA_SEED % 256))"'
METRIC = ("-m", "score:max=regex:score ([0-9]+)", "-n", "12", "--seed", "3")


@pytest.fixture
def here(tmp_path):
    def run(*arguments):
        return run_schedtuna(*arguments, cwd=tmp_path, timeout=300)

    return run


def test_the_release_that_made_it_worse_is_found_and_what_is_done_is_not_done_again(here, tmp_path):
    releases = ["fair", "fair:nice=1", "fair:nice=2"]
    done = here("bisect", *releases, *METRIC, "--json", "--", "sh", "-c", BENCH)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["ended"], found["before"], found["first"]) == ("found", "fair:nice=1", "fair:nice=2")
    assert found["newer_is_worse"] is True
    assert [made["verdict"] for made in found["comparisons"]] == ["improved", "no_evidence", "improved"]
    assert found["sentence"].startswith(
        "fair:nice=2 is the first that is worse: fair:nice=1 is not worse than fair by 3% or more."
    )
    folder = tmp_path / found["study"]
    verdicts, _ = find_verdicts([folder])
    assert len(verdicts) == 3
    assert "is the first that is worse" in (folder / "report.html").read_text()
    again = here("bisect", *releases, *METRIC, "--resume", folder, "--", "sh", "-c", BENCH)
    assert again.returncode == 0, again.stderr
    assert "judged after" not in again.stderr
    assert again.stdout.startswith(found["sentence"])
    other = here("bisect", "fair", "fair:nice=2", *METRIC, "--resume", folder, "--", "sh", "-c", BENCH)
    assert other.returncode == 1
    assert re.search("bisects fair, fair:nice=1, fair:nice=2, not fair, fair:nice=2", other.stderr)
    for changed, command, told in (
        ((), BENCH.replace("8000", "8001"), "workload"),
        (("-m", "score:min=regex:score ([0-9]+)"), BENCH, "metrics"),
        (("--delta", "0.2"), BENCH, "delta"),
        (("-n", "15"), BENCH, "budget"),
    ):
        other = here("bisect", *releases, *METRIC, *changed, "--resume", folder, "--", "sh", "-c", command)
        assert (other.returncode, other.stdout) == (1, ""), changed
        assert re.search(rf"holds trials of another .*{told}", other.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fair", "--", "true"], "expected 2 or more releases"),
        (["fair", "fair:nice=1"], "no COMMAND to run"),
        (["fair", "fair", "--", "true"], "expected different releases"),
        (["fair", "fare", "--", "true"], "did you mean fair"),
        (["fair", "fair:nice=1", "--require", "x>=1", "--", "true"], "there is no option --require"),
        (["fair", "fair:nice=1", "--resume", "nope", "--", "true"], "can't be read"),
        (["a", "b", "--backend", "vm", "--kernel", "1", "--kernel", "1", "--", "true"], None),
    ],
)
def test_bad_input_is_a_clear_error(here, arguments, message):
    done = here("bisect", *arguments)
    assert done.returncode in {1, 2, 3}
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert message is None or message in done.stderr


def test_a_search_of_which_nothing_came_leaves_nothing(here, tmp_path):
    done = here("bisect", "fair", "fair:nice=1", "--", "false")
    assert done.returncode == 1
    assert "none of the first 3 runs succeeded" in done.stderr
    assert list(tmp_path.glob("results/*")) == []


def test_a_step_is_measured_again_once_its_program_is_another(here, tmp_path):
    bench = tmp_path / "bench"
    bench.write_text("#!/bin/sh\necho score 5\n")
    bench.chmod(0o755)
    asked = ("bisect", "fair", "fair:nice=1", *METRIC)
    done = here(*asked, "--json", "--", "./bench")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    folder = tmp_path / found["study"]
    resumed = (*asked, "--json", "--resume", folder, "--", "./bench")
    again = here(*resumed)
    assert (again.returncode, json.loads(again.stdout)["comparisons"]) == (0, found["comparisons"])
    assert "measured again" not in again.stderr
    bench.write_text("#!/bin/sh\necho score 6\n")
    changed = here(*resumed)
    assert changed.returncode == 0, changed.stderr
    assert "note: fair against fair:nice=1 is measured again, changed since: program" in changed.stderr
    (step,) = json.loads(changed.stdout)["comparisons"]
    assert step["folder"] != found["comparisons"][0]["folder"]
    assert len(find_verdicts([folder])[0]) == 2
