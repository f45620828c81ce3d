import os
import signal
import subprocess
import sys

import pytest

PROGRAM = f"exec {sys.executable} -m schedtuna"


def sh(script):
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_not_an_error(closed):
    done = sh(f"{PROGRAM} knobs {closed}")
    assert done.returncode == 0
    assert not done.stderr


def test_errors_do_not_move_to_stdout_where_stderr_is_closed():
    done = sh(f"{PROGRAM} tune -S fare -- true 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_full_stdout_is_an_error_with_its_reason():
    done = sh(f"{PROGRAM} knobs > /dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Errno" not in done.stderr


def test_ctrl_c_while_the_program_loads_ends_it_quietly(tmp_path):
    # An import of the command line's that never ends: what comes before it has been loaded.
    (tmp_path / "typer").mkdir()
    (tmp_path / "typer" / "__init__.py").write_text(
        "import signal, sys\nprint('loading', flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "schedtuna", "doctor"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (130, "", "")


def test_a_removed_working_folder_is_named(tmp_path):
    (tmp_path / "gone").mkdir()
    done = sh(f"cd {tmp_path}/gone && rmdir ../gone && {PROGRAM} record --procfs --for 1s")
    assert done.returncode == 1
    assert "the current folder was removed" in done.stderr


def test_where_an_error_came_from_changes_neither_its_words_nor_its_code():
    done = sh(f"SCHEDTUNA_DEBUG=1 {PROGRAM} tune -S fare -- true")
    plain = sh(f"{PROGRAM} tune -S fare -- true")
    assert done.returncode == plain.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith(plain.stderr)
