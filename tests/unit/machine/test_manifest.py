import json
import os
import time

import pytest

from schedtuna import __version__
from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.machine.facts import Gpu
from schedtuna.machine.manifest import Manifest, build_manifest, load_manifest, machine_identity


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return build_manifest(["cat", "/etc/os-release"], seed=7)


def with_machine(manifest, **changes):
    return manifest.model_copy(update={"machine": manifest.machine.model_copy(update=changes)})


def test_it_describes_machine_command_and_seed(manifest):
    assert manifest.command == ("cat", "/etc/os-release")
    assert manifest.seed == 7
    assert manifest.schedtuna_version == __version__
    assert os.path.realpath("/etc/os-release") in manifest.binary_hashes
    assert abs(manifest.created_at - time.time()) < 600


def test_it_survives_the_round_trip(manifest):
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_the_hash_leaves_out_the_moment(manifest):
    later = manifest.model_copy(update={"created_at": manifest.created_at + 3600})
    assert later.stable_hash() == manifest.stable_hash()
    busy = with_machine(manifest, gpus=(Gpu(name="A", driver="1", utilization_percent=90),))
    idle = with_machine(manifest, gpus=(Gpu(name="A", driver="1", utilization_percent=0),))
    assert busy.stable_hash() == idle.stable_hash() != manifest.stable_hash()


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"command": ("cat",)}, {"binary_hashes": {}}, {"daemons": ("x",)}]
)
def test_the_hash_sees_every_condition(manifest, change):
    assert manifest.model_copy(update=change).stable_hash() != manifest.stable_hash()


def test_the_hash_is_the_same_in_the_next_process(manifest):
    again = build_manifest(["cat", "/etc/os-release"], seed=7)
    assert again.stable_hash() == manifest.stable_hash()


def test_files_and_results_folders_are_loaded(manifest, tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text(manifest.model_dump_json(indent=1))
    assert load_manifest(file) == load_manifest(tmp_path) == manifest


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="can't read") as caught:
        load_manifest(tmp_path)
    assert "results folder" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: not JSON"),
        (b'{"a": 1,\n "b": }', "line 2: not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "no format_version"),
        (b"{}", "no format_version"),
        (b'{"format_version": 99}', "has format version 99, and this program knows those up to 1"),
        (b'{"format_version": 1}', "created_at: Field required"),
        (b'{"format_version": 1, "created_at": "yesterday"}', "created_at"),
        (b" " * (9 << 20), "more than 8 MiB"),
    ],
)
def test_what_is_not_a_manifest_is_refused(tmp_path, content, message):
    file = tmp_path / "manifest.json"
    file.write_bytes(content)
    with pytest.raises(ConfigFileError, match=message):
        load_manifest(file)


def test_unknown_fields_are_refused(manifest, tmp_path):
    value = manifest.model_dump(mode="json")
    value["machine"]["colour"] = "blue"
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(ConfigFileError, match=r"machine\.colour"):
        load_manifest(tmp_path)


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigFileError, match="not a regular file"):
        load_manifest(tmp_path / "pipe")


def test_identity_stays_over_boots_and_changes_with_kernel_and_cpus(machine):
    files = {
        "etc/machine-id": "abc",
        "proc/sys/kernel/osrelease": "6.12.1",
        "proc/cpuinfo": "model name : X",
        "sys/devices/system/cpu/online": "0-1",
        "proc/sys/kernel/random/boot_id": "1",
    }
    first = machine_identity(machine(files))
    assert machine_identity(machine({"proc/sys/kernel/random/boot_id": "2"})) == first
    assert json.loads(json.dumps(first)) == first
    for change in (
        {"proc/sys/kernel/osrelease": "6.12.2"},
        {"sys/devices/system/cpu/online": "0"},
        {"proc/cpuinfo": "model name : Y"},
        {"etc/machine-id": "def"},
    ):
        assert machine_identity(machine(files | change)) != first
