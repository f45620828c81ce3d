"""Which parser reads a command's output."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from schedtuna.errors import UsageError, nearest
from schedtuna.workload.parsers import (
    cyclictest,
    hackbench,
    json_line,
    llama_bench,
    perf_bench,
    pgbench,
    schbench,
    stress_ng,
    sysbench,
    wrk,
)
from schedtuna.workload.parsers.base import Field, OutputParser
from schedtuna.workload.spec import Workload

__all__ = ["PARSERS", "Field", "OutputParser", "find_parser", "option_value"]

PARSERS: dict[str, OutputParser] = {
    module.PARSER.name: module.PARSER
    for module in (
        stress_ng,
        sysbench,
        schbench,
        hackbench,
        cyclictest,
        perf_bench,
        llama_bench,
        pgbench,
        wrk,
        json_line,
    )
}

# Commands that run another command, whose output it then is.
_WRAPPERS = frozenset(
    {
        "chrt", "env", "exec", "ionice", "nice", "nohup", "numactl", "prlimit", "runuser", "setarch",
        "setpriv", "setsid", "stdbuf", "sudo", "taskset", "time", "timeout",
    }
)  # fmt: skip


def find_parser(workload: Workload) -> OutputParser | None:
    """Return the parser of a workload's output: the one it names, else by the command's name.

    Wrappers such as `taskset` and `env` are looked through, and so is a shell's command line.

    Raises:
        UsageError: The workload names a parser that is not there, or an option that it can't follow.
    """
    words = _words(workload)
    if workload.parser:
        if workload.parser not in PARSERS:
            raise UsageError(f"unknown parser {workload.parser!r}: {nearest(workload.parser, PARSERS)}")
        parser: OutputParser | None = PARSERS[workload.parser]
    else:
        parser = _by_command(words, anywhere=workload.shell)
    if parser is not None:
        for option, reason in parser.refused_options.items():
            if option in words:
                raise UsageError(f"{parser.name} {option}: {reason}", hint=f"leave {option} out")
    return parser


def option_value(workload: Workload, options: tuple[str, ...]) -> str | None:
    """Return the value that the command gives an option: ``--yaml FILE``, ``--yaml=FILE``, ``-YFILE``."""
    words = _words(workload)
    for position, word in enumerate(words):
        for option in options:
            if word == option and position + 1 < len(words):
                return words[position + 1]
            if option.startswith("--") and word.startswith(f"{option}="):
                return word.removeprefix(f"{option}=")
            if not option.startswith("--") and word.startswith(option) and word != option:
                return word.removeprefix(option)
    return None


def _words(workload: Workload) -> list[str]:
    if not workload.shell:
        return list(workload.argv)
    try:
        return shlex.split(" ".join(workload.argv))
    except ValueError:  # a quote that is not closed: the shell will say so
        return []


def _by_command(words: list[str], *, anywhere: bool) -> OutputParser | None:
    names = tuple(PurePath(word).name for word in words)
    through = anywhere or (bool(names) and names[0] in _WRAPPERS)
    for position in range(len(names) if through else 1):
        for parser in PARSERS.values():
            if any(names[position : position + len(command)] == command for command in parser.commands):
                return parser
    return None
