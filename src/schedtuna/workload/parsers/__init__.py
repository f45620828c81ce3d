"""Which parser reads a command's output: one of ours, by the command's name, or somebody else's, by its own.

Those of other packages are named as ``module:NAME``, or by an entry point of the group `ENTRY_POINTS`.
"""

from __future__ import annotations

from functools import cache

from schedtuna import plugins
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

__all__ = ["ENTRY_POINTS", "PARSERS", "Field", "OutputParser", "find_parser", "named_parser", "written_files"]

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

ENTRY_POINTS = "schedtuna.parsers"  # the group in which other packages name theirs
_OWN_HINT = "docs/workloads.md, section A parser of your own, has an example"

# Programs that are looked through, but print beside the command that they run.
_PRINTING = frozenset({"perf", "strace", "ltrace", "watch", "valgrind"})


@cache
def named_parser(name: str) -> OutputParser:
    """Return a parser by its name, ``module:NAME`` or the name of an entry point.

    Raises:
        UsageError: There is none of this name, or what is named is not a parser.
    """
    if name in PARSERS:
        return PARSERS[name]
    path = name
    if ":" not in name:
        brought = plugins.installed(ENTRY_POINTS)
        if name not in brought:
            raise UsageError(
                f"unknown parser {name!r}: {nearest(name, [*PARSERS, *brought])}",
                hint="one of your own is named as module:NAME",
            )
        path = brought[name].path
    parser = plugins.load(path, OutputParser, what=f"parser {name}", hint=_OWN_HINT)
    named = [parser.primary, *filter(None, (parser.throughput, parser.latency))]
    # A count that is never there would let every run pass.
    named += [name for basis in parser.bases for name in (basis.field, *basis.of)]
    named += [name for failures in parser.failures for name in (failures.field, *failures.of)]
    for row in named:
        if parser.field(row) is None:
            raise UsageError(
                f"parser {name}: it names the field {row!r}, which its fields lack", hint=_OWN_HINT
            )
    return parser


def find_parser(workload: Workload) -> OutputParser | None:
    """Return the parser of a workload's output: the one it names, else by the command's name.

    Wrappers such as `taskset` and `env` are looked through, and so is a shell's command line.

    Raises:
        UsageError: The workload names a parser that is not there, or an option that it can't follow.
    """
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
    named = named_parser(workload.parser) if workload.parser else None
    for program in programs:
        words = (program.name, *program.arguments)
        for parser in (named,) if named else PARSERS.values():
            for command in parser.commands:
                if words[: len(command)] == command:
                    return parser, words[len(command) :]
        if program.name in _PRINTING and not named and not workload.shell:
            return None, ()
    return named, programs[-1].own if programs else ()
