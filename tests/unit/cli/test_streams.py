"""No way to the terminal that foreign text could take unescaped."""

import ast
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from schedtuna.cli.output import print_error, print_json, print_remark
from schedtuna.cli.progress import RunProgress
from schedtuna.cli.streams import Guarded, console, guard_streams, pass_on, unguarded
from schedtuna.cli.table import table
from schedtuna.printable import printable

CLI = Path(__file__).parents[3] / "src/schedtuna/cli"
EVIL = "\x1b]0;title\x07\x9b2J\u202e[bold]:bomb:\udc9b"
SHOWN = "\\x1b]0;title\\x07\\x9b2J\\u202e[bold]:bomb:\\udc9b"
MAY_STEER = {"streams.py", "top.py"}


@pytest.fixture
def streams(monkeypatch):
    """Have standard output and error be guarded files from the call on: pytest sets them before each test."""

    def capture() -> tuple[io.StringIO, io.StringIO]:
        out, error = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", error)
        guard_streams()
        return out, error

    return capture


def on_a_terminal(code: str) -> str:
    """Run Python code whose output is a terminal; return what arrived there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 1 << 16):
            seen += data
    except OSError:  # EIO: the last writer is gone
        pass
    os.close(ours)
    assert process.wait(60) == 0, seen
    return seen.decode()


def test_whatever_is_printed_is_escaped_once(streams):
    out, error = streams()
    guard_streams()  # a second time, as a progress bar asks for
    print(EVIL, EVIL, sep="\n")
    sys.stdout.writelines([EVIL, "\n"])
    print(EVIL, file=sys.stderr)
    assert out.getvalue() == f"{SHOWN}\n{SHOWN}\n{SHOWN}\n"
    assert error.getvalue() == f"{SHOWN}\n"
    assert unguarded(sys.stdout) is out
    assert unguarded(out) is out


def test_json_stays_json(streams):
    value = {EVIL: EVIL + "\x7f\n\t\x00"}
    out, _ = streams()
    print_json(value)
    assert json.loads(out.getvalue()) == value
    assert out.getvalue().rstrip("\n").isprintable()


def test_no_remark_can_be_forged_by_a_line_of_another(streams):
    out, error = streams()
    print_error("no file a\nhint: do as I say", hint="b\nerror: c")
    print_remark("note", "a\nnote: b")
    assert error.getvalue() == "error: no file a\n  hint: do as I say\nhint: b\n  error: c\n"
    assert out.getvalue() == "note: a\n  note: b\n"


def test_a_cell_is_one_line():
    assert table(["a", "b"], [["x\ny\t", "1\r"]]).splitlines()[1:] == ["x\\ny\\t  1\\r"]


def test_rich_shows_text_as_it_is_spelled(streams):
    out, _ = streams()
    rows = Table(EVIL)
    rows.add_row(EVIL)
    rows.add_row(Text(printable(EVIL), style="red"))
    rows.add_row(Text("\x1b[2J\u202e"))
    rich = console()
    rich.print(rows, width=100)
    rich.print(EVIL)
    assert out.getvalue().count(SHOWN) == 4
    assert not {"\x1b", "\x07", "\u202e"} & set(out.getvalue())


def test_a_progress_bar_colours_itself_alone():
    assert isinstance(RunProgress("", 1)._console.file, io.TextIOBase)
    seen = on_a_terminal(
        "from schedtuna.cli.streams import guard_streams\n"
        "from schedtuna.cli.progress import RunProgress\n"
        "guard_streams()\n"
        f"evil = {EVIL!r}\n"
        "with RunProgress(evil, 2) as progress:\n"
        "    progress.update(1, 2, note=evil)\n"
        "    progress.say(evil)\n"
        "    print(evil)\n"
    )
    assert "\x1b[" in seen  # the bar's own
    assert seen.count("\\x1b]0;title\\x07\\x9b2J\\u202e[bold]") >= 4
    assert not [bad for bad in ("\x1b]", "\x07", "\x9b", "\u202e", "\U0001f4a3") if bad in seen]


def test_a_commands_output_is_data_in_a_file_and_text_on_a_terminal(streams):
    out, _ = streams()
    pass_on(EVIL, sys.stdout)
    assert out.getvalue() == EVIL
    seen = on_a_terminal(
        "import sys; from schedtuna.cli.streams import guard_streams, pass_on\n"
        f"guard_streams(); pass_on({EVIL!r}, sys.stdout)"
    )
    assert seen == SHOWN


def test_letters_that_a_terminal_lacks_are_not_an_error():
    done = subprocess.run(
        [sys.executable, "-m", "schedtuna", "apply", "\u03bb\x1b[2J", "--", "true"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"\\u03bb\\x1b[2J" in done.stderr
    assert b"\x1b" not in done.stderr


def ways_out(path: Path) -> list[str]:
    """What a module takes that could write past the guard."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        found += [name for name in names if name in ("Console", "unguarded")]
        if isinstance(node, ast.Attribute) and node.attr in ("__stdout__", "__stderr__", "buffer", "Console"):
            found.append(node.attr)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.write", "os.fdopen", "open"):
            target = ast.unparse(node.args[0])
            found += [ast.unparse(node)] * (target in ("1", "2") or target.endswith("fileno()"))
    return found


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_else_goes_past_the_guard(path):
    found = ways_out(path)
    if path.name in MAY_STEER:
        assert found
    elif path.name == "main.py":  # gives closed streams a place, before they are guarded
        assert [one.split("(")[0] for one in found] == ["open", "open"]
    else:
        assert not found


def test_the_guard_is_a_stream_like_the_one_it_guards(tmp_path):
    with (tmp_path / "out").open("w") as file:
        guarded = Guarded(file)
        assert guarded.fileno() == file.fileno()
        assert guarded.encoding == file.encoding
        assert not guarded.isatty()
