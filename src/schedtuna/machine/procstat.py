"""Where the CPUs' time went: /proc/stat, its differences, and the fractions others took."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from schedtuna.errors import UnavailableError


@dataclass(frozen=True)
class CpuTimes:
    """Times of one CPU, or of all, in clock ticks (`os.sysconf("SC_CLK_TCK")` per second).

    The names are the kernel's (Documentation/filesystems/proc.rst); `user` and `nice` include
    `guest` and `guest_nice`. Columns that an old kernel lacks are 0.
    """

    user: int = 0
    nice: int = 0
    system: int = 0
    idle: int = 0
    iowait: int = 0
    irq: int = 0
    softirq: int = 0
    steal: int = 0
    guest: int = 0
    guest_nice: int = 0

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        """What was spent since; idle and iowait may step back in the kernel, which counts as 0."""
        return CpuTimes(
            **{f.name: max(0, getattr(self, f.name) - getattr(earlier, f.name)) for f in fields(self)}
        )

    @property
    def total(self) -> int:
        """All the time there was."""
        return (
            self.user
            + self.nice
            + self.system
            + self.idle
            + self.iowait
            + self.irq
            + self.softirq
            + self.steal
        )

    def fraction(self, ticks: int) -> float:
        """Part of the total, 0 to 1; 0 where no time passed."""
        return ticks / self.total if self.total else 0.0

    @property
    def steal_fraction(self) -> float:
        """Part of the time in which the hypervisor ran somebody else, 0 to 1."""
        return self.fraction(self.steal)

    @property
    def irq_fraction(self) -> float:
        """Part of the time spent in hardware and software interrupts, 0 to 1."""
        return self.fraction(self.irq + self.softirq)

    @property
    def idle_fraction(self) -> float:
        """Part of the time without anything to run, waiting for IO included, 0 to 1."""
        return self.fraction(self.idle + self.iowait)


@dataclass(frozen=True)
class ProcStat:
    """The times of all CPUs together and of each CPU that is online, by its number."""

    total: CpuTimes
    cpus: dict[int, CpuTimes]

    def __sub__(self, earlier: ProcStat) -> ProcStat:
        """What was spent since, for the CPUs that were online at both moments."""
        return ProcStat(
            total=self.total - earlier.total,
            cpus={cpu: times - earlier.cpus[cpu] for cpu, times in self.cpus.items() if cpu in earlier.cpus},
        )


def parse_proc_stat(text: str) -> ProcStat:
    """Parse the text of /proc/stat.

    Raises:
        UnavailableError: The text has no line of totals.
    """
    total: CpuTimes | None = None
    cpus: dict[int, CpuTimes] = {}
    for line in text.splitlines():
        if not line.startswith("cpu"):
            continue
        name, *columns = line.split()
        try:
            times = CpuTimes(*(int(column) for column in columns[: len(fields(CpuTimes))]))
            if name == "cpu":
                total = times
            else:
                cpus[int(name[3:])] = times
        except ValueError:
            raise UnavailableError(f"/proc/stat: not a line of CPU times: {line[:80]!r}") from None
    if total is None:
        raise UnavailableError("/proc/stat: no line of CPU times", hint="is procfs mounted on /proc?")
    return ProcStat(total, cpus)


def read_proc_stat(proc: Path = Path("/proc")) -> ProcStat:
    """Read the times since boot.

    Raises:
        UnavailableError: /proc/stat can't be read.
    """
    try:
        text = (proc / "stat").read_text()
    except OSError as error:
        raise UnavailableError(f"can't read {proc / 'stat'}: {error.strerror}") from error
    return parse_proc_stat(text)
