"""What commands do, as root, in folders that other users filled: they refuse, and write nowhere else."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.unit.trace.formats.texts import VMSTAT_T

NOBODY = 65534
SECRET = b"root:secret-of-root"
PLANTED = [
    "trials.lock", "trials.jsonl", "trials.torn", "experiment.log", "performance_plots.png", "study.json",
    ".study.json.tmp", "result.json", ".result.json.tmp", "best_parameters.json", "report.html",
    ".report.html.tmp", "manifest.json", ".manifest.json.tmp", "comparison.json", "episode_results.csv",
    "writer.lock", "reserve", "tasks.spool", "events-000000.spool", "samples.jsonl", "samples-vmstat.parquet",
    ".samples-vmstat.parquet.tmp", "runs.csv", "summary.csv",
]  # fmt: skip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def schedtuna(place):
    def run(*arguments, **environment):
        return run_schedtuna(
            *arguments,
            cwd=place,
            env={
                **{name: value for name, value in os.environ.items() if name != "SUDO_UID"},
                "SCHEDTUNA_STATE_DIR": str(place / "state"),
                **environment,
            },
            timeout=240,
        )

    return run


@pytest.fixture(scope="module")
def study(schedtuna, place):
    """A whole study of ours; its command says where it ran."""
    (place / "ran").write_text("")
    command = ["sh", "-c", f"echo x >> {place}/ran; echo '\x1b[2J' >&2"]
    done = schedtuna("tune", "--sampler", "random", "--episodes", 4, "--json", "--", *command)
    assert done.returncode == 0, done.stderr
    return place / json.loads(done.stdout.splitlines()[-1])["study"]


@pytest.fixture(scope="module")
def trace(schedtuna, place):
    (place / "vmstat.txt").write_bytes(VMSTAT_T)
    done = schedtuna("import", "vmstat.txt", "-o", "trace")
    assert done.returncode == 0, done.stderr
    return place / "trace"


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "canary").write_bytes(SECRET)
    before = (folder / "canary").stat()
    yield folder
    now = (folder / "canary").stat()
    assert (folder / "canary").read_bytes() == SECRET
    assert (now.st_mode, now.st_mtime_ns, now.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)
    assert [path.name for path in folder.iterdir()] == ["canary"]


def give_away(folder, names=PLANTED, *, outside=None, replace=False):
    """Make a folder somebody else's, with links of theirs at the names that are known beforehand."""
    for name in names if outside else ():
        path = folder / name
        if replace and path.exists():
            path.unlink()
        if not os.path.lexists(path):
            path.symlink_to(outside / ("canary" if os.path.lexists(folder / "x") or replace else "new"))
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, NOBODY, NOBODY)


def runs(place):
    return (place / "ran").read_text().count("x")


def contents(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()
    }


def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "theirs"))


def test_a_strangers_study_is_not_continued(schedtuna, study, place, tmp_path, outside):
    theirs = copy(study, tmp_path)
    give_away(theirs, outside=outside)
    before, ran = contents(theirs), runs(place)
    done = schedtuna("tune", "--resume", theirs)
    assert done.returncode == 1
    assert "belongs to user nobody" in done.stderr
    assert "would run as user root: sh -c 'echo x >>" in done.stderr
    assert "\x1b" not in done.stderr
    assert "--trust-folder" in done.stderr
    assert (contents(theirs), runs(place)) == (before, ran)


def test_a_strangers_study_that_is_trusted_is_continued_without_following_links(
    schedtuna, study, tmp_path, outside
):
    theirs = copy(study, tmp_path)
    log = (theirs / "trials.jsonl").read_bytes()
    (theirs / "trials.jsonl").write_bytes(log[: log.rstrip(b"\n").rfind(b"\n") + 1] + b'{"torn": ')
    give_away(
        theirs,
        ["performance_plots.png", "result.json", "report.html", "best_parameters.json", "study.json.tmp"],
        outside=outside,
        replace=True,
    )
    done = schedtuna("tune", "--resume", theirs, "--trust-folder", "--json")
    assert done.returncode == 0, done.stderr
    for name in ("performance_plots.png", "result.json", "report.html", "best_parameters.json"):
        assert not (theirs / name).is_symlink()
    assert (theirs / "trials.torn").read_bytes() == b'{"torn": \n'


