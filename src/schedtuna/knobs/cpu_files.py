"""Machine-wide settings that each CPU has a file for: all get one value, each is put back to its own."""

from __future__ import annotations

import re
from pathlib import Path

from schedtuna.knobs.base import Availability, Target, as_int
from schedtuna.knobs.kernel_files import FileKnob
from schedtuna.machine.topology import topology_now
from schedtuna.space import ParameterSpec, ParameterValue


class CpuFilesKnob(FileKnob):
    """A number that each CPU has in a file ``cpuN/NAME`` of one folder.

    The files of offline CPUs are there, too, and refuse every write: they are left alone. Where CPUs
    differ, the lowest value is shown.
    """

    def probe(self, target: Target) -> Availability:
        """Say whether the files of all CPUs can be written; where they differ, the hint tells it."""
        found = super().probe(target)
        if not found.ok or self.is_uniform(target):
            return found
        told = ", ".join(f"{value} on CPU {cpu}" for cpu, value in self._by_cpu().items())
        return Availability(ok=True, hint=f"the CPUs differ ({told}); turned, all get one value")

    def spec(self, target: Target) -> ParameterSpec:
        """The parameter; no value is above the period of any CPU's server, which the kernel refuses."""
        spec = super().spec(target)
        files = [path.with_name("period") for path in self.files()]
        periods = [self._value(self._read(path), path) for path in files]
        most = min([as_int(spec.max_value or 0), *map(as_int, periods)])
        return spec.model_copy(update={"max_value": most})

    def show(self, target: Target) -> ParameterValue:  # noqa: ARG002
        """The lowest value of any CPU."""
        self._text()  # refuses where there is none
        return min(self._by_cpu().values())

    def is_uniform(self, target: Target) -> bool:  # noqa: ARG002
        """Whether all CPUs have the same value."""
        return len(set(self._by_cpu().values())) == 1

    def files(self) -> list[Path]:
        """The files of the CPUs that are online."""
        files = (self._of(cpu) for cpu in topology_now().online)
        return [path for path in files if path.exists()]

    def owns(self, path: Path) -> bool:
        """Whether a path is that of any CPU."""
        cpu = re.fullmatch(r"cpu(\d+)", path.parent.name)
        return cpu is not None and path == self._of(int(cpu[1]))

    @property
    def path(self) -> Path | None:
        """The first CPU's file."""
        return next(iter(self.files()), None)

    def _of(self, cpu: int) -> Path:
        folder, name = self._paths[0].parent, self._paths[0].name
        return folder / f"cpu{cpu}" / name

    def _by_cpu(self) -> dict[int, int]:
        files = self.files()
        return {int(path.parent.name[3:]): as_int(self._value(self._read(path), path)) for path in files}
