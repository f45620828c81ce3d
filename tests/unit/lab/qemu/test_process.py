import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from schedtuna.lab.qemu.process import last_words


def test_a_process_dies_with_its_parent_however_that_ends():
    script = textwrap.dedent("""
        import sys, time
        from schedtuna.lab.qemu.process import start_bound
        print(start_bound([sys.executable, "-c", "import time; time.sleep(600)"], 2).pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_this_process_is_not_a_parent_that_ended():
    assert _runs(os.getpid())


def test_what_was_printed_last_is_kept_without_empty_lines():
    text = "".join(f"line {number}\r\n\n" for number in range(50))
    words = last_words(text).splitlines()
    assert words[0] == "; its console ends with:"
    assert words[1:] == [f"line {number}" for number in range(10, 50)]
    assert "nothing" in last_words("\n \n")
