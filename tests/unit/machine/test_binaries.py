import os
import subprocess
from pathlib import Path

import pytest

from schedtuna.machine import binaries
from schedtuna.machine.binaries import hash_programs


def sha256sum(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_executables_are_found_on_path_and_resolved():
    hashes = hash_programs(["cat", "--nothing"])
    (path,) = hashes
    assert path == os.path.realpath("/bin/cat") or Path(path).name == "cat"
    assert hashes[path] == sha256sum(path)


def test_a_script_brings_its_interpreters(tmp_path):
    inner = script(tmp_path / "inner", "#!/bin/sh\n")
    outer = script(tmp_path / "outer", f"#!{inner} -x\necho\n")
    hashes = hash_programs([str(outer)])
    assert set(hashes) == {str(outer), str(inner), os.path.realpath("/bin/sh")}


def test_env_is_seen_through(tmp_path):
    job = script(tmp_path / "job", "#!/usr/bin/env -S LANG=C sh -e\n")
    assert set(hash_programs([str(job)])) == {
        str(job),
        os.path.realpath("/usr/bin/env"),
        os.path.realpath("/bin/sh"),
    }


def test_interpreters_that_call_each_other_end(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    script(one, f"#!{two}\n")
    script(two, f"#!{one}\n")
    assert set(hash_programs([str(one)])) == {str(one), str(two)}


def test_files_named_in_the_command_count(tmp_path):
    for name in ("job.py", "input", "config"):
        (tmp_path / name).write_text(name)
    hashes = hash_programs(["cat", "job.py", "--in=input", f"-c={tmp_path}/config", "none"], folder=tmp_path)
    for name in ("job.py", "input", "config"):
        assert hashes[str(tmp_path / name)] == sha256sum(tmp_path / name)
    assert len(hashes) == 4


def test_a_changed_script_changes_its_hash(tmp_path):
    job = script(tmp_path / "job", "#!/bin/sh\necho 1\n")
    before = hash_programs([str(job)])
    script(job, "#!/bin/sh\necho 2\n")
    assert hash_programs([str(job)])[str(job)] != before[str(job)]


def test_words_of_a_shell_command_count(tmp_path):
    (tmp_path / "data").write_text("x")
    hashes = hash_programs(["/bin/sh", "-c", "cat data | wc"], folder=tmp_path)
    assert {os.path.realpath("/bin/sh"), str(tmp_path / "data")} < set(hashes)


def test_large_files_are_hashed_at_their_edges(tmp_path, monkeypatch):
    monkeypatch.setattr(binaries, "_WHOLE_BYTES", 100)
    monkeypatch.setattr(binaries, "_EDGE_BYTES", 10)
    file = tmp_path / "model"
    hashes = set()
    for content in (b"a" * 200, b"b" + b"a" * 199, b"a" * 199 + b"b", b"a" * 201):
        file.write_bytes(content)
        hashes.add(hash_programs(["cat", str(file)])[str(file)])
    assert len(hashes) == 4
    assert all(text.startswith("partial:") for text in hashes)


@pytest.mark.parametrize("argument", ["/dev/zero", "/", "a\0b", "x" * 5000, ""])
def test_what_is_not_a_file_is_left_out(argument):
    assert len(hash_programs(["cat", argument])) == 1


def test_named_pipes_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert len(hash_programs(["cat", str(tmp_path / "pipe")])) == 1


def test_nothing_to_run_has_no_hashes():
    assert hash_programs([]) == {}
    assert hash_programs(["no-such-command-anywhere"]) == {}
    assert hash_programs(["/no/such/command"]) == {}


def test_unreadable_programs_are_said_to_be(tmp_path):
    job = script(tmp_path / "job", "#!/bin/sh\n")
    job.chmod(0o111)
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    assert hash_programs([str(job)]) == {str(job): "unreadable"}
