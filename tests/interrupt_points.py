"""Interrupts a command before it begins and after it has ended: at calls and returns, in a fork each.

    python interrupt_points.py RESULTS COMMAND...

Writes JSON to RESULTS: of each point, the exit code and what was printed.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import schedtuna.cli.main
from schedtuna.__main__ import run

MARK = "interrupted here: "
STEP = 2  # from point to point


def main():
    """Fork for each point before the command, run it, and fork for each point after it."""
    results = Path(sys.argv.pop(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = _fork_for_each_point()
    command = schedtuna.cli.main._run

    def between(argv):
        if ended is None:
            os._exit(0)  # a fork that passed all points before the command
        try:
            return command(argv)
        finally:
            if after := _fork_for_each_point():
                results.write_text(json.dumps(ended + after))
                os._exit(0)

    schedtuna.cli.main._run = between
    try:
        run()
    except SystemExit as end:
        if sys.getprofile():
            raise  # to its point in what follows
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))  # what Python would do yet takes most of a fork's time


def _fork_for_each_point():
    """Return what became of each fork; None in a fork, which is about to be interrupted."""
    ended = []
    while True:
        sys.stdout.flush()
        printed = tempfile.TemporaryFile()  # noqa: SIM115 - the fork leaves it open
        pid = os.fork()
        if not pid:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            _interrupt_at(1 + STEP * len(ended))
            return None
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        printed.seek(0)
        text = printed.read().decode()
        if MARK not in text:
            return ended
        ended.append((code, text))


def _interrupt_at(point):
    seen = 0

    def count(frame, event, _argument):
        nonlocal seen
        if frame.f_code in OUTSIDE:
            return
        seen += 1
        if seen == point:
            sys.setprofile(None)
            os.write(2, f"{MARK}{event} {frame.f_code.co_filename}:{frame.f_lineno}\n".encode())
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(count)


# What comes before the first line that can catch anything.
OUTSIDE = {run.__code__, main.__code__, _fork_for_each_point.__code__, _interrupt_at.__code__}

if __name__ == "__main__":
    main()
