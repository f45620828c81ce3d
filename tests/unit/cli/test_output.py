import json
from pathlib import Path

import pytest

from schedtuna.cli.output import print_error, print_json, print_remark, require_writable, writing
from schedtuna.errors import UsageError


def test_json_is_one_line_of_ascii_without_control_characters(capsys):
    value = {"name": "é\x7f\x1b\n\u2028", "path": Path("x")}
    print_json(value)
    line = capsys.readouterr().out
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert json.loads(line)["name"] == value["name"]


def test_no_line_of_a_remark_looks_like_another_one(capsys):
    print_remark("note", "one\nerror: two")
    print_error("failed\nhint: none", hint="do it")
    out, err = capsys.readouterr()
    assert out == "note: one\n  error: two\n"
    assert err == "error: failed\n  hint: none\nhint: do it\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("plot.txt", "expected .png, .svg"),
        ("folder.png", "is a folder"),
        ("no/plot.png", "there is no folder"),
    ],
)
def test_a_file_that_can_not_be_written_is_refused_before_the_work(tmp_path, name, says):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=says):
        require_writable(tmp_path / name, option="--plot", suffixes=(".png", ".svg"))
    require_writable(tmp_path / "PLOT.PNG", option="--plot", suffixes=(".png", ".svg"))
    require_writable(None, option="--plot")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/null"])
def test_a_stream_is_not_taken_for_the_name_of_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{name} is not a file"), writing(Path(name), force=True):
        pass
    require_writable(Path(name), option="--csv")  # a table goes there
    assert not list(tmp_path.iterdir())


def test_only_force_replaces_a_file_and_a_failure_leaves_the_old_one(tmp_path):
    path = tmp_path / "result"
    path.write_text("old")
    with pytest.raises(UsageError, match="already exists"), writing(path, force=False):
        pass

    def fail():
        with writing(path, force=True) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    with writing(path, force=True) as file:
        file.write(b"new")
    assert path.read_text() == "new"
