"""`schedtuna lab shell`, `boot` and `forward`: guests to talk to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.lab_named import refuse_own_guest, shell_in
from schedtuna.cli.lab_options import GuestOptions, MachineOptions
from schedtuna.cli.options import CommandArgument, InOption, JsonOption
from schedtuna.cli.output import print_json

if TYPE_CHECKING:
    from schedtuna.lab.vm import GuestSpec

_PROMPT = r"\u@\h:\w\$ "


@bundled
def boot(
    machine: MachineOptions,
    console: Annotated[bool, typer.Option("--console", help="Print the kernel's messages.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Boot a guest, say how long it took, and power it off.

    Exit code 3: it does not boot; the error shows the end of its console.
    """
    from schedtuna.lab.boot import boot as boot_guest
    from schedtuna.lab.store import read_lab

    with termination_interrupts():
        lab, spec = read_lab(), machine.machine()
        guest, nr_failed = boot_guest(lab, spec)
        with guest:
            cpu_s, state = guest.cpu_s(), guest.read("/sys/kernel/sched_ext/state")
            text = guest.console()
    found = {
        "kernel": guest.kernel.version,
        "cpus": spec.cpus,
        "topology": str(spec.shape),
        "accelerator": lab.accelerator,
        "boot_s": guest.boot_s,
        "cpu_s": cpu_s,
        "nr_failed_boots": nr_failed,
        "sched_ext": state.strip() if state else None,
    }
    if as_json:
        print_json({**found, "console": text} if console else found)
        return
    if console:
        print(text, end="")
    print(
        f"kernel {guest.kernel.version} booted in {guest.boot_s:.1f} s ({cpu_s:.1f} s of CPU, "
        f"{lab.accelerator}) on {spec.laid_out}, sched_ext {found['sched_ext'] or 'absent'}"
    )
    if nr_failed:
        typer.echo("lab: the first guest did not boot; this was the second", err=True)


@bundled
def shell(
    guest: GuestOptions,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]", help="What to run instead of bash, after `--`.", show_default=False
        ),
    ] = None,
    named: InOption = None,
) -> None:
    """Open a shell in a guest; `exit` or Ctrl-D ends it.

    Ctrl-C goes inside. The exit code is the shell's.
    """
    if named is not None:
        refuse_own_guest(named, **guest.said())
        raise typer.Exit(shell_in(named, guest, command or ["bash"], _PROMPT))
    raise typer.Exit(_talk(guest.spec(), command or ["bash"], stdin=0))


@bundled
def forward(
    ports: Annotated[
        str, typer.Argument(metavar="HOST_PORT:GUEST_PORT", help="0 for any free port of this machine.")
    ],
    command: CommandArgument,
    guest: GuestOptions,
) -> None:
    """Run COMMAND, a server, in a guest, and reach a port of it here.

    Connections to 127.0.0.1:HOST_PORT are relayed to the guest's own loopback until COMMAND ends or
    Ctrl-C. The guest can't connect to anything here.
    """
    from schedtuna.lab.qemu.forward import parse_ports

    host_port, guest_port = parse_ports(ports)
    spec = guest.spec(_forward_line(guest_port))
    raise typer.Exit(_talk(spec, command, forwarded=(host_port, guest_port)))


def _forward_line(guest_port: int) -> str:
    return f"forward{guest_port}"


def _talk(
    spec: GuestSpec,
    command: Sequence[str],
    *,
    stdin: int | None = None,
    forwarded: tuple[int, int] | None = None,
) -> int:
    """Run a command on a guest's terminal; returns its exit code."""
    from contextlib import ExitStack

    from schedtuna.lab.boot import boot as boot_guest
    from schedtuna.lab.qemu.forward import Forward
    from schedtuna.lab.qemu.terminal import run_on_terminal
    from schedtuna.lab.store import read_lab

    with termination_interrupts(), ExitStack() as stack:
        try:
            guest, _ = boot_guest(read_lab(), spec)
            stack.enter_context(guest)
            typer.echo(f"lab: kernel {guest.kernel.version}, up in {guest.boot_s:.1f} s", err=True)
            if forwarded:
                host_port, guest_port = forwarded
                line = _forward_line(guest_port)
                relay = stack.enter_context(Forward(guest, line, host_port=host_port, guest_port=guest_port))
                typer.echo(f"lab: 127.0.0.1:{relay.port} is the guest's port {guest_port}", err=True)
            code = run_on_terminal(
                guest,
                command,
                folder="/share" if spec.share else "/root",
                environment={"TERM": os.environ.get("TERM", "dumb"), "PS1": _PROMPT},
                stdin=stdin,
            )
            files = guest.fetch_changes()
        except KeyboardInterrupt:
            return 130
    for file in files:
        typer.echo(f"lab: copied back: {file}", err=True)
    return code
