"""One machine's counters, as perf prints each version of /proc/schedstat: the same values, or a refusal."""

# ruff: noqa: E501  # the explanations are as long as they are

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sched_stats import parse_sched_stats
from schedtuna.trace.formats.sink import Collector

# tools/lib/perf/include/perf/schedstat-v15.h, -v16.h and -v17.h
CPU = {
    "yld_count": "sched_yield() count", "array_exp": "Legacy counter can be ignored",
    "sched_count": "schedule() called", "sched_goidle": "schedule() left the processor idle",
    "ttwu_count": "try_to_wake_up() was called",
    "ttwu_local": "try_to_wake_up() was called to wake up the local cpu",
    "rq_cpu_time": "total runtime by tasks on this processor (in jiffies)",
    "run_delay": "total waittime by tasks on this processor (in jiffies)", "pcount": "total timeslices run on this cpu",
}  # fmt: skip
BALANCING = {
    "count": "load_balance() count on cpu {}", "balanced": "load_balance() found balanced on cpu {}",
    "failed": "load_balance() move task failed on cpu {}", "gained": "pull_task() count on cpu {}",
    "hot_gained": "pull_task() when target task was cache-hot on cpu {}",
    "nobusyq": "load_balance() failed to find busier queue on cpu {}",
    "nobusyg": "load_balance() failed to find busier group on cpu {}",
}  # fmt: skip
IMBALANCE = {
    17: {
        "imbalance_load": "imbalance in load on cpu {}", "imbalance_util": "imbalance in utilization on cpu {}",
        "imbalance_task": "imbalance in number of tasks on cpu {}",
        "imbalance_misfit": "imbalance in misfit tasks on cpu {}",
    }
}  # fmt: skip
KINDS = {"busy": "busy", "idle": "idle", "newidle": "newly idle"}
WAKEUP = {
    "alb_count": "active_load_balance() count", "sbe_pushed": "sbe_pushed is not used",
    "ttwu_wake_remote": "try_to_wake_up() awoke a task that last ran on a diff cpu",
    "ttwu_move_affine": "try_to_wake_up() moved task because cache-cold on own cpu",
}  # fmt: skip
RULE = "-" * 100


def domain_names(version: int) -> dict[str, str]:
    """Name -> explanation; of versions before 17 the sum of imbalances has a name alone."""
    of_version = IMBALANCE.get(version, {"imbalance": ""})
    names = {
        f"{kind}_lb_{name}": text.format(word)
        for kind, word in KINDS.items()
        for name, text in (BALANCING | of_version).items()
    }
    return {name: text or name for name, text in (names | WAKEUP).items()}


@st.composite
def told(draw):
    """A text, and what it says: of each CPU and of each domain."""
    version, is_old, verbose = draw(st.sampled_from([15, 16, 17])), draw(st.booleans()), draw(st.booleans())
    nr_cpus = draw(st.integers(1, 4))
    domains = draw(st.lists(st.sampled_from(["SMT", "MC", "PKG", "NUMA"]), max_size=2, unique=True))
    new = draw(st.sampled_from([{}, {"new_counter": "new_counter"}]))
    of_cpu, of_domain = CPU | new, domain_names(version) | new
    order = draw(st.permutations(list(of_cpu)))
    numbers = st.integers(0, draw(st.sampled_from([9, 10**6, 10**12])))
    values = [{name: draw(numbers) for name in order} for _ in range(nr_cpus)]
    seed = draw(st.integers(0, 1000))
    balance = {
        (cpu, domain): {name: seed + at * 7 + cpu for at, name in enumerate(of_domain)}
        for cpu in range(nr_cpus)
        for domain in domains
    }

    def rows(counters, texts, suffix):
        return [
            f"{texts[name] if verbose else name:<65}: {value:>11}{suffix}" for name, value in counters.items()
        ]

    def section(cpu, counters, columns, texts, domain=""):
        last = f"<0, {nr_cpus - 1}>" if is_old else f"0-{nr_cpus - 1}"
        where = (
            (f", DOMAIN {domain} CPUS {last}" if is_old else f" | DOMAIN: {domain} | DOMAIN_CPUS: {last}")
            if domain
            else ""
        )
        suffix = draw(st.sampled_from(["", "  $       33.64 $" if domain else "  (     1.13% )"]))
        category = ["---------- <Category busy> ----------"] if domain else [RULE]
        head = f"CPU{'' if is_old else ':'} {cpu}{where}"
        return [
            RULE,
            head,
            RULE,
            f"DESC{'COUNT':>74}{columns:>13}",
            *category,
            *rows(counters, texts, suffix),
        ]

    mean = {name: sum(row[name] for row in values) // nr_cpus for name in order}
    lines = ["Description", RULE, "DESC\t\t-> Description of the field", RULE, ""]
    lines.append(f"Time elapsed (in jiffies){'':40}: {8209:>11}")
    lines += section("<ALL CPUS SUMMARY>", mean, "PCT_CHANGE", of_cpu)
    for domain in domains:
        total = {name: sum(balance[cpu, domain][name] for cpu in range(nr_cpus)) for name in of_domain}
        of_all = {name: count // nr_cpus for name, count in total.items()}
        lines += section("<ALL CPUS SUMMARY>", of_all, "AVG_JIFFIES", of_domain, domain)
    for cpu in range(nr_cpus):
        lines += section(cpu, values[cpu], "PCT_CHANGE", of_cpu)
        for domain in domains:
            lines += section(cpu, balance[cpu, domain], "AVG_JIFFIES", of_domain, domain)
    return lines, values, balance


def read(lines: list[str], end: str):
    collector = Collector()
    parse_sched_stats(io.BytesIO("".join(line + end for line in lines).encode()), collector)
    return collector.trace()


def ours(counters: dict[str, int]) -> dict[str, float]:
    return {
        f"schedstat_{name}{'_ns' if name in ('rq_cpu_time', 'run_delay') else ''}": value
        for name, value in counters.items()
    }


@settings(max_examples=250, deadline=None)
@given(report=told(), end=st.sampled_from(["\n", "\r\n"]))
def test_every_version_gives_its_counters(report, end) -> None:
    lines, values, balance = report
    trace = read(lines, end)
    for cpu, row in enumerate(trace.samples("cpu").drop("timestamp_ns").rows(named=True)):
        assert row == {"cpu": cpu} | ours(values[cpu])
    (system,) = trace.samples("system").drop("timestamp_ns").rows(named=True)
    total = {name: sum(row[name] for row in values) for name in values[0]}
    assert system == {"elapsed_jiffies": 8209} | ours(total)
    found = trace.samples("sched_domain").rows(named=True) if balance else []
    assert [(row["cpu"], row["sched_domain"]) for row in found] == [*balance]
    for row, counters in zip(found, balance.values(), strict=True):
        assert {name: row[name] for name in ours(counters)} == ours(counters)


@settings(max_examples=100, deadline=None)
@given(report=told(), data=st.data())
def test_a_text_without_one_of_its_counters_is_refused(report, data) -> None:
    lines, values, balance = report
    places = [at for at, line in enumerate(lines) if ": " in line[60:] and not line.startswith("Time")]
    del lines[data.draw(st.sampled_from(places))]
    if len(values) > 1 or len(balance) > 1 or not balance:  # else there is no other table to hold it against
        with pytest.raises(TraceError, match="a part of the text is missing"):
            read(lines, "\n")
