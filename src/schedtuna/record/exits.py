"""What did tasks that exited use in their lives? Rows of samples, of the kind `exit`, from taskstats.

They need no BPF, and cover lives that begin and end between two samples of /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from schedtuna.kernel.taskstats import ExitAccounting, TaskStatsArray
from schedtuna.record.processes import Row
from schedtuna.trace.schema import POLICIES

KIND = "exit"


class ExitSampler:
    """Takes the accounting of threads that exited; the recorder's own are left out.

    Attributes:
        nr_lost: At least so many exits found no room.

    Raises:
        UnavailableError: The kernel has no such accounting, or this process may not have it.
    """

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        self._accounting = ExitAccounting()
        self._has_io_delays = _accounts_delays(proc)

    @property
    def nr_lost(self) -> int:
        """At least so many exits found no room."""
        return self._accounting.nr_overflows

    def rows(self) -> list[Row]:
        """Return a row for each thread that exited since the last call."""
        return exit_rows(self._accounting.take(), has_io_delays=self._has_io_delays)

    def close(self) -> None:
        """Receive no more."""
        self._accounting.close()


def exit_rows(records: TaskStatsArray, *, has_io_delays: bool) -> list[Row]:
    """Return what taskstats say as rows of samples.

    `cpu_time_ns` is up to the last switch or tick: a life of less than a tick may have none. The kernel
    tells its run delay and the time that a quota held it back as one: `schedstat_run_delay_ns`.

    Args:
        records: `TASKSTATS_DTYPE`.
        has_io_delays: Whether the kernel accounts delays; else time blocked for IO is None.
    """
    return [_row(record, has_io_delays) for record in records if record["tgid"] != os.getpid()]


def _row(record: TaskStatsArray, has_io_delays: bool) -> Row:
    policy = int(record["policy"])
    code = int(record["exit_code"])  # as wait(2) gives it: a code in the second byte, or a signal
    return {
        "tid": int(record["tid"]),
        "tgid": int(record["tgid"]) or None,
        "ppid": int(record["ppid"]),
        "uid": int(record["uid"]),
        "comm": bytes(record["comm"]).decode(errors="backslashreplace"),
        "policy": POLICIES[policy] if policy < len(POLICIES) else str(policy),
        "nice": int(record["nice"]),
        "exit_code": code >> 8 & 0xFF,
        "signal": code & 0x7F,
        "life_ns": int(record["elapsed_us"]) * 1000,
        "cpu_time_ns": int(record["cpu_time_ns"]),
        "schedstat_run_delay_ns": int(record["cpu_delay_ns"]),
        "io_delay_ns": int(record["blkio_delay_ns"]) if has_io_delays else None,
        "nr_voluntary_switches": int(record["nr_voluntary_switches"]),
        "nr_involuntary_switches": int(record["nr_involuntary_switches"]),
        "memory_bytes": int(record["max_rss_kib"]) * 1024,
        "read_bytes": int(record["read_bytes"]),
        "written_bytes": int(record["write_bytes"]),
    }


def _accounts_delays(proc: Path) -> bool:
    try:
        return (proc / "sys/kernel/task_delayacct").read_text().strip() != "0"
    except OSError:
        return True  # before Linux 5.14, only the kernel's command line could turn it off
