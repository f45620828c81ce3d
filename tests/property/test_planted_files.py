"""Whatever lies at whichever name: nothing outside of the folder is written to, read out or waited for."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedtuna import files
from schedtuna.errors import SchedtunaError
from schedtuna.experiment.triallog import LOCK_NAME, LOG_NAME, TORN_NAME, TrialLog
from schedtuna.files import trust
from schedtuna.trace import parts
from schedtuna.trace.writer import TraceWriter
from schedtuna.tune.experimentlog import LOG_NAME as PEOPLES_LOG
from schedtuna.tune.experimentlog import ExperimentLog

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
SECRET = b'{"format": "schedtuna-trials", "version": 1, "identity": {}}\nroot:secret'
NAMES = [LOG_NAME, LOCK_NAME, TORN_NAME, PEOPLES_LOG, parts.MANIFEST, parts.LOCK, parts.RESERVE, "x.png"]


def a_link_to_a_pipe(at, outside):
    os.mkfifo(outside / "pipe")
    at.symlink_to(outside / "pipe")


def a_socket(at):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(at))


KINDS = {
    "link to a file": lambda at, outside: at.symlink_to(outside / "canary"),
    "link over a link": lambda at, outside: (
        (outside / "hop").symlink_to("canary"),
        at.symlink_to(outside / "hop"),
    ),
    "relative link": lambda at, outside: at.symlink_to(Path(os.path.relpath(outside, at.parent)) / "canary"),
    "link to what is not there yet": lambda at, outside: at.symlink_to(outside / "new"),
    "link to a folder": lambda at, outside: at.symlink_to(outside),
    "link to a pipe": a_link_to_a_pipe,
    "hard link": lambda at, outside: os.link(outside / "canary", at),
    "pipe": lambda at, _: os.mkfifo(at),
    "socket": lambda at, _: a_socket(at),
    "folder": lambda at, _: at.mkdir(),
    "file": lambda at, _: at.write_bytes(SECRET),
    "nothing": lambda _at, _outside: None,
}


def log_a_trial_log(path):
    TrialLog(path.parent, {}).close()


def trace(path):
    TraceWriter(path.parent, {}, force=True).close()


def log_for_people(path):
    with ExperimentLog(path.parent) as log:
        log.say("a line")


USES = {
    "write": lambda path: files.write_text(path, "ours"),
    "append": lambda path: files.append_to(path, b"ours"),
    "open": lambda path: os.close(files.open_for_writing(path)),
    "open and cut": lambda path: os.close(files.open_for_writing(path, os.O_WRONLY | os.O_TRUNC)),
    "output": lambda path: files.write_output(path, b"ours"),
    "copy": lambda path: files.copy_file(Path(__file__), path),
    "trial log": log_a_trial_log,
    "log for people": log_for_people,
    "trace": trace,
}


def outside_of(folder):
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in folder.iterdir()
        if path.name not in {"hop", "pipe"}
    }


@pytest.fixture(scope="module")
def place():
    folder = Path(mkdtemp(prefix="schedtuna-planted-"))
    yield folder
    shutil.rmtree(folder)


@settings(max_examples=400)
@given(
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(sorted(KINDS)),
    use=st.sampled_from(sorted(USES)),
    folder_mode=st.sampled_from([0o755, 0o775, 0o777, 0o1777]),
    parent_mode=st.sampled_from([0o755, 0o777, 0o1777]),
    owners=st.tuples(*[st.booleans()] * 3) if IS_ROOT else st.just((False, False, False)),
    accepted=st.booleans(),
)
def test_nothing_outside_is_touched(place, name, kind, use, folder_mode, parent_mode, owners, accepted):
    assume(use != "output" or kind != "pipe" or owners[0])  # who names a pipe waits for its reader
    parent, outside = place / "parent", place / "outside"
    folder = parent / "folder"
    folder.mkdir(parents=True)
    outside.mkdir()
    (outside / "canary").write_bytes(SECRET)
    before_accepted = set(trust._accepted)
    try:
        KINDS[kind](folder / name, outside)
        before = outside_of(outside)
        for path, foreign in zip((folder / name, folder, parent), owners, strict=True):
            if foreign and os.path.lexists(path) and kind != "hard link":
                os.lchown(path, NOBODY, NOBODY)
        folder.chmod(folder_mode)
        parent.chmod(parent_mode)
        if accepted:
            files.accept(folder)
        with contextlib.suppress(SchedtunaError, OSError):
            USES[use](folder / name)
        assert outside_of(outside) == before
        for found in folder.iterdir():
            if found.name != name and found.is_file() and not found.is_symlink():
                assert b"secret" not in found.read_bytes() or kind == "file"
        strangers_folder = owners[1] or (folder_mode & 0o002 and not folder_mode & 0o1000)
        if strangers_folder and not accepted and use != "output":
            assert [path.name for path in folder.iterdir()] == [name] * (kind != "nothing")
    finally:
        trust._accepted.clear()
        trust._accepted.update(before_accepted)
        shutil.rmtree(parent)
        shutil.rmtree(outside)
