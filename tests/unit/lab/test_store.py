import pytest

from schedtuna.errors import UnavailableError
from schedtuna.lab.store import Kernel, Lab, Qemu, clean, read_lab, same_version, write_lab
from schedtuna.machine.labfolder import lab_directory


def make_lab(folder):
    (folder / "images").mkdir(parents=True)
    for name in ("images/a.cpio", "vmlinuz"):
        (folder / name).write_bytes(b"x" * 1000)
    kernels = {
        version: Kernel(
            version=version, image=folder / "vmlinuz", config=folder / "config", sha256="0", origin="test"
        )
        for version in ("6.18.1+a", "6.18.15+a")
    }
    return Lab(
        qemu=Qemu(argv=("qemu",), version="10.0", origin="test"),
        kernels=kernels,
        default_kernel="6.18.1+a",
        guest_root=folder,
        image=folder / "images/a.cpio",
        image_key="0",
        accelerator="tcg",
    )


def test_what_is_written_is_read(tmp_path):
    lab = make_lab(tmp_path)
    write_lab(lab, tmp_path)
    assert read_lab(tmp_path) == lab


def test_no_lab_and_half_a_lab_say_what_to_do(tmp_path):
    with pytest.raises(UnavailableError, match="not set up") as absent:
        read_lab(tmp_path)
    assert absent.value.hint == "schedtuna lab setup"
    lab = make_lab(tmp_path)
    write_lab(lab, tmp_path)
    lab.image.unlink()
    with pytest.raises(UnavailableError, match="incomplete"):
        read_lab(tmp_path)
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(UnavailableError, match="can't be read"):
        read_lab(tmp_path)


def test_kernels_are_found_by_the_number_alone(tmp_path):
    lab = make_lab(tmp_path)
    assert lab.kernel().version == "6.18.1+a"
    assert lab.kernel("6.18.15").version == "6.18.15+a"
    assert not same_version("6.18.15+a", "6.18.1")
    with pytest.raises(UnavailableError, match=r"6\.19 is not in the lab"):
        lab.kernel("6.19")


def test_cleaning_removes_the_lab_and_nothing_else(tmp_path):
    write_lab(make_lab(tmp_path), tmp_path)
    (tmp_path / "mine").write_text("precious")
    assert clean(tmp_path) > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "vmlinuz"}


def test_the_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_LAB_DIR", str(tmp_path))
    assert lab_directory() == tmp_path
    monkeypatch.delenv("SCHEDTUNA_LAB_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert str(lab_directory()) == "/some/cache/schedtuna/lab"
