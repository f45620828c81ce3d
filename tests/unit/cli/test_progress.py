import io
import threading

import pytest

from schedtuna.cli.import_ import _how_far
from schedtuna.cli.progress import LateProgress, Step


class Screen(io.StringIO):
    def isatty(self):
        return True


def shown_by(steps, stream, monkeypatch):
    """What a bar writes for these steps; it is asked for each, and once more."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    left, all_told = list(steps), threading.Event()

    def measure():
        if not left:
            all_told.set()
            return None
        return left.pop(0)

    with LateProgress(measure, every_s=0.01):
        all_told.wait(60 if stream.isatty() else 0.1)
    return stream.getvalue(), left


def test_what_is_slow_is_shown_at_once_and_taken_away(monkeypatch):
    steps = [Step("recording", k, 4, f"{4 - k} s left", is_slow=True) for k in range(3)]
    text, _ = shown_by(steps, Screen(), monkeypatch)
    assert text.index("4 s left") < text.index("3 s left") < text.index("2 s left")
    assert "recording" in text
    assert "50%" in text
    assert text.endswith("\x1b[2K")  # the line is empty again


def test_what_takes_a_moment_shows_nothing(monkeypatch):
    assert shown_by([Step("reading", k, 4) for k in range(3)], Screen(), monkeypatch)[0] == ""


def test_the_notes_of_others_can_not_steer_the_terminal(monkeypatch):
    text, _ = shown_by([Step("reading", note="\x1b]0;title\x07", is_slow=True)], Screen(), monkeypatch)
    assert "\\x1b]0;" in text
    assert "\x1b]0" not in text


def test_there_is_no_bar_where_there_is_no_terminal(monkeypatch):
    steps = [Step("recording", is_slow=True)]
    assert shown_by(steps, io.StringIO(), monkeypatch) == ("", steps)


@pytest.mark.parametrize("where", [0, 60, 100])
def test_an_import_is_as_far_as_its_file_is_read(tmp_path, where):
    path = tmp_path / "f"
    path.write_bytes(bytes(100))
    with path.open("rb", buffering=0) as file:
        file.read(where)
        assert _how_far(path) == Step("reading", where, 100)
    assert _how_far(path) == Step("reading")  # another program reads it
