"""Are several machines so much alike that what is found on all of them together holds for each? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.wire import Capabilities


@dataclass(frozen=True)
class AlikeFact:
    """What has to be the same.

    Attributes:
        what: For people.
        of: Reads it.
    """

    what: str
    of: Callable[[Capabilities], Any]


# With another one of these the same words are another workload, scheduler or measurement.
ALIKE = (
    AlikeFact("the kernel", lambda there: there.machine.get("kernel_release")),
    AlikeFact("the processor", lambda there: there.machine.get("cpu_model")),
    AlikeFact("the CPUs online", lambda there: there.online_cpus),
    AlikeFact("the CPUs that a command may use", lambda there: there.nr_cpus),
    AlikeFact("schedtuna's version", lambda there: there.schedtuna_version),
    AlikeFact("the user that commands run as", lambda there: there.user),
    AlikeFact("whether commands are allowed", lambda there: there.allows_commands),
)


def require_alike(machines: Sequence[tuple[str, Capabilities]]) -> None:
    """Refuse machines that differ, or that are one machine.

    Args:
        machines: What each is called, and what it says of itself.

    Raises:
        UsageError: They do.
    """
    for fact in ALIKE:
        found = {name: fact.of(there) for name, there in machines}
        if len({str(value) for value in found.values()}) > 1:
            told = ", ".join(f"{value} on {name}" for name, value in found.items())
            raise UsageError(
                f"the machines differ: {fact.what} is {told}",
                hint="name machines that are alike: a gain over unlike ones holds for none of them; or ask "
                "each by itself",
            )
    same = Counter(identity(there) for _, there in machines)
    if twice := [name for name, there in machines if same[identity(there)] > 1]:
        raise UsageError(
            f"{' and '.join(twice)} are one machine, whose runs would disturb each other",
            hint="name each machine once",
        )


def identity(there: Capabilities) -> str:
    """Return what tells a machine from others, in a form that is kept: its name, and a part of its id."""
    return f"{there.host} {str(there.machine.get('machine_id_hash'))[:12]}"


def alike_text(there: Capabilities) -> str:
    """Return what machines that are alike have in common: a study may go on with fewer of them, or others."""
    return "; ".join(f"{fact.what} {fact.of(there)}" for fact in ALIKE)
