"""How soon does the calling thread run where many want to? A recorder that waits loses events, and time.

Nice acts among the threads of one control group, or of one session where the kernel has autogroups.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

READER_NICE = -15
_usual: dict[int, int] = {}  # thread -> its nice before it was raised


def raise_priority() -> bool:
    """Have the calling thread run soon, from now on.

    Returns:
        Whether this process may do that (CAP_SYS_NICE).
    """
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    try:
        os.setpriority(os.PRIO_PROCESS, thread, min(before, READER_NICE))
    except PermissionError:
        return False
    _usual.setdefault(thread, before)
    return True


@contextmanager
def soon() -> Iterator[None]:
    """Have the calling thread run soon, for as long as this lasts."""
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    raised = raise_priority()
    try:
        yield
    finally:
        if raised:
            os.setpriority(os.PRIO_PROCESS, thread, before)


@contextmanager
def as_usual() -> Iterator[None]:
    """Have the calling thread be as it was first, and so what it starts meanwhile."""
    thread = threading.get_native_id()
    now = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, _usual.get(thread, now))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, thread, now)
