"""`schedtuna`, and `python -m schedtuna`: the way into the command line.

The imports take the first tenth of a second. Ctrl-C during them ends the program quietly, with the
code of every interrupted command: nothing has begun yet that could be put back.
"""

from __future__ import annotations

import os
import signal
import sys

from schedtuna.priority import raise_priority

INTERRUPTED = 130
HURRIED = {"record"}  # where many want to run, the imports alone would take it seconds


def run() -> None:
    """Load the command line, run it, and exit with its code."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # no job in the background
    if interruptible:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    if set(sys.argv[1:2]) & HURRIED:
        raise_priority()
    from schedtuna.cli.main import main

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    run()