@pytest.mark.parametrize("name", ["trials.jsonl", "trials.torn", "trials.lock", "experiment.log"])
@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_not_even_a_trusted_folder_leaks_or_overwrites(schedtuna, study, tmp_path, outside, name, kind):
    theirs = copy(study, tmp_path)
    log = (theirs / "trials.jsonl").read_bytes()
    (theirs / "trials.jsonl").write_bytes(log + b'{"torn": ')
    (theirs / name).unlink(missing_ok=True)
    give_away(theirs, [])
    if kind == "hard link":
        os.link(outside / "canary", theirs / name)
    elif kind == "pipe":
        os.mkfifo(theirs / name)
    else:
        (theirs / name).symlink_to(outside / "canary")
    plan = ["fair:nice=1", "--seed", 1, "--", "true"] if name == "trials.jsonl" else []
    command = ["variability", "-n", 1, "--resume", theirs, "--seed", 1, "--trust-folder", "--", "true"]
    done = schedtuna(*(command if plan else ["tune", "--resume", theirs, "--trust-folder"]))
    assert done.returncode == 1, done.stderr
    assert name in done.stderr
    for path in theirs.iterdir():
        if path.is_file() and path.name != name:
            assert SECRET not in path.read_bytes()
    (theirs / name).unlink()


def test_a_strangers_comparison_is_not_continued(schedtuna, place, tmp_path, outside):
    done = schedtuna("variability", "-n", 1, "--json", "--", "true")
    theirs = copy(place / json.loads(done.stdout.splitlines()[-1])["study"], tmp_path)
    give_away(theirs, outside=outside)
    before = contents(theirs)
    for command in (
        ["compare", "default", "fair:nice=1", "--resume", theirs, "--", "true"],
        ["variability", "-n", 2, "--resume", theirs, "--", "true"],
    ):
        done = schedtuna(*command)
        assert done.returncode == 1, done.stderr
        assert "belongs to user nobody" in done.stderr
        assert contents(theirs) == before


@pytest.mark.parametrize("how", ["owner", "file", "writable", "parent"])
def test_a_study_that_others_can_change_is_not_applied(schedtuna, tmp_path, how):
    theirs = tmp_path / "parent" / "study"
    theirs.mkdir(parents=True)
    best = {"scheduler": "fair", "parameters": {"nice": 4}, "verdict": "improved", "command": ["true"]}
    (theirs / "best_parameters.json").write_text(json.dumps(best))
    if how == "writable":
        theirs.chmod(0o777)
    else:
        place = {"owner": theirs, "file": theirs / "best_parameters.json", "parent": theirs.parent}[how]
        os.chown(place, NOBODY, NOBODY)
    for settings in (theirs, theirs / "best_parameters.json"):
        done = schedtuna("apply", settings, "--", "echo", "it ran")
        assert (done.returncode, done.stdout) == (1, "")
        assert "would run as user root: fair:nice=4 echo 'it ran'" in done.stderr
    done = schedtuna("apply", "--trust-folder", theirs, "--", "echo", "it ran")
    assert (done.returncode, done.stdout) == (0, "it ran\n"), done.stderr
    done = schedtuna("apply", "--trust-folder", theirs, "--print-unit", "--", "x")
    assert done.returncode == 0, done.stderr


def test_the_user_who_calls_sudo_applies_what_is_theirs(schedtuna, tmp_path):
    best = {"scheduler": "fair", "parameters": {"nice": 4}, "verdict": "improved", "command": ["true"]}
    (tmp_path / "best_parameters.json").write_text(json.dumps(best))
    for path in (tmp_path, tmp_path / "best_parameters.json"):
        os.chown(path, NOBODY, NOBODY)
    done = schedtuna("apply", tmp_path, "--", "true", SUDO_UID=str(NOBODY))
    assert done.returncode == 0, done.stderr


