"""A model inside the running kernel: loaded, checked by its own rows, run on rows that are given, swapped."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError, UnavailableError
from schedtuna.kernel.btf import StructLayout
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.programs import InnerArray, ProgramCost, program_cost
from schedtuna.model.core import Accumulators, IntArray
from schedtuna.model.kernel.classes import MOST_KERNEL_INPUTS, TRACE_DTYPE, KernelClass, class_of
from schedtuna.model.kernel.tables import accumulators, pack
from schedtuna.model.model import DecisionModel

DECIDING = ("base", "decide", "explain")
MEASURING = ("base", "decide", "decide_bins", "decide_key", "time_cold", "time_nothing")
_PAGE_BYTES = 4096
_MAP_NAME = "schedtuna_model"


class KernelPrograms:
    """The programs of one class, loaded; `put` gives them a model.

    Args:
        geometry: The class.
        programs: Which of bpf/model/programs.bpf.h are loaded.
        nr_rows: How many rows they have room for, a power of two.
        other_bytes: How much other data they can read between two decisions.

    Raises:
        UnavailableError: No privilege, no BTF, or the kernel refuses.
    """

    def __init__(
        self,
        geometry: KernelClass,
        programs: tuple[str, ...] = DECIDING,
        *,
        nr_rows: int = 1024,
        other_bytes: int = 0,
    ) -> None:
        self.geometry = geometry
        self.nr_rows = nr_rows
        self.bpf = BpfObject(geometry.object_name)
        try:
            _require_layout(self.bpf, geometry)
            self.bpf.skip(set(self.bpf.programs) - set(programs))
            counts = {"rows": nr_rows, "decisions": nr_rows}
            counts |= {"traces": nr_rows} if "explain" in programs else {}
            counts |= {"counters": nr_rows} if "decide_key" in programs else {}
            counts |= {"times_ns": nr_rows} if "time_cold" in programs else {}
            counts |= {"others": other_bytes // _PAGE_BYTES} if other_bytes else {}
            for name, count in counts.items():
                self.bpf.set_max_entries(name, count)
            self._statistics = self.bpf.keep_statistics(programs)
            self.bpf.load()
            self.set_number("last_row", nr_rows - 1)
            self._rows = self._array("rows", np.dtype(("<i8", (MOST_KERNEL_INPUTS,))))
        except BaseException:
            self.bpf.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bpf.close()

    def cost(self, program: str = "decide") -> ProgramCost:
        """What the kernel says of a program."""
        return program_cost(self.bpf.program_fd(program), self._statistics(program))

    def put(self, table: bytes) -> None:
        """Let another model decide, from the next decision on; `pack` makes its table."""
        put_table(self.bpf.map_fd("models"), table)

    def set_number(self, name: str, value: int) -> None:
        """Set one of the programs' counters: a global variable of 32 bits."""
        self.bpf.set_variable(".bss", name, value.to_bytes(4, "little"))

    def give(self, rows: npt.ArrayLike) -> int:
        """Set the first rows that programs take, and return how many there are.

        Args:
            rows: Integers [at most nr_rows, inputs].
        """
        given = np.asarray(rows)
        self._rows[: len(given)] = 0
        self._rows[: len(given), : given.shape[1]] = given
        return len(given)

    def run(self, program: str, count: int) -> int:
        """Run a program on the first rows, and return nanoseconds per run.

        Raises:
            UnavailableError: It found no model.
        """
        self.set_number("next_row", 0)
        self.set_number("nr_undecided", 0)
        took_ns = self.bpf.run_packet(program, count)
        if self.bpf.variable("nr_undecided"):
            raise UnavailableError("no model is loaded", hint="put one in first")
        return took_ns

    def decide(self, values: npt.ArrayLike) -> IntArray:
        """Return the logits of rows of values: int64 [rows, 4]."""
        found = [
            self._answer("decide", part, "decisions", np.dtype(("<i8", (4,)))) for part in self._parts(values)
        ]
        return np.concatenate(found)

    def explain(self, values: npt.ArrayLike) -> npt.NDArray[np.void]:
        """Return what the program tells of each row: TRACE_DTYPE [rows]."""
        return np.concatenate(
            [self._answer("explain", part, "traces", TRACE_DTYPE) for part in self._parts(values)]
        )

    def times_ns(self) -> npt.NDArray[np.uint64]:
        """What `time_cold` or `time_nothing` took of each row."""
        return self._array("times_ns", np.dtype("<u8"))

    def _parts(self, values: npt.ArrayLike) -> list[npt.NDArray[Any]]:
        given = np.asarray(values)
        return [given[first : first + self.nr_rows] for first in range(0, len(given), self.nr_rows)]

    def _answer(
        self, program: str, rows: npt.NDArray[Any], name: str, dtype: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        count = self.give(rows)
        self.run(program, count)
        return self._array(name, dtype)[:count].copy()

    def _array(self, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        shape = (self.nr_rows, *dtype.shape)
        flat = np.frombuffer(self.bpf.map_array(name), dtype.base, int(np.prod(shape)))
        return flat.reshape(shape)


def put_table(models_fd: int, table: bytes) -> None:
    """Let a table decide in a program that holds its models as bpf/model/models.bpf.h does.

    Args:
        models_fd: Of its map of maps.
        table: What `pack` made for the program's class; `require_parity` has checked it on this kernel.

    Raises:
        UnavailableError: The program is of another class, or the kernel has no memory for the table.
    """
    inner = InnerArray(_MAP_NAME, table)
    try:
        inner.put_into(models_fd)
    except OSError as error:
        raise UnavailableError(
            f"the program is of another class than this table of {len(table)} bytes: {error.strerror}",
            hint="`class_of` names a model's class; the program has to be compiled for it",
        ) from error
    finally:
        inner.close()


def load(model: DecisionModel, *, nr_rows: int = 1024) -> KernelPrograms:
    """Load a model into this kernel, where its own rows have to give what they should.

    Raises:
        ModelError: It is too large, has no rows of its own, or this kernel computes something else.
        UnavailableError: No privilege, no BTF, or the kernel refuses.
    """
    geometry = class_of(model)
    programs = KernelPrograms(geometry, nr_rows=nr_rows)
    try:
        programs.put(pack(model, geometry))
        require_parity(programs, model)
    except BaseException:
        programs.bpf.close()
        raise
    return programs


def difference(programs: KernelPrograms, model: DecisionModel) -> str | None:
    """Say what of a loaded model's own rows is not here what it is in the reference.

    Raises:
        ModelError: It has no rows.
    """
    if model.rows is None or not len(model.rows):
        raise ModelError(f"{model.name} has no rows to check it with", hint="`checked` adds them")
    bins, found = told(programs, model, model.rows.values)
    logits = programs.decide(model.rows.values)[:, : model.core.nr_logits]
    for what, got, expected in (
        ("bin", bins, model.rows.bins),
        ("accumulator", found, model.rows.accumulators),
        ("logit", logits, model.rows.accumulators[:, -model.core.nr_logits :]),
    ):
        wrong = np.argwhere(got != expected)
        if len(wrong):
            row, column = wrong[0].tolist()
            should = expected[row, column]
            return f"{what} {column} of its row {row} is {got[row, column]}, and should be {should}"
    return None


def require_parity(programs: KernelPrograms, model: DecisionModel) -> None:
    """Refuse a loaded model whose own rows give anything else here than in the reference.

    Raises:
        ModelError: They do, or there are none.
    """
    if wrong := difference(programs, model):
        raise ModelError(
            f"this kernel computes {model.name} wrongly: {wrong}",
            hint="the file, the program or the table is damaged: it is not used",
        )


def told(
    programs: KernelPrograms, model: DecisionModel, values: npt.ArrayLike
) -> tuple[npt.NDArray[np.uint64], Accumulators]:
    """Return bins and accumulators of rows of values, as the loaded model has them."""
    traces = programs.explain(values)
    return traces["bins"][:, : len(model.inputs)], accumulators(model, programs.geometry, traces)


def _require_layout(bpf: BpfObject, geometry: KernelClass) -> None:
    """Check that the object's table is what `pack` makes."""
    dtype = geometry.table_dtype
    offsets = {name: dtype.fields[name][1] for name in dtype.names or ()}  # type: ignore[index]  # structured
    bpf.btf.require(geometry.struct, StructLayout(dtype.itemsize, offsets), use="writes")
