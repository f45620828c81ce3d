"""Which command lines use a study's result, and check it again?"""

from __future__ import annotations

import shlex

from schedtuna.history.plan import StudyPlan
from schedtuna.printable import exact
from schedtuna.scheduler.arguments import command_line as flags
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.parse import DEFAULT
from schedtuna.space import ParameterValue
from schedtuna.workload.command import command_line
from schedtuna.workload.metrics import format_metric
from schedtuna.workload.spec import Workload


def apply_line(study: str, plan: StudyPlan, *options: str) -> str:
    """Return the line that runs a study's command, with the study's seed, under what it proved."""
    workload = plan.workload
    argv = command_line(workload, plan.seed)
    user = () if workload.user is None else ("runuser", "-u", workload.user, "--")
    return shlex.join(["schedtuna", "apply", study, *options, "--", *user, *argv])


def scheduler_line(plan: StudyPlan, values: dict[str, ParameterValue]) -> str:
    """Return the line that starts a sched_ext scheduler with what a study proved."""
    scheduler = plan.scheduler.with_values(values)
    return shlex.join([str(scheduler.binary_path or scheduler.name), *flags(scheduler)])


def check_line(plan: StudyPlan, candidate: dict[str, ParameterValue]) -> str:
    """Return the line that compares a study's candidate with what the study compared it with, once more."""
    default = DEFAULT if _is_kernels(plan) else plan.scheduler.with_values({}).label()
    return compare_line(plan, default, candidate)


def against_kernel_line(plan: StudyPlan, candidate: dict[str, ParameterValue]) -> str | None:
    """Return the line that compares a candidate with the kernel's own scheduling; None: the study did."""
    return None if _is_kernels(plan) else compare_line(plan, DEFAULT, candidate)


def compare_line(plan: StudyPlan, default: str, candidate: dict[str, ParameterValue]) -> str:
    """Return the line that compares a study's candidate with a scheduler, asking what the study asked."""
    label = plan.scheduler.with_values(candidate).label()
    options = [part for spec in plan.metrics for part in ("--metric", format_metric(spec))]
    for rule in plan.requirements:
        options += ["--require", f"{rule.metric}{rule.operator}{rule.bound!r}"]
    if plan.delta != StudyPlan.model_fields["delta"].default:
        options += ["--delta", str(plan.delta)]
    how = _how(plan.workload)
    return shlex.join(
        [
            "schedtuna",
            "compare",
            *plan.place.options(),
            *options,
            *how,
            default,
            label,
            *plan.place.words(plan.workload),
        ]
    )


def _is_kernels(plan: StudyPlan) -> bool:
    return plan.scheduler.name == FAIR


def _how(workload: Workload) -> list[str]:
    """The options that a workload differs by from a plain command."""
    spelled = {
        "user": ("--user", workload.user),
        "timeout_s": ("--timeout", f"{exact(workload.timeout_s)}s"),
        "warmup_runs": ("--warmup", str(workload.warmup_runs)),
        "washout_s": ("--washout", f"{exact(workload.washout_s)}s"),
        "parser": ("--parser", workload.parser),
    }
    options = ["--shell"] if workload.shell else []
    for field, (option, text) in spelled.items():
        if text is not None and getattr(workload, field) != Workload.model_fields[field].default:
            options += [option, text]
    return options
