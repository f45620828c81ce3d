"""Which files a command takes into a deterministic guest."""

from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.errors import UsageError
from schedtuna.lab.closure import closure


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def close(lab, *argv, **options):
    return closure(argv, lab.guest_root, lab.kernel(), **options)


def programs(layer):
    return {name for name in ("hackbench", "stress-ng", "cyclictest") if f"usr/bin/{name}" in layer}


def has_python(layer):
    return any(name.startswith("usr/lib/python3") and entry.source for name, entry in layer.items())


def test_a_program_of_the_lab_comes_with_its_libraries_and_no_other(lab):
    found = close(lab, "hackbench", "-g", "1")
    assert (found.program, found.folder) == ("/usr/bin/hackbench", "/share")
    assert programs(found.layer) == {"hackbench"}
    names = {Path(name).name for name in found.layer}
    assert names >= {"libc.so.6", "ld-linux-x86-64.so.2"}
    assert "libnuma.so.1" not in names  # which cyclictest has
    assert not has_python(found.layer)


def test_programs_that_a_shells_text_mentions_come_along(lab):
    layer = close(lab, "sh", "-c", "cyclictest -q -l 5; python3 -c 'print(1)'").layer
    assert programs(layer) == {"cyclictest"}
    assert has_python(layer)


def test_a_script_brings_its_interpreter_and_what_it_mentions(lab, folder):
    (folder / "job").write_text("#!/usr/bin/env python3\nimport subprocess\nsubprocess.run(['hackbench'])\n")
    found = close(lab, "./job")
    assert found.program == "/share/job"
    assert found.layer["share/job"].source == Path("job")
    assert programs(found.layer) == {"hackbench"}
    assert has_python(found.layer)


def test_files_that_arguments_name_are_at_the_same_place(lab, folder):
    (folder / "sub").mkdir()
    for name in ("input", "sub/other", "unnamed"):
        (folder / name).write_text(name)
    layer = close(lab, "cat", "sub/other", f"--from={folder}/input", str(folder), "absent", "x" * 5000).layer
    named = {
        name
        for name, entry in layer.items()
        if entry.source and entry.source.name in {"input", "other", "unnamed"}
    }
    assert named == {"share/sub/other", f"{folder}/input".removeprefix("/")}


def test_a_shared_folder_is_there_whole_and_its_scripts_count(lab, folder, tmp_path_factory):
    share = tmp_path_factory.mktemp("share")
    (share / "job").write_text("#!/bin/bash\nstress-ng --cpu 1\n")
    found = close(lab, "./job", share=share)
    assert found.program == "/share/job"
    assert "share/job" in found.layer
    assert programs(found.layer) == {"stress-ng"}


def test_programs_of_this_machine_come_where_the_lab_has_none(lab, folder):
    (folder / "here").mkdir()
    tool = folder / "here/own-tool"
    tool.write_text("#!/bin/sh\necho here\n")
    tool.chmod(0o755)
    found = close(lab, str(tool))
    assert found.program == str(tool)
    assert close(lab, "sh", "-c", "own-tool", programs=[tool]).layer["usr/local/bin/own-tool"].source == tool


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "no command"),
        (("no-such-program-anywhere",), "command not found"),
        (("./absent",), "command not found"),
        (("cat", "../outside"), "outside of the command's folder"),
        (("./odd",), "needs /no/such/interpreter"),
    ],
)
def test_what_can_not_be_had_is_refused(lab, folder, argv, message):
    (folder / "odd").write_text("#!/no/such/interpreter\n")
    (folder / "work").mkdir()
    (folder / "outside").write_text("x")
    if "../outside" in argv:
        import os

        os.chdir(folder / "work")
    with pytest.raises(UsageError, match=message):
        close(lab, *argv)
