"""Which folders and files are ours alone, and what happens to the others."""

import errno
import fcntl
import json
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna import files
from schedtuna.errors import UnavailableError, UntrustedError
from schedtuna.files import Folder, trust
from schedtuna.kernel.libbpf import libbpf
from schedtuna.lab.store import locked, read_lab
from schedtuna.resources import resource_path

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")


@pytest.fixture(autouse=True)
def accepts_nothing():
    yield
    trust._accepted.clear()
    trust._made.clear()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "parent" / "folder"
    path.mkdir(parents=True)
    return path


def test_a_folder_is_made_with_what_leads_there_and_for_us_alone(tmp_path):
    before = os.umask(0)
    try:
        files.make_folder(tmp_path / "a" / "b")
        files.write_text(tmp_path / "a" / "b" / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a/b/x").stat().st_mode) == 0o644


def test_a_stricter_umask_is_kept(tmp_path):
    before = os.umask(0o077)
    try:
        files.make_folder(tmp_path / "a")
        files.write_text(tmp_path / "a" / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a/x").stat().st_mode) == 0o600


def test_a_file_is_replaced_whole_and_nothing_else_is_left(folder):
    for text in ("one", "two"):
        files.write_text(folder / "x", text)
        assert (folder / "x").read_text() == text
    assert os.listdir(folder) == ["x"]  # noqa: PTH208


def test_what_fails_leaves_the_old_file_and_no_other(folder):
    files.write_text(folder / "x", "old")
    with pytest.raises(TypeError), files.writing(folder / "x") as file:
        file.writelines([b"half of the ", 5])  # type: ignore[list-item]
    assert [path.read_text() for path in folder.iterdir()] == ["old"]


def test_what_a_killed_writer_left_is_cleared(folder):
    (folder / ".x.0123456789abcdef.tmp").touch()
    (folder / ".x.tmp").touch()
    with Folder(folder) as opened:
        opened.clear_scratch()
    assert [path.name for path in folder.iterdir()] == [".x.tmp"]


def test_links_of_our_own_lead_to_a_folder(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "up").symlink_to("parent/../parent")
    files.write_text(tmp_path / "link" / "x", "1")
    files.write_text(tmp_path / "up" / "folder" / "y", "2")
    assert sorted(path.name for path in folder.iterdir()) == ["x", "y"]


def test_links_that_lead_round_and_round_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        Folder(tmp_path / "a")


@pytest.mark.parametrize(("name", "number"), [("missing", errno.ENOENT), ("file/below", errno.ENOTDIR)])
def test_errors_of_the_disk_name_the_path(tmp_path, name, number):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        files.require_own(tmp_path / name)
    assert raised.value.filename == str(tmp_path / name)


@needs_root
def test_links_of_a_stranger_are_not_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    os.lchown(tmp_path / "link", NOBODY, NOBODY)
    for path in (tmp_path / "link" / "x", tmp_path / "link" / ".." / "x"):
        with pytest.raises(UntrustedError, match=r"link that user nobody put there"):
            files.write_output(path, b"ours")
    assert not list(folder.iterdir())


@needs_root
@pytest.mark.parametrize("whose", ["folder", "parent"])
def test_a_strangers_folder_is_refused_until_it_is_accepted(folder, whose):
    os.chown(folder if whose == "folder" else folder.parent, NOBODY, NOBODY)
    with pytest.raises(UntrustedError, match="belongs to user nobody"):
        files.write_text(folder / "x", "ours")
    files.accept(folder)
    files.write_text(folder / "x", "ours")


@needs_root
def test_a_new_folder_below_a_strangers_is_ours_until_it_is_exchanged(folder):
    os.chown(folder, NOBODY, NOBODY)
    files.make_folder(folder / "results" / "study")
    files.write_text(folder / "results" / "study" / "x", "ours")
    files.append_to(folder / "results" / "study" / "x", b", too")
    assert (folder / "results/study/x").read_text() == "ours, too"
    (folder / "results" / "study").rename(folder / "away")
    (folder / "results" / "study").mkdir()
    with pytest.raises(UntrustedError, match=f"its parent {folder} belongs to user nobody") as raised:
        files.write_text(folder / "results" / "study" / "x", "ours")
    assert "SUDO_UID" in str(raised.value.hint)
    assert not list((folder / "results/study").iterdir())


@needs_root
def test_what_others_are_given_by_its_path_must_be_safe_from_exchange(folder):
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(UntrustedError, match=f"its parent {folder} belongs to user nobody"):
        files.make_folder(folder / "new", by_path=True)
    with pytest.raises(UntrustedError, match="belongs to user nobody"), locked(folder / "lab"):
        pass


@needs_root
def test_what_takes_a_new_folders_place_before_it_is_opened_is_not_new(folder, monkeypatch):
    os.chown(folder, NOBODY, NOBODY)
    make = os.mkdir

    def exchanged(name, mode, *, dir_fd):
        make(name, mode, dir_fd=dir_fd)
        if name == "study":
            os.rename(name, "away", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            make(name, mode, dir_fd=dir_fd)
            (folder / "study" / "plan.json").touch()

    monkeypatch.setattr(os, "mkdir", exchanged)
    with pytest.raises(UntrustedError, match="belongs to user nobody"):
        files.make_folder(folder / "study")


def test_a_folder_is_removed_with_what_is_in_it_and_nothing_that_it_leads_to(folder, tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "keep").touch()
    (folder / "in" / "side").mkdir(parents=True)
    (folder / "in" / "side" / "x").touch()
    (folder / "link").symlink_to(canary)
    (folder / "in" / "link").symlink_to(canary)
    files.remove_folder(folder)
    assert not folder.exists()
    (tmp_path / "parent" / "folder").symlink_to(canary)
    with pytest.raises(NotADirectoryError):
        files.remove_folder(folder)
    assert (canary / "keep").exists()


@needs_root
@pytest.mark.parametrize("remove", [files.remove_folder, lambda path: files.remove(path / "keep")])
def test_nothing_is_removed_by_way_of_a_strangers_link(folder, tmp_path, remove):
    (tmp_path / "canary" / "study").mkdir(parents=True)
    (tmp_path / "canary" / "study" / "keep").touch()
    os.chown(folder, NOBODY, NOBODY)
    (folder / "results").symlink_to(tmp_path / "canary")
    os.lchown(folder / "results", NOBODY, NOBODY)
    with pytest.raises(UntrustedError, match="is a link that user nobody put there"):
        remove(folder / "results" / "study")
    assert (tmp_path / "canary/study/keep").exists()


def test_a_file_that_is_missing_may_be_removed(folder):
    files.remove(folder / "x", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        files.remove(folder / "x")


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o757, True), (0o755, False)])
@pytest.mark.parametrize("whose", ["folder", "parent"])
def test_who_can_write_decides(folder, mode, refused, whose):
    (folder if whose == "folder" else folder.parent).chmod(mode)
    if refused:
        with pytest.raises(UntrustedError, match="can be written by others"):
            files.write_text(folder / "x", "ours")
    else:
        files.write_text(folder / "x", "ours")


@needs_root
def test_a_group_of_several_users_is_others(folder):
    os.chown(folder.parent, 0, NOBODY)
    folder.parent.chmod(0o775)
    with pytest.raises(UntrustedError, match=r"its parent .*parent can be written by others"):
        files.write_text(folder / "x", "ours")


@pytest.mark.parametrize(
    ("uid", "gid", "others"), [(54321, 54321, False), (54321, 54322, True), (54321, 0, True)]
)
def test_a_mere_numbers_own_group_is_its_alone(uid, gid, others):
    """As in a container that runs as a user without a name."""
    status = os.stat_result((stat.S_IFDIR | 0o775, 1, 1, 1, uid, gid, 0, 0, 0, 0))
    assert trust.others_can_write(status) is others


def access_list(permissions):
    """The attribute of a list that gives nobody these permissions; acl(5)."""
    owner, user, group, mask, other, everyone = 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF
    entries = [
        (owner, 7, everyone),
        (user, permissions, NOBODY),
        (group, 5, everyone),
        (mask, permissions, everyone),
        (other, 5, everyone),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize(("permissions", "refused"), [(7, True), (5, False)])
def test_who_is_in_an_access_list_is_others(folder, permissions, refused):
    try:
        os.setxattr(folder, "system.posix_acl_access", access_list(permissions))
    except OSError:
        pytest.skip("the file system has no access lists")
    if not refused:
        files.write_text(folder / "x", "ours")
        return
    with pytest.raises(UntrustedError, match="can be written by others"):
        files.write_text(folder / "x", "ours")
    folder.chmod(0o755)
    files.write_text(folder / "x", "ours")


@needs_root
def test_the_user_who_called_sudo_is_not_a_stranger(folder, monkeypatch):
    os.chown(folder.parent, NOBODY, NOBODY)
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    files.write_text(folder / "x", "ours")
    monkeypatch.setenv("SUDO_UID", "1000")
    with pytest.raises(UntrustedError):
        files.write_text(folder / "x", "ours")


def test_what_takes_the_place_of_a_file_is_not_opened(folder, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("keep me")
    (folder / "link").symlink_to(canary)
    os.link(canary, folder / "hard")
    os.mkfifo(folder / "pipe")
    for name, words in {"link": "is a link", "hard": "second name", "pipe": "not a plain file"}.items():
        for flags in (os.O_WRONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
            with pytest.raises(UntrustedError, match=words) as raised:
                files.open_for_writing(folder / name, flags)
            assert "remove it" in raised.value.hint
    assert canary.read_text() == "keep me"


def test_a_link_of_ours_is_replaced_and_not_what_it_leads_to(folder, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("keep me")
    (folder / "x").symlink_to(canary)
    files.write_output(folder / "x", b"ours")
    assert (canary.read_text(), (folder / "x").read_text()) == ("keep me", "ours")
    assert not (folder / "x").is_symlink()


@needs_root
@pytest.mark.parametrize("link", [True, False])
def test_an_output_replaces_nothing_of_a_stranger(folder, tmp_path, link):
    canary = tmp_path / "canary"
    canary.write_text("keep me")
    (folder / "x").symlink_to(canary) if link else (folder / "x").write_text("theirs")
    os.lchown(folder / "x", NOBODY, NOBODY)
    folder.chmod(0o1777)
    with pytest.raises(UntrustedError, match="belongs to user nobody"):
        files.write_output(folder / "x", b"ours")
    files.write_output(folder / "y", b"ours")
    assert canary.read_text() == "keep me"


def test_outputs_go_into_pipes_and_devices(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    files.write_output(Path("-"), b"ours")
    assert (capfdbinary.readouterr().out, list(tmp_path.iterdir())) == (b"ours", [])
    files.write_output(Path("/dev/null"), b"ours")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        files.write_output(tmp_path / "pipe", b"ours")
        assert reader.stdout.read() == b"ours"


def test_a_lock_is_of_the_file_that_was_opened(folder):
    fd = files.open_for_writing(folder / "lock")
    fcntl.flock(fd, fcntl.LOCK_EX)
    other = files.open_to_read(folder / "lock")
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    os.close(fd)


# ---- what acts with our privilege -----------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    path = tmp_path / "lib" / "libbpf.so"
    path.parent.mkdir()
    path.write_bytes(b"not a library")
    monkeypatch.setenv("SCHEDTUNA_LIBBPF", str(path))
    libbpf.cache_clear()
    yield path
    libbpf.cache_clear()


@needs_root
@pytest.mark.parametrize("whose", ["file", "folder", "mode"])
def test_a_library_that_others_can_change_is_not_loaded(library, whose):
    with pytest.raises(UnavailableError, match="can't use"):  # ours: it is tried
        libbpf()
    if whose == "mode":
        library.parent.chmod(0o775)
    else:
        os.chown(library if whose == "file" else library.parent, NOBODY, NOBODY)
    with pytest.raises(UnavailableError, match=r"used as libbpf with privilege, but") as raised:
        libbpf()
    assert "unset it" in raised.value.hint


def test_a_library_that_only_we_can_change_is_loaded(tmp_path, monkeypatch):
    try:
        shipped = resource_path("native/libbpf.so")
    except UnavailableError:
        pytest.skip("built without BPF")
    (tmp_path / "own.so").write_bytes(shipped.read_bytes())
    (tmp_path / "link.so").symlink_to("own.so")
    monkeypatch.setenv("SCHEDTUNA_LIBBPF", str(tmp_path / "link.so"))
    libbpf.cache_clear()
    assert libbpf().version
    libbpf.cache_clear()


@needs_root
def test_a_lab_that_others_can_change_runs_nothing(tmp_path):
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "lab.json").write_text("{}")
    os.chown(lab, NOBODY, NOBODY)
    with pytest.raises(UnavailableError, match=r"lab.json would be used as what the lab runs") as raised:
        read_lab(lab)
    assert "SCHEDTUNA_LAB_DIR" in raised.value.hint
    with pytest.raises(UntrustedError), locked(lab):
        pytest.fail("it was opened")
    assert [path.name for path in lab.iterdir()] == ["lab.json"]


@needs_root
def test_a_qemu_that_others_can_change_is_not_run(tmp_path):
    qemu = tmp_path / "qemu"
    qemu.touch()
    qemu.chmod(0o777)
    kernel = {"version": "1", "image": "/i", "config": "/c", "sha256": "", "origin": ""}
    lab = {"qemu": {"argv": [str(qemu)], "version": "1", "origin": ""}, "kernels": {"1": kernel}}
    lab |= {"default_kernel": "1", "guest_root": "/r", "image": "/i", "image_key": "", "accelerator": "tcg"}
    (tmp_path / "lab.json").write_text(json.dumps(lab))
    with pytest.raises(UnavailableError, match=r"qemu would be used as the lab's QEMU with privilege"):
        read_lab(tmp_path)


# ---- where we stand -------------------------------------------------------------------------------


def test_a_relative_path_begins_where_we_stand_and_knows_what_is_above(folder, monkeypatch):
    monkeypatch.chdir(folder)
    files.write_text(Path("x"), "ours")
    files.make_folder(Path("a/../b"))
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "x"]
    folder.parent.chmod(0o777)
    with pytest.raises(UntrustedError, match=f"its parent {folder.parent} can be written by others"):
        files.write_text(Path("x"), "again")


@needs_root
def test_what_leads_to_where_we_stand_may_be_closed_to_us(folder):
    code = """
import os
from pathlib import Path
from schedtuna import files
os.setgid(65534)
os.setuid(65534)
files.make_folder(Path("t"))
files.write_text(Path("t/x"), "theirs")
files.append_to(Path("t/y"), b"")
"""
    os.chown(folder, NOBODY, NOBODY)
    folder.parent.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "t/x").owner() == "nobody"
