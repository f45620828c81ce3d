import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from schedtuna.lab.build.packages import (
    Mirror,
    OfferedPackage,
    PackageError,
    PrivateApt,
    configuration,
    find_keyring,
    is_whole,
    parse_hashes,
    parse_madison,
    parse_uris,
    source_list,
    unpack,
    unpack_anew,
)
from schedtuna.lab.errors import LabError

DEB822 = """Types: deb
URIs: http://other.example/debian
Suites: bookworm
Signed-By: /keys/other.gpg

Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg
"""


def test_the_keyring_of_a_deb822_entry_is_its_own():
    assert find_keyring(DEB822, "http://mirror.example/debian/") == "/keys/debian.gpg"


def test_the_keyring_of_a_one_line_entry_is_found_among_its_options():
    line = "deb [arch=amd64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main\n"
    assert find_keyring(line, "http://mirror.example/debian/") == "/keys/a.gpg"


def test_an_entry_without_a_keyring_has_none():
    line = "deb http://mirror.example/debian bookworm main\n"
    assert find_keyring(line, "http://mirror.example/debian/") == ""


def test_the_source_list_names_the_hosts_mirror_and_keyring():
    text = source_list(Mirror("http://mirror.example/debian/", "bookworm", "/keys/a.gpg"), ["sid"])
    assert "URIs: http://mirror.example/debian/" in text
    assert "Signed-By: /keys/a.gpg" in text


def test_the_configuration_keeps_proxies_and_drops_hooks(tmp_path):
    host = (
        'Acquire::http::Proxy "http://proxy:3142";\n'
        'APT::Update::Post-Invoke:: "rm -rf /";\n'
        'Dir::State::Lists "/var/lib/apt/lists";\n'
    )
    (tmp_path / "apt.conf").write_text(configuration(tmp_path, host))
    read_back = subprocess.run(
        ["apt-config", "dump"],
        env={"APT_CONFIG": str(tmp_path / "apt.conf"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if read_back.returncode:
        pytest.skip("no apt-config here")
    assert 'Acquire::http::Proxy "http://proxy:3142";' in read_back.stdout
    assert "Post-Invoke" not in read_back.stdout
    assert f'dir::state::lists "{tmp_path}/lists";' in read_back.stdout.lower()


def test_madison_lists_what_can_be_fetched_and_not_sources():
    text = (
        " linux-image-6.18.15 | 6.18.15-1~bpo13+1 | http://m/debian trixie-backports/main amd64 Packages\n"
        " linux-signed | 1 | http://m/debian trixie-backports/main Sources\n"
        "N: a note\n"
    )
    assert parse_madison(text) == [OfferedPackage("linux-image-6.18.15", "6.18.15-1~bpo13+1")]


def test_sizes_are_read_from_apts_plan():
    text = "'http://m/a.deb' a_1%3a2_amd64.deb 164452 SHA256:00\nnothing else\n"
    assert parse_uris(text) == [("a_1%3a2_amd64.deb", 164452)]


def _package(folder: Path, file: str) -> Path:
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: some\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    (tree / file).parent.mkdir(parents=True)
    (tree / file).write_text("content")
    try:
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-b", tree, folder / "some.deb"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no dpkg-deb here")
    return folder / "some.deb"


def test_packages_unpack_into_a_merged_usr(tmp_path):
    unpack([_package(tmp_path, "lib/some/file")], tmp_path / "root")
    assert (tmp_path / "root/usr/lib/some/file").read_text() == "content"
    assert (tmp_path / "root/lib").is_symlink()


def test_a_folder_is_there_only_once_all_is_unpacked(tmp_path):
    package, root = _package(tmp_path, "usr/file"), tmp_path / "root"
    damaged = tmp_path / "damaged.deb"
    damaged.write_bytes(package.read_bytes()[:-40])
    with pytest.raises(PackageError):
        unpack_anew([package, damaged], root)
    assert not root.exists()
    unpack_anew([package], root)  # what the first left is in nobody's way
    assert (root / "usr/file").read_text() == "content"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_what_was_fetched_is_known_by_its_hash(tmp_path):
    line = "'http://m/a.deb' a_1%3a2_amd64.deb 3 SHA256:"
    hashes = parse_hashes(f"{line}{hashlib.sha256(b'abc').hexdigest()}\n'http://m/b.deb' b.deb 3\nnoise\n")
    assert list(hashes) == ["a_1%3a2_amd64.deb", "b.deb"]
    (whole, unknown), file = hashes.values(), tmp_path / "a.deb"
    assert not is_whole(file, whole)
    for content, expected in ((b"ab", False), (b"abd", False), (b"abc", True)):
        file.write_bytes(content)
        assert is_whole(file, whole) is expected
    assert not is_whole(file, unknown)


def test_a_damaged_package_is_an_error(tmp_path):
    package = _package(tmp_path, "usr/file")
    package.write_bytes(package.read_bytes()[:-40])
    with pytest.raises(PackageError, match=r"some\.deb can't be unpacked"):
        unpack([package], tmp_path / "root")
    assert issubclass(PackageError, LabError)


@pytest.fixture
def shop(tmp_path):
    """A mirror in a folder, which apt trusts, and the package that it has."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt here")
    (tmp_path / "shop").mkdir()
    package = _package(tmp_path, "usr/file").rename(tmp_path / "shop/some_1_all.deb")
    fields = {"Package": "some", "Version": "1", "Architecture": "all", "Filename": f"./{package.name}"}
    fields |= {
        "Size": str(package.stat().st_size),
        "SHA256": hashlib.sha256(package.read_bytes()).hexdigest(),
    }
    (tmp_path / "shop/Packages").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()))
    try:
        apt = PrivateApt(tmp_path / "apt", Mirror("", "x"), ["x"], kept=tmp_path / "kept")
    except PackageError as error:
        pytest.skip(f"apt does not work here: {error}")
    (tmp_path / "apt/lab.sources").write_text(
        f"Types: deb\nURIs: copy:{tmp_path}/shop\nSuites: ./\nTrusted: yes\n"
    )
    apt.refresh()
    return apt, package


def test_what_was_fetched_is_not_fetched_again_and_counts_as_needed(shop, tmp_path):
    apt, package = shop
    assert apt.planned(["some"]) == [(package.name, package.stat().st_size)]
    (fetched,) = apt.download_closure(["some"])
    content = fetched.read_bytes()
    package.unlink()
    assert apt.planned(["some"]) == []
    assert apt.download_closure(["some"]) == [fetched]  # an interrupted run had not unpacked it
    (tmp_path / "kept").mkdir()
    fetched.rename(tmp_path / "kept" / package.name)  # or had, and was not completed
    assert apt.download_closure(["some"]) == [fetched]
    assert fetched.read_bytes() == content
