"""What a pseudo terminal makes of an output is taken out before it is read."""

from __future__ import annotations

import pytest

from schedtuna.workload.command import RawRun, run
from schedtuna.workload.metrics import parse_metric, read_metrics
from schedtuna.workload.spec import Workload
from schedtuna.workload.terminal import plain_lines


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("10%\r100%\rdone", "10%\n100%\ndone"),
        ("\x1b[1;32m12.5\x1b[0m ms \x1b[?25l\x1b[4A\x1b[K", "12.5 ms "),
        ("Time: 1\x1b(B\x1b[m\n", "Time: 1\n"),  # as `tput sgr0` ends colours
        ("no escape [1m", "no escape [1m"),
    ],
)
def test_lines_end_with_newlines_alone(text, plain):
    assert plain_lines(text) == plain


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "source", ["regex:^score (\\d+)$", "csv:score", "csv@out.csv:score", "json@out.json:score"]
)
def test_every_source_reads_every_line_end(source, end, tmp_path):
    (tmp_path / "out.csv").write_text(f"name,score{end}x,7{end}", newline="")
    (tmp_path / "out.json").write_text(f'note{end}{{"score": 7}}{end}', newline="")
    workload = Workload(argv=("x",), folder=tmp_path)
    raw = RawRun(
        exit_code=0,
        signal=None,
        timed_out=False,
        started_at=0,
        usage={"wall_time_s": 1.0},
        stdout=f"score 7{end}name,score{end}x,7{end}",
    )
    assert read_metrics(workload, [parse_metric(f"score:max={source}")], raw)["score"] == 7


def test_a_tool_under_a_real_pseudo_terminal_is_read():
    program = (
        "import pty, sys; pty.spawn([sys.executable, '-c', 'print(\"Time: 0.023\")'], "
        "lambda fd: __import__('os').read(fd, 999))"
    )
    workload = Workload(argv=("python3", "-c", program), parser="hackbench")
    raw = run(workload, 1)
    assert "\r\n" in raw.stdout
    assert read_metrics(workload, [parse_metric("time_s", workload)], raw)["time_s"] == 0.023
