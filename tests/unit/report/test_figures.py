import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text

from schedtuna.backend.base import Trial, Validity
from schedtuna.experiment.runtable import Sample
from schedtuna.report import figures
from schedtuna.report.spread import draw_spread
from schedtuna.space import ParameterSpec, ParameterType


def draw(function, *args, **kwargs):
    with figures.styled():
        figure = figures.new_figure(6, 3)
        axes = figure.subplots()
        function(axes, *args, **kwargs)
    return figure, axes


def test_the_effect_is_drawn_where_it_is():
    _, axes = draw(
        figures.draw_effect, effect=(0.9, 0.85, 0.95), aa=(1.0, 0.98, 1.02), delta=0.03, lower_is_better=True
    )
    marks = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([float(x[0]) for x in marks], [-10.0, 0.0], atol=1e-9)


def test_blocks_are_counted_in_whole_numbers():
    _, axes = draw(figures.draw_blocks, {"default": [1.0] * 4, "candidate": [1.0] * 4}, unit="s")
    ticks = axes.get_xticks()
    assert len(ticks) > 1
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_an_interval_without_bounds_is_spelled_as_in_the_text_beside_it():
    _, axes = draw(
        figures.draw_effect,
        effect=(0.9, 0.85, 0.95),
        aa=(0.96, -np.inf, np.inf),
        delta=0.03,
        lower_is_better=True,
    )
    assert [text.get_text() for text in axes.texts] == ["-10.0%  [-15.0, -5.0]", "-4.0%  (not bounded)"]


def test_the_best_so_far_never_gets_worse_and_skips_failures():
    _, axes = draw(figures.draw_search, [1.0, None, 0.9, 1.2], 1.0, unit="s", lower=True)
    best = next(line for line in axes.lines if line.get_drawstyle() == "steps-post").get_ydata()
    np.testing.assert_array_equal(best, [1.0, 1.0, 0.9, 0.9])


@pytest.mark.parametrize(
    "spec",
    [
        ParameterSpec(name="n", type=ParameterType.INTEGER, default=1, min_value=1, max_value=9, log=True),
        ParameterSpec(name="b", type=ParameterType.BOOLEAN, default=False),
        ParameterSpec(name="c", type=ParameterType.CATEGORICAL, default="x", choices=("x", "y")),
    ],
    ids=lambda spec: spec.type,
)
def test_every_kind_of_parameter_can_be_drawn(spec):
    rng = np.random.default_rng(0)
    settings = [spec.sample(rng) for _ in range(9)]
    figure, axes = draw(figures.draw_parameter, spec, settings, [*range(8), None], settings[0])
    assert axes.get_title(loc="left") == spec.name
    assert figures.to_svg(figure).startswith("<svg")


HOSTILE = ["$\\frac{$", "$x$", "a\nb", "\x1b[2J", "--><script>", "\u202e", "\u65e5\u672c"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_hosts_choices_and_units_are_drawn_as_text(name):
    trials = [
        Trial(scheduler="fair", validity=Validity.OK, seed=n, metrics={"wall_time_s": 1.0 + n})
        for n in range(4)
    ]
    sample = Sample.of(trials, host=name, nr_cpus=2)
    choices = ParameterSpec(name="c", type=ParameterType.CATEGORICAL, default=name, choices=(name, "y"))
    drawn = [
        draw_spread([(sample, trials)], sample),
        draw(figures.draw_parameter, choices, [name, "y"], [1.0, 2.0], name)[0],
        draw(figures.draw_blocks, {"default": [1.0, 2.0]}, unit=name)[0],
    ]
    for figure in drawn:
        svg = figures.to_svg(figure)
        assert not {"\x1b", "\u202e"} & set(svg)
        ElementTree.fromstring(svg)


def test_the_same_figure_is_the_same_bytes():
    def picture():
        figure, _ = draw(figures.draw_blocks, {"default": [1.0, 2.0], "candidate": [None, 1.0]}, unit="s")
        return figures.to_svg(figure)

    assert picture() == picture()


def test_one_endless_run_does_not_flatten_the_rest():
    _, axes = draw(figures.draw_search, [1.0, 1.1, 180.0, 0.9, 1.05, 0.95], 1.0, unit="s", lower=True)
    assert axes.get_ylim()[1] < 5
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "^") == 1


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_figure_is_drawn_once_and_as_matplotlib_would_save_it(form):
    nr_draws = []

    class Counted(Text):
        def draw(self, renderer):
            nr_draws.append(1)
            super().draw(renderer)

    def example():
        figure, axes = draw(figures.draw_blocks, {"default": [1.0, 2.0], "candidate": [3.0]}, unit="seconds")
        axes.add_artist(Counted(2, 2, "wide"))
        return figure

    metadata = {"Date": None, "Creator": None} if form == "svg" else None
    with figures.styled():
        example().savefig(expected := io.BytesIO(), format=form, dpi=144, metadata=metadata)
    nr_draws.clear()
    saved = figures.drawn(example(), ".png") if form == "png" else figures.to_svg(example()).encode()
    assert nr_draws == [1]
    assert expected.getvalue().endswith(saved)
