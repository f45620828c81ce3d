import ast
from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.lab.layers import program_layer, recording_layer, share_layer
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import loader_path


def test_a_missing_program_or_folder_is_the_users_error(tmp_path):
    with pytest.raises(UsageError, match="no such program"):
        program_layer([tmp_path / "absent"], tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        share_layer(tmp_path / "absent", tmp_path)


def test_two_programs_of_one_name_are_not_taken_for_one_another(tmp_path):
    programs = [tmp_path / folder / "tool" for folder in ("old", "new")]
    for program in programs:
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {program.parent.name}\n")
    with pytest.raises(UsageError, match=r"old/tool and .*new/tool would both be /usr/local/bin/tool"):
        program_layer(programs, Path("/"))
    programs[1].unlink()
    programs[1].symlink_to(programs[0])
    assert "usr/local/bin/tool" in program_layer(programs, Path("/"))


def test_a_shared_folder_comes_whole_and_links_stay_links(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("x")
    (tmp_path / "link").symlink_to("/etc/shadow")
    layer = share_layer(tmp_path, tmp_path)
    assert set(layer) == {"share/deep", "share/deep/er", "share/deep/er/file", "share/link"}
    assert layer["share/link"].source is None


def test_what_loads_bpf_in_a_guest_brings_all_that_it_imports():
    copied = {
        name: entry.source for name, entry in recording_layer(Path("/")).items() if name.endswith(".py")
    }
    modules = {name.partition("/python/")[2]: source for name, source in copied.items()}
    programs = [resource_path("lab/guest/recorder.py"), loader_path()]
    for source in (*programs, *modules.values()):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("schedtuna"):
                needed = node.module.replace(".", "/")
                assert {f"{needed}.py", f"{needed}/__init__.py"} & set(modules), (
                    f"{source} imports {node.module}"
                )
