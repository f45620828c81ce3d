import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tests.unit.trace.making import events, random_events, switch, tasks

from schedtuna.report import trace_figures
from schedtuna.report.figures import drawn, to_svg
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.trace import MemorySource, Trace

HOSTILE = [
    b"$x^2$",
    b"$",
    b"_under",
    b"<b>&amp;",
    b"a\x1b[31m",
    "日本🎉".encode(),
    b"\xff",
    b"%s{}\\",
    b"x" * 16,
]


def shown(some, comms=(), **manifest):
    rows = tasks(*({"tid": tid, "comm": comm} for tid, comm in enumerate(comms, 1)))
    return trace_figures.picture(Analysis(Trace(manifest, MemorySource(some, rows))), nr_bins=120)


def texts(figure):
    FigureCanvasAgg(figure).draw()  # lays tick labels out; warns of glyphs that no font has
    return [
        text.get_text() for axes in figure.axes for text in axes.findobj(lambda a: hasattr(a, "get_text"))
    ]


def test_the_timeline_shows_the_cpu_time_of_every_name():
    some = random_events(np.random.default_rng(3), 3_000, nr_tasks=15)
    picture = shown(some, [b"name%d" % (k % 5) for k in range(15)])
    width = np.diff(picture.profile.edges_ns)
    time = dict(zip(picture.names, (picture.shares * width).sum(axis=(0, 2)), strict=False))
    grouped = picture.analysis.by("comm")
    expected = dict(zip(grouped.names, grouped.columns["cpu_time_ns"], strict=True))
    for name, value in time.items():
        assert value == pytest.approx(expected[name], rel=0.01)


def test_hostile_names_are_drawn_as_text():
    some = random_events(np.random.default_rng(1), 2_000, nr_tasks=len(HOSTILE) + 1)
    found = texts(trace_figures.draw_all(shown(some, HOSTILE)))
    for name in (r"\$x^2\$", "_under", "<b>&amp;", r"a\\x1b[31m", r"\\udcff", r"\u65e5\u672c\u1f389"):
        assert any(name.replace("\\\\", "\\") in text.replace("\\\\", "\\") for text in found), name


@pytest.mark.parametrize("nr_cpus", [1, 3, 40, 300])
def test_machines_of_any_size_are_drawn(nr_cpus):
    some = random_events(np.random.default_rng(2), 1_000, nr_cpus=nr_cpus)
    figure = trace_figures.draw_all(shown(some, nr_cpus=nr_cpus))
    assert figure.get_size_inches()[1] < 17
    assert drawn(figure, ".png").startswith(b"\x89PNG")
    assert to_svg(figure).startswith("<svg")


@pytest.mark.parametrize(
    "some", [events(switch(1, 0, 7)), events(switch(1, 0, 0)), events(switch(5, 0, 7), switch(5, 7, 0))]
)
def test_traces_with_next_to_nothing_in_them_are_drawn(some):
    found = texts(trace_figures.draw_all(shown(some)))
    assert "no waits in this trace" in found
    assert "no wakeups in this trace" in found


def test_the_tail_is_the_share_of_values_at_least_as_large():
    values = np.sort(np.random.default_rng(0).integers(1, 1_000, 5_000))
    x, y = trace_figures.tail(values)
    assert len(x) <= 1_500
    assert (x[0], y[0], y[-1]) == (values[-1], 1 / len(values), 1.0)
    for value, share in zip(x[::50], y[::50], strict=True):
        assert (values > value).mean() < share <= (values >= value).mean()


def test_the_same_trace_gives_the_same_bytes():
    some = random_events(np.random.default_rng(4), 500)
    first, second = (to_svg(trace_figures.draw_all(shown(some))) for _ in range(2))
    assert first == second
    assert io.StringIO(first).readline()
