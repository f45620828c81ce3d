import struct

import pytest

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.lab.build.kernels import (
    NEEDED,
    available,
    choose,
    host_kernel,
    image_version,
    install_file,
    lacking,
    version_key,
)
from schedtuna.lab.build.packages import OfferedPackage

COMPLETE = "".join(f"CONFIG_{option}=y\n" for option in NEEDED)


def rows(*names):
    return available([OfferedPackage(name, "1") for name in names])


def image(path, version="6.18.15+test"):
    """The header of a bzImage, as boot.rst describes it."""
    data = bytearray(0x300)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x50)
    text = f"{version} (root@host) #1 SMP".encode()
    data[0x250 : 0x250 + len(text)] = text
    path.write_bytes(bytes(data))
    return path


def test_up_to_6_18_the_image_package_is_the_kernel():
    assert [row.version for row in rows("linux-image-6.18.15+deb13-cloud-amd64")] == [
        "6.18.15+deb13-cloud-amd64"
    ]


def test_later_image_packages_are_empty_and_need_their_parts():
    assert rows("linux-image-7.2.13+deb14-cloud-amd64") == []
    assert rows("linux-binary-7.2.13+deb14-cloud-amd64") == []
    (row,) = rows("linux-binary-7.2.13+deb14-cloud-amd64", "linux-base-7.2.13+deb14-cloud-amd64")
    assert row.packages == (
        "linux-binary-7.2.13+deb14-cloud-amd64=1",
        "linux-base-7.2.13+deb14-cloud-amd64=1",
    )


def test_other_flavours_debug_symbols_and_unsigned_images_are_not_kernels():
    assert rows("linux-image-6.18.15-amd64", "linux-image-6.18.1-cloud-amd64-dbg", "linux-image-amd64") == []


def test_the_newest_comes_first_by_number():
    names = [f"linux-image-6.{minor}-cloud-amd64" for minor in ("9.1", "16.3", "18.5", "18.15")]
    assert [version_key(row.version) for row in rows(*names)] == [
        (6, 18, 15),
        (6, 18, 5),
        (6, 16, 3),
        (6, 9, 1),
    ]


def test_a_version_without_its_suffix_is_enough_and_another_is_an_error():
    known = rows("linux-image-6.18.15+deb13-cloud-amd64", "linux-image-6.18.1+deb13-cloud-amd64")
    assert choose(known, "6.18.1")[0].version == "6.18.1+deb13-cloud-amd64"
    assert choose(known, None)[0].version == "6.18.15+deb13-cloud-amd64"
    with pytest.raises(UnavailableError, match=r"no complete kernel 6\.19"):
        choose(known, "6.19")


def test_a_module_is_not_built_in():
    config = COMPLETE.replace("CONFIG_VIRTIO_CONSOLE=y", "CONFIG_VIRTIO_CONSOLE=m")
    assert lacking(COMPLETE) == {}
    assert list(lacking(config)) == ["VIRTIO_CONSOLE"]


def test_a_kernel_file_is_installed_with_the_config_beside_it(tmp_path):
    file = image(tmp_path / "vmlinuz")
    (tmp_path / "config-6.18.15+test").write_text(COMPLETE)
    kernel = install_file(file, tmp_path / "kernels")
    assert kernel.version == "6.18.15+test"
    assert kernel.image.read_bytes() == file.read_bytes()
    assert install_file(kernel.image, tmp_path / "kernels").sha256 == kernel.sha256


def test_a_kernel_file_without_sched_ext_says_what_it_lacks(tmp_path):
    file = image(tmp_path / "vmlinuz")
    (tmp_path / "config").write_text(COMPLETE.replace("CONFIG_SCHED_CLASS_EXT=y", ""))
    with pytest.raises(UsageError, match=r"lacks CONFIG_SCHED_CLASS_EXT=y \(sched_ext\)"):
        install_file(file, tmp_path / "kernels")


def test_a_kernel_file_without_its_config_says_where_it_is_expected(tmp_path):
    with pytest.raises(UsageError, match=r"expected .*config-6\.18\.15\+test"):
        install_file(image(tmp_path / "vmlinuz"), tmp_path / "kernels")


@pytest.mark.parametrize("content", [b"", b"no kernel", b"\x7fELF" + b"\0" * 0x300])
def test_what_is_not_a_kernel_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UsageError, match="not a bootable Linux image"):
        image_version(tmp_path / "file")
    with pytest.raises(UsageError, match="can't be read"):
        image_version(tmp_path / "absent")


def test_a_version_is_not_a_path(tmp_path):
    with pytest.raises(UsageError, match="does not say its version"):
        image_version(image(tmp_path / "vmlinuz", version="../../etc"))


def test_the_hosts_kernel_is_used_only_if_a_guest_can(tmp_path):
    assert host_kernel("1.0", tmp_path) is None
    image(tmp_path / "vmlinuz-1.0")
    (tmp_path / "config-1.0").write_text("CONFIG_BPF_SYSCALL=y\n")
    assert host_kernel("1.0", tmp_path) is None
    (tmp_path / "config-1.0").write_text(COMPLETE)
    assert host_kernel("1.0", tmp_path) == (tmp_path / "vmlinuz-1.0", tmp_path / "config-1.0")
