"""`schedtuna top`: who waits for a CPU right now, and how long."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import parse_positive_duration, require_process, termination_interrupts
from schedtuna.cli.output import print_json
from schedtuna.cli.streams import unguarded
from schedtuna.errors import SchedtunaError, UsageError

if TYPE_CHECKING:
    from schedtuna.cli.top_screen import ScreenState
    from schedtuna.record.live import LiveView, LiveWindow

app = typer.Typer(add_completion=False)

_ENTER_SCREEN, _LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
_SHORTEST_S, _LONGEST_S = 0.25, 60.0
_POLL_S = 0.5  # exited tasks are read this often at least


@app.command()
def top(  # noqa: PLR0917 - typer's options are a function's parameters
    interval: Annotated[
        str, typer.Option("--interval", metavar="1s", help="Time between two screens.")
    ] = "1s",
    by: Annotated[str, typer.Option("--by", metavar="task|comm|cgroup", help="What a row is.")] = "task",
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="Such as wakeup_max_us, cpu_percent, waiting_us.")
    ] = "wakeup_max_us",
    comm: Annotated[
        str | None,
        typer.Option("--comm", metavar="NAME", help="Only tasks of this name.", show_default=False),
    ] = None,
    cgroup: Annotated[
        str | None,
        typer.Option(
            "--cgroup", metavar="PATH", help="Only this cgroup and those below.", show_default=False
        ),
    ] = None,
    tree: Annotated[
        int | None,
        typer.Option(
            "--tree", metavar="PID", min=1, help="Only this process and its descendants.", show_default=False
        ),
    ] = None,
    screens: Annotated[
        int | None,
        typer.Option(
            "--screens", metavar="N", min=1, help="End after this many screens.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per window.")] = False,
) -> None:
    """Show the worst wakeup latencies now, per task, name or cgroup; histograms, pressure and migrations."""
    from schedtuna.cli.top_screen import ScreenState
    from schedtuna.errors import nearest
    from schedtuna.record.aggregate import Aggregator
    from schedtuna.record.filters import TaskFilter, current_layout
    from schedtuna.record.live import COLUMNS, By, LiveView

    if sort not in COLUMNS:
        raise UsageError(f"there is no column {sort!r}", hint=nearest(sort, COLUMNS))
    if by not in set(By):
        raise UsageError(f"--by {by}: expected task, comm or cgroup")
    seconds = parse_positive_duration(interval, option="--interval")
    require_process(tree)
    state = ScreenState(by=By(by), sort=sort, interval_s=max(seconds, _SHORTEST_S))
    layout = current_layout()
    task_filter = TaskFilter(comm=comm, cgroup=cgroup, tree=(tree,) if tree else ())
    with (
        termination_interrupts(),
        Aggregator(task_filter, layout=layout) as aggregator,
        contextlib.suppress(KeyboardInterrupt),
    ):
        view = LiveView(aggregator, layout)
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            _print_windows(view, state, 1 if screens is None and not as_json else screens, as_json=as_json)
        else:
            _Terminal(view, state, aggregator.drain).run(screens)


def _print_windows(view: LiveView, state: ScreenState, windows: int | None, *, as_json: bool) -> None:
    from schedtuna.cli.top_screen import screen
    from schedtuna.record.live import choose_rows

    done = 0
    while windows is None or done < windows:
        time.sleep(state.interval_s)
        window = view.window(state.by)
        done += 1
        if as_json:
            print_json(_as_json(window, [vars(row) for row in choose_rows(window.rows, state.sort)]))
        else:
            size = shutil.get_terminal_size((80, 40))
            lines = screen(window, state, size.columns, size.lines)[:-1]
            print("\n".join(line.rstrip() for line in lines).rstrip("\n"))


def _as_json(window: LiveWindow, rows: list[dict[str, object]]) -> dict[str, object]:
    import math

    def known(value: object) -> object:
        if isinstance(value, dict):
            return {str(name): known(one) for name, one in value.items()}
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        "seconds": window.seconds,
        "system": window.system,
        "switches_per_s": window.switches_per_s,
        "migrations_per_s": window.migrations_per_s,
        "fairness_cv": known(window.fairness_cv),
        "distributions": {name: known(one.figures()) for name, one in window.distributions.items()},
        "rows": [{name: known(value) for name, value in row.items()} for row in rows],
    }


class _Terminal:
    """Draws windows and obeys keys until `q`."""

    def __init__(self, view: LiveView, state: ScreenState, drain: object) -> None:
        self._view = view
        self._state = state
        self._drain = drain
        self._window: LiveWindow | None = None
        self._recording = contextlib.ExitStack()

    def run(self, windows: int | None) -> None:
        """Go on until `q`, Ctrl-C or the last window."""
        with _raw_terminal(), self._recording:
            next_s = time.monotonic() + self._state.interval_s
            while windows is None or windows > 0:
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + self._state.interval_s
                    if not self._state.paused:
                        self._window = self._view.window(self._state.by)
                        windows = None if windows is None else windows - 1
                    self._draw()
                for key in _read_keys(min(max(0.0, next_s - time.monotonic()), _POLL_S)):
                    if not self._obey(key):
                        return
                self._drain()  # type: ignore[operator]  # a bound method

    def _draw(self) -> None:
        from schedtuna.cli.top_screen import screen

        if self._window is None:
            return
        size = shutil.get_terminal_size()
        lines = screen(self._window, self._state, size.columns, size.lines)
        _steer(_HOME + f"{_CLEAR_LINE}\r\n".join(lines) + _CLEAR_LINE + _CLEAR_REST)

    def _obey(self, key: str) -> bool:
        """Do what a key says; False ends."""
        state = self._state
        state.message = ""
        if state.typing:
            self._type(key)
        elif key == "q":
            return False
        elif key == "s":
            state.sort = _next(state.sort, list(_columns()))
        elif key == "g":
            from schedtuna.record.live import By

            state.by = By(_next(state.by, list(By)))
            self._window = self._view.window(state.by)
        elif key == "p":
            state.paused = not state.paused
        elif key in "+-":
            factor = 0.5 if key == "+" else 2.0
            state.interval_s = min(_LONGEST_S, max(_SHORTEST_S, state.interval_s * factor))
        elif key == "/":
            state.typing, state.text = True, ""
        elif key == "r":
            self._toggle_recording()
        self._draw()
        return True

    def _type(self, key: str) -> None:
        state = self._state
        if key in {"\r", "\n"}:
            state.typing = False
        elif key == "\x1b":
            state.typing, state.text = False, ""
        elif key in {"\x7f", "\b"}:
            state.text = state.text[:-1]
        elif key.isprintable():
            state.text += key

    def _toggle_recording(self) -> None:
        from schedtuna.record.recorder import Recorder, RecordOptions

        state = self._state
        try:
            if state.recording:
                folder, state.recording = state.recording, ""
                self._recording.close()
                state.message = f"recorded: schedtuna stats {folder}"
            else:
                folder = time.strftime("trace_%Y%m%d-%H%M%S")
                self._recording.enter_context(Recorder(Path(folder), RecordOptions()))
                state.recording = folder
        except (SchedtunaError, OSError) as error:
            state.message = f"can't record: {error}"


def _columns() -> Iterator[str]:
    from schedtuna.record.live import COLUMNS

    yield from COLUMNS


def _next(current: str, choices: list[str]) -> str:
    return choices[(choices.index(current) + 1) % len(choices)]


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Have keys at once and the alternate screen; give both back whatever happens."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        _steer(_ENTER_SCREEN)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        _steer(_LEAVE_SCREEN)


def _steer(text: str) -> None:
    terminal = unguarded(sys.stdout)
    terminal.write(text)
    terminal.flush()


def _read_keys(timeout_s: float) -> str:
    """Return the keys that were pressed within that time; those that send escape sequences are none."""
    ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
    if not ready:
        return ""
    data = os.read(sys.stdin.fileno(), 64)
    if not data:
        return "q"  # the terminal is gone
    keys = data.decode(errors="ignore")
    return "" if len(keys) > 1 and keys[0] == "\x1b" else keys
