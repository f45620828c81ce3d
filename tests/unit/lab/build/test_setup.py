import pytest
from tests.unit.kernel.btf_bytes import RIGHT, WRONG, kernel_functions

from schedtuna.errors import UnavailableError
from schedtuna.lab.build.setup import AUTO, _Setup
from schedtuna.lab.image import text_entry
from schedtuna.lab.store import Kernel


def kernel(folder, version, functions):
    (folder / version).mkdir()
    (folder / version / "vmlinux").write_bytes(kernel_functions(functions))
    image = folder / version / "vmlinuz"
    return Kernel(
        version=version, image=image, unpacked=image.with_name("vmlinux"), config=image, sha256="", origin=""
    )


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """A set-up that chooses among newer kernels with wrong BTF and one older one."""
    offered = [kernel(tmp_path, "7.2.12", WRONG), kernel(tmp_path, "7.2.11", WRONG)]
    offered.append(kernel(tmp_path, "6.18.15", RIGHT))
    said = []
    setup = _Setup(tmp_path, said.append)
    monkeypatch.setattr(setup, "_candidates", lambda wanted, there: iter(offered))
    return setup, offered, said


def test_of_kernels_that_nobody_named_the_first_that_runs_schedulers_is_taken(setup, tmp_path):
    chooser, offered, said = setup
    assert chooser._kernel(AUTO, {}, tmp_path).version == "6.18.15"
    assert [line.split(":")[0] for line in said] == ["kernel 7.2.12", "kernel 7.2.11"]
    del offered[2]
    with pytest.raises(UnavailableError, match="the mirror has no kernel"):
        chooser._kernel(AUTO, {}, tmp_path)


def test_a_kernel_that_was_named_is_taken_with_a_word_about_it(setup, tmp_path):
    chooser, offered, said = setup
    assert chooser._kernel("7.2.12", {}, tmp_path).version == "7.2.12"
    assert chooser._kernel(AUTO, {"7.2.12": offered[0]}, tmp_path).version == "7.2.12"
    assert len(said) == 2


def test_the_image_is_made_once_and_anew_where_the_guests_packages_differ(tmp_path, monkeypatch):
    monkeypatch.setattr("schedtuna.lab.build.setup.base_layer", lambda root: {"init": text_entry(str(root))})
    said = []
    setup = _Setup(tmp_path, said.append)
    first, _ = setup._image(tmp_path)
    assert b"070701" in first.read_bytes()
    assert setup._image(tmp_path)[0] == first
    setup.packages["bash_5.deb"] = "0" * 64
    assert setup._image(tmp_path)[0] != first
    assert len(said) == 2


def test_what_an_interrupted_run_was_at_is_removed_and_nothing_else(setup, tmp_path, monkeypatch):
    chooser, _, _ = setup
    left = [".qemu", ".guest", ".build-x1", "kernels/.7.2.12", "schedulers/.6.18.15"]
    kept = ["qemu", "guest", "packages", "kernels/6.18.15", "schedulers/6.18.15"]
    for name in (*left, *kept):
        (tmp_path / name / "usr").mkdir(parents=True)
    (tmp_path / ".lock").touch()

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(chooser, "_qemu", stop)
    with pytest.raises(KeyboardInterrupt):
        chooser.install(AUTO)
    assert [name for name in left if (tmp_path / name).exists()] == []
    assert all((tmp_path / name / "usr").is_dir() for name in kept)
    assert (tmp_path / ".lock").exists()
