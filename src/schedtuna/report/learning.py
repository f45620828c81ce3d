"""What of a training is shown on a page? Who foretells best, by what, how surely, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna.evidence.result import Verdict
from schedtuna.learn.scoring import MAIN, METRICS
from schedtuna.printable import number
from schedtuna.report import figures
from schedtuna.report.figures import COLORS
from schedtuna.report.page import Command, Page, Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WORTH = (
    "In the simulator, which is a model: geometric means over loads, under the same arrivals. srtf "
    "knows how long each burst will be; las and models don't."
)
Card = Mapping[str, Any]
_LINES = ("-", "--", ":", "-.")
_LIMITS = (
    "Figures are of runs that no model has seen, of the dataset's kinds of loads. Of others they say little.",
    "A model that foretells well is not yet a good scheduler: what it is worth when it decides stands apart.",
)


def training_page(card: Card) -> Page:
    """Return the page of a model card.

    Args:
        card: As `learn.model_card.make_card` returns it, with `worth`.
    """
    problems = card["problems"]
    first = problems[0]
    kind = _kind(first)
    models, rules = _best(first, kind, is_rule=False), _best(first, kind, is_rule=True)
    dataset = card["dataset"]
    return Page(
        title=f"Models for {dataset['task']}",
        tone=_tone(models, rules, kind),
        verdict=_sentence(models, rules, kind),
        facts=[
            ("rows to train, choose, judge", ", ".join(f"{n:,}" for n in first["rows"].values())),
            ("runs that judge", str(first["runs"]["test"])),
            ("divided by", dataset["split"]),
            ("on permuted labels", _told(first["control"][_checked(kind)])),
        ],
        sections=[
            *(section for problem in problems for section in _of_problem(problem)),
            *_worth(card["worth"]),
            Section("What to know, and what this can't say", notes=[*_notes(card), *_LIMITS]),
        ],
        footer=_footer(card),
    )


def _footer(card: Card) -> str:
    rows, code = card["dataset"]["rows_sha256"][:16], card["code_sha256"][:16]
    return f"Rows {rows}, code {code}, seed {card['options']['seed']}"


def _kind(problem: Card) -> str:
    """Number, class or choice, by the metrics that there are."""
    metrics = problem["models"][0]["metrics"]
    return next(kind for kind, name in MAIN.items() if name in metrics)


def _checked(kind: str) -> str:
    return "chosen_first" if kind == "choice" else "auc"


def _best(problem: Card, kind: str, *, is_rule: bool) -> Card | None:
    name = MAIN[kind]
    sign = -1 if METRICS[name].higher_is_better else 1
    found = [
        one
        for one in problem["models"]
        if one["is_rule"] == is_rule and one["metrics"][name]["mean"] is not None
    ]
    return min(found, key=lambda one: sign * one["metrics"][name]["mean"], default=None)


def _tone(model: Card | None, rule: Card | None, kind: str) -> Verdict:
    if model is None or rule is None:
        return Verdict.NO_EVIDENCE
    name = MAIN[kind]
    ours, theirs = model["metrics"][name], rule["metrics"][name]
    if ours["low"] is None or theirs["low"] is None:
        return Verdict.TOO_NOISY
    better, worse = ours["low"] > theirs["high"], ours["high"] < theirs["low"]
    if not METRICS[name].higher_is_better:
        better, worse = worse, better
    return Verdict.IMPROVED if better else Verdict.WORSE if worse else Verdict.NO_EVIDENCE


def _sentence(model: Card | None, rule: Card | None, kind: str) -> str:
    name = MAIN[kind]
    told = [f"{one['name']} {_told(one['metrics'][name])}" for one in (model, rule) if one is not None]
    return f"{name}: " + "; the best plain rule, ".join(told)


def _told(metric: Card) -> str:
    if metric["mean"] is None:
        return "-"
    if metric["low"] is None:
        return f"{metric['mean']:.3f}"
    return f"{metric['mean']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _of_problem(problem: Card) -> list[Section]:
    kind, label = _kind(problem), problem["labels"][1]
    shown = [_results(problem, kind, label)]
    models = [one for one in problem["models"] if not one["is_rule"]]
    if models and any(one["gains"] for one in models):
        shown.append(_importance(problem, models))
    if len(problem["learning_curve"]) > 1:
        shown.append(_learning_curve(problem, kind))
    if any("reliability" in one for one in models):
        shown += [_reliability(models), _confusion(problem)]
    if any(one["native_ns_per_row"] for one in models):
        shown.append(_cost(models, kind))
    return shown


def _results(problem: Card, kind: str, label: str) -> Section:
    names = [name for name, row in METRICS.items() if kind in row.kinds]
    ordered = sorted(problem["models"], key=lambda one: _order(one, kind))
    rows = [[one["name"], *(_told(one["metrics"][name]) for name in names)] for one in ordered]
    control = ["on permuted labels", *(_told(problem["control"][name]) for name in names)]
    helps = [f"{name}: {METRICS[name].help}" for name in names]
    return Section(
        f"Who foretells {label} best",
        text=["Means over the runs that judge, with intervals of 95%."],
        svg=_drawn(7.5, 0.32 * len(ordered) + 0.9, lambda axes: _draw_results(axes, ordered, kind)),
        notes=helps,
        table=Table(["model", *names], [*rows, control]),
    )


def _order(one: Card, kind: str) -> float:
    mean = one["metrics"][MAIN[kind]]["mean"]
    if mean is None:
        return float("inf")
    return -float(mean) if METRICS[MAIN[kind]].higher_is_better else float(mean)


def _drawn(width_in: float, height_in: float, draw: Callable[[Axes], None]) -> str:
    with figures.styled():
        figure = figures.new_figure(width_in, height_in)
        draw(figure.subplots())
        return figures.to_svg(figure)


def _draw_results(axes: Axes, ordered: Sequence[Card], kind: str) -> None:
    name = MAIN[kind]
    rows = [one for one in ordered if one["metrics"][name]["mean"] is not None][::-1]
    for place, one in enumerate(rows):
        metric, color = one["metrics"][name], COLORS["default" if one["is_rule"] else "candidate"]
        if metric["low"] is not None:
            axes.plot([metric["low"], metric["high"]], [place, place], color=color, lw=2, alpha=0.5)
        axes.plot([metric["mean"]], [place], "o", color=color, ms=6)
    axes.set_yticks(range(len(rows)), [figures.drawable(one["name"]) for one in rows])
    better = "right" if METRICS[name].higher_is_better else "left"
    axes.set_xlabel(f"{name} (better to the {better}; grey: plain rules)")


def _importance(problem: Card, models: Sequence[Card]) -> Section:
    with_gains = [one for one in models if one["gains"]]
    names = [one["name"] for one in problem["inputs"]]
    shares = {
        one["name"]: np.array([one["gains"].get(name, 0.0) for name in names])
        / max(sum(one["gains"].values()), 1e-300)
        for one in with_gains
    }
    order = np.argsort(np.mean(list(shares.values()), axis=0))

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))
        axes.barh(places, 100 * np.mean(list(shares.values()), axis=0)[order], color=COLORS["muted"])
        for (name, share), marker in zip(shares.items(), "osD^v<>", strict=False):
            axes.plot(100 * share[order], places, marker, ms=4, label=figures.drawable(name))
        axes.set_yticks(places, [figures.drawable(names[i]) for i in order])
        axes.set_xlabel("share of what all inputs bring, % (bar: mean over models)")
        axes.legend(frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)

    return Section(
        "What decides",
        text=[
            "Of trees, how much questions lessen the loss; of a line, the weights of inputs of equal spread."
        ],
        svg=_drawn(7.5, 0.3 * len(names) + 1.2, draw),
    )


def _learning_curve(problem: Card, kind: str) -> Section:
    points = problem["learning_curve"]

    def draw(axes: Axes) -> None:
        axes.plot([p["rows"] for p in points], [p["value"] for p in points], "o-", color=COLORS["candidate"])
        axes.set_xscale("log")
        axes.set_xlabel("training rows")
        axes.set_ylabel(MAIN[kind])

    return Section(
        "Do more rows help?",
        text=["LightGBM with fewer of the training rows, on the validation rows."],
        svg=_drawn(7.5, 2.4, draw),
    )


def _reliability(models: Sequence[Card]) -> Section:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], lw=1)
        for number_, one in enumerate(models):
            told = np.array(one.get("reliability", []))
            if len(told):
                style = _LINES[number_ // 7 % len(_LINES)]
                axes.plot(
                    told[:, 0], told[:, 1], style, marker="o", ms=3, label=figures.drawable(one["name"])
                )
        axes.set_xlabel("probability that was told")
        axes.set_ylabel("share that was so")
        axes.legend(frameon=False, ncols=1, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return Section(
        "Do probabilities come true?",
        text=["Test rows in ten parts by their probability, which the validation rows calibrated."],
        svg=_drawn(6.5, 3.4, draw),
    )


def _confusion(problem: Card) -> Section:
    below, above = problem["labels"]
    rows = []
    for one in problem["models"]:
        if "confusion" in one:
            (right_below, wrong_above), (wrong_below, right_above) = one["confusion"]
            told = (right_below, wrong_above, wrong_below, right_above)
            rows.append([one["name"], *(f"{count:,}" for count in told)])
    headings = [f"{truth}, told {told}" for truth in (below, above) for told in (below, above)]
    return Section("What is taken for what", table=Table(["model", *headings], rows))


def _cost(models: Sequence[Card], kind: str) -> Section:
    name = MAIN[kind]
    rows = [one for one in models if one["native_ns_per_row"] and one["metrics"][name]["mean"] is not None]

    def draw(axes: Axes) -> None:
        for one in rows:
            x, y = one["native_ns_per_row"], one["metrics"][name]["mean"]
            axes.plot([x], [y], "o", color=COLORS["candidate"])
            axes.annotate(figures.drawable(one["name"]), (x, y), (5, 4), textcoords="offset points")
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.2)
        axes.set_xlabel("ns a row of many, by the native runtime on one CPU")
        axes.set_ylabel(name)

    rounding = [
        [
            one["name"],
            f"{one['rounding']['decisions_changed']:.2%}",
            _signed(one["rounding"]["auc_change"]),
            _signed(one["rounding"]["log_loss_change"]),
            number(one["native_ns_per_row"], digits=3),
        ]
        for one in rows
    ]
    return Section(
        "Cost against value",
        text=["In the kernel, and after other data was read: `schedtuna model check FILE`."],
        svg=_drawn(6.5, 3.0, draw),
        table=Table(
            ["model", "decisions changed by rounding", "AUC", "log loss, bits", "ns a row"], rounding
        ),
        commands=[Command("Check one", f"schedtuna model check {rows[0]['file']}")] if rows else (),
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.5f}"


def _worth(worth: Sequence[Card]) -> list[Section]:
    if not worth:
        return []

    def draw(axes: Axes) -> None:
        for place, one in enumerate(worth[::-1]):
            color = COLORS["default" if one["scheduler"] in {"fair", "las", "srtf"} else "candidate"]
            axes.plot(one["turnaround_bounds"], [place, place], color=color, lw=2, alpha=0.5)
            axes.plot([one["turnaround"]], [place], "o", color=color)
        axes.set_yticks(range(len(worth)), [figures.drawable(one["scheduler"]) for one in worth[::-1]])
        axes.axvline(1, color=COLORS["muted"], lw=1)
        axes.set_xlabel("turnaround over that of fair (better to the left; grey: rules)")

    rows = [
        [
            one["scheduler"],
            f"{one['turnaround']:.3f}",
            f"{one['latency']:.3g}",
            f"{one['regret']:+.1%}",
        ]
        for one in worth
    ]
    return [
        Section(
            "What they are worth when they decide",
            text=[_WORTH],
            svg=_drawn(7.5, 0.3 * len(worth) + 0.9, draw),
            table=Table(
                ["scheduler", "turnaround / fair's", "p99 wakeup latency / fair's", "above srtf"], rows
            ),
        )
    ]


def _notes(card: Card) -> list[str]:
    left = [f"left out: {name}: {why}" for p in card["problems"] for name, why in p["left_out"].items()]
    return [*card["dataset"]["notes"], *(note for p in card["problems"] for note in p["notes"]), *left]
