"""Which parser reads a command's output."""

from __future__ import annotations

from schedtuna.errors import UsageError, nearest
from schedtuna.workload.parsers import (
    cyclictest,
    fio,
    hackbench,
    hyperfine,
    json_line,
    llama_bench,
    perf_bench,
    pgbench,
    redis_benchmark,
    schbench,
    stress_ng,
    sysbench,
    wrk,
)
from schedtuna.workload.parsers.base import Field, OutputParser
from schedtuna.workload.spec import Workload
from schedtuna.workload.wrappers import started

__all__ = ["PARSERS", "Field", "OutputParser", "find_parser", "written_files"]

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
        fio,
        redis_benchmark,
        hyperfine,
        json_line,
    )
}

# Programs that are looked through, but print beside the command that they run.
_PRINTING = frozenset({"perf", "strace", "ltrace", "watch", "valgrind"})


def find_parser(workload: Workload) -> OutputParser | None:
    """Return the parser of a workload's output: the one it names, else by the command's name.

    Wrappers such as `taskset` and `env` are looked through, and so is a shell's command line.

    Raises:
        UsageError: The workload names a parser that is not there, or an option that it can't follow.
    """
    if workload.parser and workload.parser not in PARSERS:
        raise UsageError(f"unknown parser {workload.parser!r}: {nearest(workload.parser, PARSERS)}")
    parser, words = _chosen(workload)
    if parser is not None:
        for option, _ in parser.options.given(words):
            if reason := parser.refused_options.get(option):
                raise UsageError(f"{parser.name} {option}: {reason}", hint=f"leave {option} out")
    return parser


def written_files(workload: Workload) -> list[str]:
    """Return the files that the command's options have the tool write, and that its parser reads, too."""
    parser, words = _chosen(workload)
    names = parser.options.values(words, parser.file_options) if parser else []
    return [name for name in names if name not in ("-", "/dev/stdout", "/dev/stderr")]


def _chosen(workload: Workload) -> tuple[OutputParser | None, tuple[str, ...]]:
    """The parser, and the words of the command that are the tool's own."""
    programs = started(workload.argv, shell=workload.shell)
    named = PARSERS.get(workload.parser)
    for program in programs:
        words = (program.name, *program.arguments)
        for parser in (named,) if named else PARSERS.values():
            for command in parser.commands:
                if words[: len(command)] == command:
                    return parser, words[len(command) :]
        if program.name in _PRINTING and not named and not workload.shell:
            return None, ()
    return named, programs[-1].own if programs else ()
