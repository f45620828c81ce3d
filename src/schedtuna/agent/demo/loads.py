"""Which loads does the demonstration run, and what of them is it about?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoLoad:
    """A load of `workload/programs/mix.py`.

    Attributes:
        name: On the command line and in results.
        title: For people.
        options: Of the program, with {cpus} for the number of CPUs, {2cpus} for twice as many.
        seconds: How long a run is.
        skipped_s: At its start, which do not count: the agent has to see before it acts.
        metric: Of the program's figures, less is better.
        work: What its batch part gets done, more is better.
        can_gain: Whether there is anything to gain.
        nr_blocks: Where nobody says otherwise; all loads together take four minutes.
        has_placebo: Whether changes at random are an arm.
    """

    name: str
    title: str
    options: tuple[str, ...]
    seconds: float
    skipped_s: float
    metric: str
    work: str = "ops_per_s"
    can_gain: bool = True
    nr_blocks: int = 4
    has_placebo: bool = True

    def arguments(self, nr_cpus: int, seed: int) -> list[str]:
        """Return the program's command line for a run."""
        filled = [option.format_map({"cpus": nr_cpus, "2cpus": 2 * nr_cpus}) for option in self.options]
        times = ["--seconds", f"{self.seconds:g}", "--skip", f"{self.skipped_s:g}"]
        return [*filled, *times, "--seed", str(seed), "--announce"]


_ANSWERING = ("--tasks", "{2cpus}", "--rate", "100", "--units", "4")
LOADS: dict[str, DemoLoad] = {
    load.name: load
    for load in (
        DemoLoad(
            "beside",
            "tasks that answer requests, beside as many that compute",
            (*_ANSWERING, "--hogs", "{2cpus}"),
            5.4,
            3.7,
            "p99_us",
        ),
        DemoLoad(
            "swapped",
            "the same, and halfway all of them change parts",
            (*_ANSWERING, "--hogs", "{2cpus}", "--swap"),
            5.4,
            1.9,
            "avg_us",
            nr_blocks=3,
            has_placebo=False,
        ),
        DemoLoad(
            "nothing",
            "two computing tasks per CPU: nothing can be gained",
            ("--tasks", "0", "--hogs", "{2cpus}"),
            2.6,
            1.2,
            "",
            can_gain=False,
            nr_blocks=3,
        ),
    )
}
# Long enough that even the last step of the policies has been taken before anything counts.
_FAMILY_S, _FAMILY_SKIPPED_S = 9.6, 4.4
_HOGS = ("--hogs", "{2cpus}")


def _family(name: str, title: str, options: tuple[str, ...], metric: str = "p99_us") -> DemoLoad:
    return DemoLoad(name, title, options, _FAMILY_S, _FAMILY_SKIPPED_S, metric, nr_blocks=6)


def _without_gain(name: str, title: str, options: tuple[str, ...], work: str) -> DemoLoad:
    return DemoLoad(name, title, options, _FAMILY_S, _FAMILY_SKIPPED_S, "", work, can_gain=False, nr_blocks=6)


# Named before any of them was run, and none was seen by the model that ships (whose rows are of loads of
# `workload/families.py` in the simulated machine) or when the rules' limits of behaviour were set. How far
# threads step back, and how soon, was chosen with their figures in view.
FAMILIES: dict[str, DemoLoad] = {
    load.name: load
    for load in (
        _family(
            "requests",
            "tasks that answer requests, beside twice as many that compute",
            ("--tasks", "{cpus}", "--rate", "80", "--units", "10", *_HOGS),
        ),
        _family(
            "compiles",
            "a server's tasks, beside jobs of 100 ms with reads in between",
            ("--tasks", "{cpus}", "--rate", "150", "--units", "12", "--hogs", "0", "--jobs", "{2cpus}"),
        ),
        _family(
            "audio",
            "tasks that are due every 10 ms, beside tasks that compute",
            ("--tasks", "{cpus}", "--rate", "100", "--units", "25", "--even", *_HOGS),
        ),
        _family(
            "chain",
            "requests that go through two more processes, beside tasks that compute",
            ("--tasks", "{cpus}", "--rate", "40", "--units", "20", "--helpers", "2", *_HOGS),
        ),
        _family(
            "bursts",
            "requests that are split among processes and joined, beside tasks that compute",
            ("--tasks", "1", "--rate", "20", "--units", "60", "--helpers", "{2cpus}", "--together", *_HOGS),
            "avg_us",
        ),
        _family(
            "users",
            "users, each with a task that answers and one that computes in a session of their own",
            ("--tasks", "{2cpus}", "--rate", "50", "--units", "8", "--users", *_HOGS),
        ),
        DemoLoad(
            "turns",
            "tasks that answer and tasks that compute change parts halfway",
            (*_ANSWERING, *_HOGS, "--swap"),
            2 * _FAMILY_S,
            _FAMILY_SKIPPED_S,
            "avg_us",
            nr_blocks=6,
        ),
        # Added once all limits and steps were as they are; nothing was changed with their figures in view.
        _family(
            "editor",
            "somebody who types, beside twice as many compile jobs as CPUs",
            ("--tasks", "1", "--rate", "8", "--units", "100", "--hogs", "0", "--jobs", "{2cpus}"),
        ),
        _family(
            "pipeline",
            "requests that go through three more processes, beside a task per CPU that computes",
            ("--tasks", "2", "--rate", "25", "--units", "30", "--helpers", "3", "--hogs", "{cpus}"),
        ),
        _family(
            "player",
            "frames that are due every 20 ms, beside tasks that compute and compile jobs",
            (
                *("--tasks", "2", "--rate", "50", "--units", "20", "--even"),
                *("--hogs", "{cpus}", "--jobs", "{cpus}"),
            ),
        ),
        _family(
            "terminals",
            "tasks that answer, beside tasks that compute in sessions of their own",
            ("--tasks", "{cpus}", "--rate", "100", "--units", "10", "--apart", *_HOGS),
        ),
        _without_gain(
            "equal", "nothing but tasks that compute", ("--tasks", "0", "--hogs", "{2cpus}"), "ops_per_s"
        ),
        _without_gain(
            "idle",
            "tasks that answer, and nobody who computes",
            ("--tasks", "{2cpus}", "--rate", "50", "--units", "8", "--hogs", "0"),
            "nr_requests",
        ),
        _without_gain(
            "alike",
            "jobs of 100 ms with reads in between, and nothing else",
            ("--tasks", "0", "--hogs", "0", "--jobs", "{2cpus}"),
            "ops_per_s",
        ),
    )
}
ALL = {**LOADS, **FAMILIES}
