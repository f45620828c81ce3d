"""docs/metrics.md, from the tables in the code: `python -m tests.metrics_page` writes it."""

from pathlib import Path
from textwrap import fill

from schedtuna.record.procfs import SYSTEM_METRICS
from schedtuna.workload.catalog import COVARIATE, PERF, RUN, SCHED, SYSTEM, Group, groups
from schedtuna.workload.parsers.base import Field

PAGE = Path(__file__).parents[1] / "docs/metrics.md"
INTRODUCTION = """
Every name that `--metric` (`-m`) and `--require` take, and what is sampled besides. How a metric is
written, also one of whatever your command prints, is in [workloads.md](workloads.md#metrics). A name that
nothing can give a value is refused before anything runs, with the nearest ones.
"""
EXAMPLES = """```console
$ schedtuna metrics                     # all of them, and which this machine or user can't have, and why
$ schedtuna metrics p99_us              # who has a metric of that name, and what it is
$ schedtuna metrics sched --json        # run, perf, sched, system, or a tool: one group
```"""
BY_TOOL = """
What a command's output has, where a parser reads it: chosen by the command's name, or with `--parser`. A
part of a run (a stressor, test or job) has a name of its own before a point: `cpu.bogo_ops_per_s`. `pNN` is
any percentile: `p99_us`, `p99_9_us`. What each one is, and in which direction it is better, stands with its
tool.
"""
SECTIONS = {
    RUN: ("Every run", "Always there; by rusage and the clock."),
    PERF: (
        "By perf",
        """Counted only where a metric or requirement names them, as they cost time at every context switch.
        As root they count user and kernel space, otherwise user space only: don't compare the two. Many
        virtual machines have no hardware counters.""",
    ),
    SCHED: (
        "By eBPF",
        """Of the command and all that it starts, on the host and in guests, where a metric or requirement
        names them. They need CAP_BPF and CAP_PERFMON. How they are counted and what that costs:
        [recording.md](recording.md); the words: [terms.md](terms.md#scheduling).""",
    ),
    COVARIATE: (
        "What the machine did meanwhile",
        """Covariates, written down with every run; `--metric` does not take them. Runs shorter than a clock
        tick (10 ms) have none.""",
    ),
    SYSTEM: (
        "Samples of the system",
        """What `record` samples, and of what `stats --windows` tells
        [features](recording.md#features-per-window); `--metric` does not take them. Rates are since the
        sample before.""",
    ),
}


def page() -> str:
    """Return the page."""
    known = groups(Field(name, "", None, row.help) for name, row in SYSTEM_METRICS.items())
    tools = [group for group in known if group.name not in SECTIONS]
    parts = [f"# Metrics\n{_folded(INTRODUCTION)}\n{EXAMPLES}"]
    for group in known:
        if group.name in SECTIONS:
            title, text = SECTIONS[group.name]
            parts.append("\n".join([f"## {title}", _folded(text), "", *_table(group)]))
        if group.name == SCHED:
            parts.append(_of_tools(tools))
    return "\n\n".join(parts) + "\n"


def _table(group: Group) -> list[str]:
    if group.name in (COVARIATE, SYSTEM):
        heads = ["| name | is |", "|---|---|"]
        return [*heads, *(f"| `{field.name}` | {field.description} |" for field in group.fields)]
    needs = group.name == PERF
    return [
        "| name | better | is |" + " needs |" * needs,
        "|---|---|---|" + "---|" * needs,
        *(
            f"| `{field.name}` | {field.direction} | {field.description} |"
            + f" {getattr(field, 'needs', '')} |" * needs
            for field in group.fields
        ),
    ]


def _of_tools(tools: list[Group]) -> str:
    rows = [
        f"| [{group.name}](workloads.md#{group.name}) | {names} |"
        for group in tools
        for names in [" ".join(f"`{field.name}`" for field in group.fields)]
    ]
    return "\n".join(["## By tool", _folded(BY_TOOL), "", "| tool | names |", "|---|---|", *rows])


def _folded(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page())