def test_a_strangers_study_is_read_all_the_same(schedtuna, study, tmp_path):
    theirs = copy(study, tmp_path)
    give_away(theirs)
    before = contents(theirs)
    done = schedtuna("replay", "--statistics", "--results", theirs)
    assert done.returncode == 0, done.stderr
    assert contents(theirs) == before


def test_a_strangers_trace_is_read_and_not_replaced_or_added_to(schedtuna, trace, tmp_path, outside):
    theirs = copy(trace, tmp_path)
    give_away(theirs, outside=outside)
    before = contents(theirs)
    (tmp_path / "vmstat.txt").write_bytes(VMSTAT_T)
    for command in (
        ["record", "--procfs", "--for", "1s", "--force", "-o", theirs],
        ["import", tmp_path / "vmstat.txt", "--force", "-o", theirs],
        ["import", tmp_path / "vmstat.txt", "--into", theirs],
    ):
        done = schedtuna(*command)
        assert done.returncode == 1, done.stderr
        assert "belongs to user nobody" in done.stderr
        assert contents(theirs) == before
    for path in theirs.iterdir():
        if path.is_symlink():
            path.unlink()
    done = schedtuna("trace", "export", theirs, "--jsonl", "-o", tmp_path / "x.jsonl")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o775, 0), (0o755, NOBODY)])
def test_new_traces_and_studies_stay_what_was_made(schedtuna, tmp_path, mode, owner):
    """As in a container whose root works in a checkout of somebody else."""
    parent = tmp_path / "shared"
    parent.mkdir()
    os.chown(parent, owner, NOBODY)
    parent.chmod(mode)
    (tmp_path / "vmstat.txt").write_bytes(VMSTAT_T)
    for command in (
        ["import", tmp_path / "vmstat.txt", "-o", parent / "trace"],
        ["variability", "-n", 1, "--results", parent, "--", "true"],
    ):
        done = schedtuna(*command)
        assert done.returncode == 0, done.stderr
    before = contents(parent / "trace")
    replace = ["import", tmp_path / "vmstat.txt", "--force", "-o", parent / "trace"]
    done = schedtuna(*replace)
    assert done.returncode == 1, done.stderr
    assert f"its parent {parent}" in done.stderr
    assert "SUDO_UID" in done.stderr
    assert contents(parent / "trace") == before
    parent.chmod(mode | 0o1000)
    done = schedtuna(*replace, SUDO_UID=str(owner))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["trace", "export", "trace", "--csv", "--table", "system", "--force", "-o"],
        ["variability", "-n", 1, "--csv"],
    ],
)
@pytest.mark.parametrize("kind", ["link", "file", "scratch"])
def test_outputs_in_a_shared_folder_go_through_no_link(schedtuna, trace, tmp_path, outside, command, kind):
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    planted = shared / (".x.tmp.csv" if kind == "scratch" else "x.csv")
    planted.write_text("theirs") if kind == "file" else planted.symlink_to(outside / "canary")
    os.lchown(planted, NOBODY, NOBODY)
    tail = ["--", "true"] if command[0] == "variability" else []
    done = schedtuna(*command, shared / "x.csv", *tail)
    if kind == "scratch":
        assert done.returncode == 0, done.stderr
        assert not (shared / "x.csv").is_symlink()
    else:
        assert done.returncode == 1, done.stderr
        assert "belongs to user nobody" in done.stderr
    assert os.path.lexists(planted)


def test_tables_go_to_standard_output_all_the_same(schedtuna):
    done = schedtuna("variability", "-n", 1, "--csv", "/dev/stdout", "--", "true")
    assert done.returncode == 0, done.stderr
    assert "metric,runs,mean" in done.stdout
