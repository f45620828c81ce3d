import os

import pytest

from schedtuna.errors import UntrustedError
from schedtuna.lab.errors import GuestError
from schedtuna.lab.orders import inside
from schedtuna.lab.qemu.program import machine_options, parse_version
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.vm import _require_own_scratch


def test_files_of_the_guest_stay_in_the_shared_folder(tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (share / "out").symlink_to(tmp_path)
    assert inside(share, "a/b") == share / "a/b"
    for name in ("../x", "/etc/passwd", "a/../../x", "out/x"):
        with pytest.raises(GuestError, match="outside"):
            inside(share, name)


def test_a_link_of_the_same_name_is_replaced_not_followed(tmp_path):
    (tmp_path / "share").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "share/file").symlink_to(tmp_path / "target")
    inside(tmp_path / "share", "file").write_text("from the guest")
    assert (tmp_path / "target").read_text() == "precious"


def test_qemus_version_is_read():
    assert parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)") == (10, 0, 2)
    assert parse_version("something else") == ()


def test_guests_have_no_network(tmp_path):
    options = machine_options(GuestShape(1, 1), memory_mib=512, image=tmp_path, initrd=tmp_path, append="")
    assert options[options.index("-nic") + 1] == "none"


@pytest.mark.parametrize(("mode", "fine"), [(0o1777, True), (0o700, True), (0o777, False)])
def test_guests_run_from_where_nobody_else_can_exchange_files(tmp_path, monkeypatch, mode, fine):
    tmp_path.chmod(mode)
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    if fine:
        _require_own_scratch()
        return
    with pytest.raises(UntrustedError) as raised:
        _require_own_scratch()
    assert "TMPDIR" in raised.value.hint
