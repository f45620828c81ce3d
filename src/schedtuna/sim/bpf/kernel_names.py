"""Does a kernel have what a BPF object takes from it by name? Answered as libbpf would."""

from __future__ import annotations

from schedtuna.sim.bpf.core import essential
from schedtuna.sim.bpf.types import ENUM, ENUM64, FUNC, INT, PTR, VAR, Types

_HIDDEN = "bpf_prog_aux"  # an argument that the kernel itself gives: Documentation/bpf/kfuncs.rst


class KernelNames:
    """Looks names up for one object.

    Args:
        own: The object's types.
        kernel: The kernel's.
    """

    def __init__(self, own: Types, kernel: Types) -> None:
        self._own, self._kernel = own, kernel
        self._variables: dict[str, bool] = {}
        self._functions: dict[str, bool] = {}

    def has_variable(self, name: str) -> bool:
        """Whether the kernel has a variable of that name."""
        if name not in self._variables:
            self._variables[name] = bool(self._kernel.named(essential(name), frozenset({VAR})))
        return self._variables[name]

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of that name and with this object's prototype."""
        if name not in self._functions:
            self._functions[name] = self._find_function(name)
        return self._functions[name]

    def prototype(self, name: str) -> int | None:
        """The object's prototype of a function."""
        numbers = self._own.named(name, frozenset({FUNC}))
        return self._own.target(numbers[0]) if numbers else None

    def nr_arguments(self, name: str) -> int:
        """How many arguments the object gives a function: five where it does not say."""
        prototype = self.prototype(name)
        return 5 if prototype is None else len(self._own.parameters(prototype))

    def _find_function(self, name: str) -> bool:
        own, kernel = self.prototype(name), self._kernel
        for number in kernel.named(essential(name), frozenset({FUNC})):
            if own is None or self._match(own, kernel.target(number)):
                return True
        return False

    def _match(self, own: int, theirs: int) -> bool:
        given = self._own.parameters(own)
        wanted = [one for one in self._kernel.parameters(theirs) if not self._is_hidden(one)]
        if len(given) != len(wanted):
            return False
        pairs = [(self._own.target(own), self._kernel.target(theirs)), *zip(given, wanted, strict=True)]
        return all(_kind(self._own, mine) == _kind(self._kernel, other) for mine, other in pairs)

    def _is_hidden(self, parameter: int) -> bool:
        bare = self._kernel.bare(parameter)
        if self._kernel.kind(bare) != PTR:
            return False
        return self._kernel.name(self._kernel.bare(self._kernel.target(bare))) == _HIDDEN


def _kind(types: Types, number: int) -> int:
    kind = types.kind(types.bare(number))
    return INT if kind in (ENUM, ENUM64) else kind
