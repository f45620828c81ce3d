"""`schedtuna lab start`, `list` and `stop`: guests with a name; and `lab run --in`, `lab shell --in`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.lab_options import GuestOptions, MachineOptions, found
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.cli.streams import pass_on
from schedtuna.errors import UsageError
from schedtuna.printable import exact, printable

if TYPE_CHECKING:
    from schedtuna.lab.named.guest import NamedGuest

Answer = TypeVar("Answer")
GuestArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@bundled
def start(name: GuestArgument, machine: MachineOptions, as_json: JsonOption = False) -> None:
    """Boot a guest that stays until `lab stop NAME`.

    Commands act in it with `--in NAME`: `lab run`, `lab shell`, and `schedulers start`, `switch`, `status`
    and `stop`.
    """
    from schedtuna.lab.named.guests import start as start_guest
    from schedtuna.lab.store import read_lab
    from schedtuna.lab.vm import FILES

    spec = machine.machine(terminal=True, lines=(FILES,))
    with termination_interrupts():
        record, boot_s = start_guest(read_lab(), name, spec)
    if as_json:
        said = {"kernel": record.kernel, "cpus": spec.cpus, "topology": str(spec.shape)}
        print_json({"name": name, **said, "boot_s": boot_s})
        return
    print(f"guest {name} is up: kernel {record.kernel}, {spec.laid_out}, in {boot_s:.1f} s")
    print(f"use it: schedtuna lab shell --in {name}; end it: schedtuna lab stop {name}")


def list_guests(as_json: JsonOption = False) -> None:
    """List the guests of `lab start`, and who uses them.

    Those that are gone are listed with the reason, until `lab stop` or a new one of that name.
    """
    from schedtuna.cli.table import table
    from schedtuna.lab.named.guests import find_all

    guests = find_all()
    if as_json:
        print_json({"guests": [one.to_dict() for one in guests]})
        return
    if not guests:
        print("no guest was started: schedtuna lab start NAME")
        return
    rows = [
        [
            one.record.name,
            one.state,
            one.record.kernel,
            one.record.topology or str(one.record.cpus),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.record.started_at)),
        ]
        for one in guests
    ]
    print(table(["guest", "state", "kernel", "CPUs", "started"], rows))
    for one in guests:
        if why := one.gone or (one.user and f"in use by {one.user}"):
            print(printable(f"{one.record.name}: {why}"))


def stop(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every guest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Power off a guest of `lab start`.

    Whatever runs in it is ended, and the guest forgotten.
    """
    from schedtuna.lab.named.guests import find, find_all
    from schedtuna.lab.named.guests import stop as stop_guest

    if (name is None) is not everything:
        raise UsageError("expected the name of a guest, or --all", hint="`schedtuna lab list` has the names")
    stopped = {}
    with termination_interrupts():
        for one in [find(name)] if name is not None else find_all():
            stopped[one.record.name] = stop_guest(one.record)
            if not as_json:
                gone = stopped[one.record.name]
                print(printable(f"guest {one.record.name} is {f'gone: {gone}' if gone else 'stopped'}"))
    if as_json:
        print_json({"stopped": stopped})
    elif not stopped:
        print("no guest was started")


def refuse_own_guest(name: str, **said: object) -> None:
    """Refuse options of a guest that boots for the command.

    Raises:
        UsageError: One was given.
    """
    if given := [f"--{option}" for option, value in said.items() if value]:
        raise UsageError(
            f"--in {name} names a guest that is up, and {given[0]} one that boots",
            hint="`schedtuna lab start` takes --kernel, --cpus, --topology and --memory",
        )


def run_in(
    name: str,
    command: Sequence[str],
    *,
    share: Path | None,
    programs: Sequence[Path],
    timeout_s: float,
    as_json: bool,
) -> int:
    """Run a command in a named guest, and pass its output on; returns its exit code."""
    out: list[str] = []
    err: list[str] = []

    def say(text: str) -> None:
        pass_on(text, sys.stdout)
        sys.stdout.flush()

    def run(guest: NamedGuest, folder: str) -> tuple[int, bool]:
        return guest.run_here(
            command,
            out.append if as_json else say,
            err.append if as_json else lambda text: pass_on(text, sys.stderr),
            folder=folder,
            timeout_s=timeout_s,
        )

    try:
        (code, timed_out), kernel, files = _used(name, share, programs, run)
    except KeyboardInterrupt:
        return 130
    if as_json:
        print_json(
            {
                "guest": name,
                "kernel": kernel,
                "exit_code": code,
                "timed_out": timed_out,
                "stdout": "".join(out),
                "stderr": "".join(err),
                "files": [str(file) for file in files],
            }
        )
    if timed_out:
        typer.echo(f"lab: it was ended after {exact(timeout_s)} s (--timeout)", err=True)
        return 1
    return code


def _used(
    name: str, share: Path | None, programs: Sequence[Path], use: Callable[[NamedGuest, str], Answer]
) -> tuple[Answer, str, list[Path]]:
    """Give a named guest what a command needs, use it, and bring back what changed of the shared folder.

    Args:
        name: The guest's.
        share: The shared folder.
        programs: What is put into the guest.
        use: Gets the guest, and in which folder of it to run.

    Returns:
        What `use` returned, the guest's kernel, and the files that changed.
    """
    from schedtuna.lab.named.guest import NamedGuest
    from schedtuna.lab.store import read_lab

    with termination_interrupts(), NamedGuest(name) as guest:
        if programs:
            guest.put_programs(programs, read_lab())
        if share is not None:
            guest.share(share, read_lab())
        answer = use(guest, "/share" if share else "/root")
        return answer, guest.kernel, guest.fetch_changes()


def shell_in(name: str, options: GuestOptions, command: Sequence[str], prompt: str) -> int:
    """Open a shell in a named guest; returns its exit code."""
    from schedtuna.lab.qemu.terminal import run_on_terminal

    def run(guest: NamedGuest, folder: str) -> int:
        environment = {"TERM": os.environ.get("TERM", "dumb"), "PS1": prompt}
        return run_on_terminal(guest, command, folder=folder, environment=environment, stdin=0)

    try:
        code, _, files = _used(name, options.share, found(options.programs), run)
    except KeyboardInterrupt:
        return 130
    for file in files:
        typer.echo(f"lab: copied back: {file}", err=True)
    return code
