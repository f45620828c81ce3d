"""Which commands there are, and what becomes of their errors.

Exit codes: 0 done, 1 failed, 2 usage, 3 the kernel or a privilege is missing, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import keyword
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from schedtuna import __version__
from schedtuna.cli.output import DEBUG_VARIABLE, print_error, print_remark
from schedtuna.cli.streams import guard_streams
from schedtuna.errors import JournalError, SchedtunaError, UsageError, nearest
from schedtuna.knobs.state import may_have_left_something

# Command -> the question it answers, as `--help` shows it. A command lives in the module of its
# name (`-` becomes `_`, `import` is import_), which is imported only when it runs and defines `app`.
COMMANDS: dict[str, str] = {
    "tune": "Find better settings for a command, and prove the best one.",
    "compare": "Is scheduler B better than A on this command? Is it real?",
    "bisect": "Which release or kernel made this command worse?",
    "variability": "How much do a command's runs vary, here and elsewhere?",
    "apply": "Run a command under what a study proved.",
    "agent": "Tune this machine while it runs: advise, act, explain, undo.",
    "schedulers": "Which schedulers are known? What does a binary understand?",
    "knobs": "What can be changed here, and why can't the rest be?",
    "metrics": "Which numbers can be asked for, and what is missing here?",
    "undo": "Put back what killed runs have left changed.",
    "replay": "What do past studies say? Pre-train an agent on them.",
    "report": "What did all studies say, over time, in one page?",
    "analyze": "Which parameters matter, according to past studies?",
    "record": "Record what the scheduler does.",
    "stats": "What did a trace's tasks do, and how long did they wait?",
    "plot": "Draw a trace: latencies, the CPUs' timeline, runqueues.",
    "trace": "Export a trace, or describe how two differ.",
    "import": "Read perf, trace-cmd, ftrace, vmstat, pidstat or dstat.",
    "top": "Which tasks wait longest for a CPU right now, and why?",
    "sim": "What would a load do on another machine? Simulate it.",
    "train": "Which model learns a dataset best? Train, judge, export.",
    "model": "What is in a learned decision? Check it, export it.",
    "dataset": "What can be learnt from traces? Datasets for training.",
    "rl": "Train policies in simulated machines, and judge them.",
    "bench": "SchedBench: list its parts, run an entry, verify one.",
    "lab": "Run commands on other kernels, with sched_ext, in a guest.",
    "serve": "Run workloads here for another machine, over HTTP.",
    "demo": "What does it bring here? Shown in four minutes.",
    "suite": "Which workloads are bundled? Run them.",
    "doctor": "What is missing here? May two results be compared?",
    "completion": "Print what completes commands and names in your shell.",
}

# These put back what a killed run has left, and say so, before they do anything else.
PUT_BACK_THEMSELVES = {"tune", "compare", "bisect", "variability", "serve", "undo", "agent"}

_DISK_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EROFS: "choose a place that you can write to",
}


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and imports the one that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the named placeholder by the command itself.

        Raises:
            UsageError: There is no such command; the hint has the nearest ones.
        """
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UsageError(f"there is no command {args[0]!r}", hint=nearest(args[0], COMMANDS))
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:
            return name, placeholder, rest
        if name not in PUT_BACK_THEMSELVES and "--help" not in rest and may_have_left_something():
            _offer_undo()
        return name, load(name), rest


def _offer_undo() -> None:
    """Say which changes of killed runs are still in force, and what puts them back."""
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import still_changed

    with contextlib.suppress(JournalError, OSError):  # `undo` says what is wrong with the journal
        if names := sorted({record.knob for record in still_changed(Journal())}):
            left = f"a run that was killed has left this changed: {', '.join(names)}"
            print_remark("note", f"{left}; `schedtuna undo` puts it back", file=sys.stderr)


def load(name: str) -> Any:
    """Import the module of a command and return the command."""
    stem = name.replace("-", "_") + "_" * keyword.iskeyword(name)
    module = importlib.import_module(f"schedtuna.cli.{stem}")
    module.app.rich_markup_mode = app.rich_markup_mode
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help texts: rich would double the time until they are there
    help="Make this machine schedule your work better, and prove it.",
)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        print(f"schedtuna {__version__}")
        raise typer.Exit


def build() -> Any:
    """Return the click command of the whole program."""
    group: Any = typer.main.get_command(app)
    for name, help_text in COMMANDS.items():
        group.add_command(TyperCommand(name=name, help=help_text))
    group.invoke_without_command = True  # so that `--version` needs no command
    return group


def _told(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _show_origin() -> None:
    if DEBUG_VARIABLE in os.environ:
        import traceback

        traceback.print_exc()


def _hint(error: OSError) -> str | None:
    if error.errno == errno.ENOENT and not _stands_somewhere():
        return "the current folder was removed: change to another one"
    return _DISK_HINTS.get(error.errno or 0)


def _stands_somewhere() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return False
    return True


def _keep_standard_streams() -> None:
    """Give closed standard streams a place, or files that we open would take their numbers."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the process's life
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def main(argv: list[str] | None = None) -> None:
    """Run the command line, and exit with its code."""
    _keep_standard_streams()
    guard_streams()
    try:
        code = _run(argv)
    except SchedtunaError as error:
        _show_origin()
        print_error(str(error), hint=error.hint)
        sys.exit(error.exit_code)
    except OSError as error:
        _show_origin()
        print_error(_told(error), hint=_hint(error))
        sys.exit(1)
    sys.exit(code)


def _run(argv: list[str] | None) -> int:
    """Run a command and return its exit code; a mistake in the command line becomes an error of ours."""
    try:
        return build().main(args=argv, prog_name="schedtuna", standalone_mode=False) or 0
    except TyperException as mistake:
        if type(mistake).__name__ == "NoArgsIsHelpError":  # a group alone: its help, as a usage error
            print(mistake.message, file=sys.stderr)
            return UsageError.exit_code
        from schedtuna.cli.mistakes import usage_error

        raise usage_error(mistake, _named(sys.argv[1:] if argv is None else argv)) from mistake


def _named(argv: list[str]) -> str:
    """The command that a command line names, as far as there is one."""
    names, commands = ["schedtuna"], dict.fromkeys(COMMANDS)
    for word in argv:
        if word not in commands:
            break
        names.append(word)
        commands = getattr(load(word), "commands", {}) if len(names) == 2 else {}
    return " ".join(names)
