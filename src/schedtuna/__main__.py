"""`schedtuna`, and `python -m schedtuna`: the way into the command line.

The imports take the first tenth of a second. Ctrl-C during them ends the program quietly, with the
code of every interrupted command: nothing has begun yet that could be put back. So it does at the end,
when all is done. In between it raises KeyboardInterrupt, whenever Python gets to it: that may be after
the command, where a thread of some library took the signal.
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
from typing import Any

from schedtuna.priority import raise_priority

INTERRUPTED = 130
HURRIED = {"record"}  # where many want to run, the imports alone would take it seconds


def run() -> None:
    """Load the command line, run it, and exit with its code."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # no job in the background
    if interruptible:
        signal.signal(signal.SIGINT, _end_quietly)
    if set(sys.argv[1:2]) & HURRIED:
        raise_priority()
    from schedtuna.cli.main import main

    sys.unraisablehook = _raise_again
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, _end_quietly)
        # A KeyboardInterrupt that passed through source text being run, as dataclasses do, would make
        # `python -m` die by SIGINT in the end, whatever came of it; running another text forgets it.
        exec("")  # noqa: S102
        gc.freeze()  # all goes with the process: looking for what nobody needs took a command 50 ms


def _end_quietly(*_: object) -> None:
    os._exit(INTERRUPTED)


def _raise_again(lost: Any) -> None:
    """Raise Ctrl-C again that came where Python drops errors: in callbacks of the collector, in finalisers.

    From another thread, which gets its turn once this has returned. Where SIGINT raises nothing, in a job
    in the background, it was SIGTERM or SIGHUP that did.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        number = signal.SIGINT if raises else signal.SIGTERM
        _thread.start_new_thread(os.kill, (os.getpid(), number))
    else:
        sys.__unraisablehook__(lost)


if __name__ == "__main__":
    run()
