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
        nr_blocks: Where nobody says otherwise; all loads together take three and a half minutes.
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
            3.6,
            1.9,
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
