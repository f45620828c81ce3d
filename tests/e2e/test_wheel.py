"""The wheel where no compiler is: here, without the programs in PATH, and in bare Debian systems."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import missing_capabilities

ROOT = Path(__file__).parents[2]
# Debian systems that are made once, and copied for each test.
SYSTEMS = Path(os.environ.get("SCHEDTUNA_TEST_SYSTEMS", "/var/cache/schedtuna/systems"))
PARTS = (
    "schedtuna/native/libbpf.so",
    "schedtuna/native/libelf.so.1",
    "schedtuna/native/schedtuna-launch",
    "schedtuna/native/schedtuna-player",
    "schedtuna/native/schedtuna-trace.so",
    "schedtuna/native/sched_stream.bpf.o",
    "schedtuna/native/sched_aggregate.bpf.o",
    "schedtuna/sim/_native.abi3.so",
)
SHARED = (
    "share/man/man1/schedtuna.1",
    "share/bash-completion/completions/schedtuna",
    "share/zsh/site-functions/_schedtuna",
    "share/fish/vendor_completions.d/schedtuna.fish",
)


def need(*programs: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:{ROOT / '.venv/bin'}"
    for program in programs:
        if shutil.which(program, path=path) is None:
            pytest.skip(f"{program} is not installed")


def mirror_of(suite: str) -> str:
    """The archive that apt has here, if it has a suite, too."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    for archive in dict.fromkeys(listed):
        try:
            urlopen(f"{archive}dists/{suite}/Release", timeout=60).close()
        except OSError:
            continue
        return archive
    pytest.skip(f"no archive of apt's here has {suite}")


def need_packages() -> None:
    """Skip where pip can't reach what packages come from."""
    asked = [sys.executable, "-m", "pip", "index", "versions", "numpy"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    need("auditwheel", "patchelf", "clang", "gcc")
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run([ROOT / "tools/wheel.sh", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel; what it depends on is that of the tests."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Behind the wheel's own packages; as `addsitedir` would follow .pth files back to the source tree.
    others = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return folder


def run_bare(folder, *argv, cwd):
    """Run it with nothing in PATH but what Debian's base has, and that without compilers."""
    shell_alone = cwd / "bin"
    shell_alone.mkdir(exist_ok=True)
    for name in ("sh", "true", "sleep"):
        (shell_alone / name).unlink(missing_ok=True)
        (shell_alone / name).symlink_to(f"/bin/{name}")
    return subprocess.run(
        [folder / "bin/schedtuna", *argv],
        env={"PATH": str(shell_alone), "HOME": str(cwd), "SCHEDTUNA_STATE_DIR": str(cwd / "state")},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tag_and_the_contents_are_what_they_should_be(wheel, installed):
    # Not older than what Debian 12 has, or the tag would promise what was not seen.
    assert re.fullmatch(r"schedtuna-[0-9.]+-py3-none-manylinux_2_(\d+)_x86_64\.whl", wheel.name)
    # suite-v1, a set of datasets, takes 1.6e6, what is native 1.5e6, and 850 modules the rest.
    assert wheel.stat().st_size < 5.1e6
    names = zipfile.ZipFile(wheel).namelist()
    assert set(PARTS) <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "schedtuna/tests"))]
    assert all((installed / path).is_file() for path in SHARED)


def test_it_runs_compares_and_records_without_a_compiler(installed, tmp_path):
    facts = json.loads(run_bare(installed, "doctor", "--json", cwd=tmp_path).stdout)
    assert "clang" in json.dumps(facts)
    where = run_bare(installed, "--version", cwd=tmp_path)
    assert where.returncode == 0, where.stderr
    asked = ["default", "fair:timer_slack_us=1", "--budget", "12", "--seed", "1", "--json"]
    done = run_bare(installed, "compare", *asked, "--", "sleep", "0.01", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"] == 12
    (tmp_path / "load.json").write_text('{"tasks": {"one": {"run": 900}}, "global": {"duration": 1}}')
    done = run_bare(installed, "sim", "run", "load.json", "--scheduler", "rr", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["overall"]["nr_tasks"] == 1
    if missing_capabilities() or not VMLINUX_BTF.exists():
        pytest.skip("may not load BPF programs here")
    done = run_bare(
        installed, "record", "--only-command", "-o", "t", "--json", "--", "sleep", "0.1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nr_events"] > 0


TRIED = """
for compiler in cc gcc clang; do
    if command -v $compiler; then exit 9; fi
done
python3 -m venv /opt/tuna
/opt/tuna/bin/pip install -q --no-index --find-links /wheels 'schedtuna[sim]'
cd /root
/opt/tuna/bin/schedtuna doctor
/opt/tuna/bin/schedtuna tune --budget 18 --seed 1 -- sh -c 'for i in 1 2 3; do :; done'
/opt/tuna/bin/schedtuna compare default fair:nice=5 --budget 12 --seed 1 --workload short-bursts
if [ -e /sys/kernel/btf/vmlinux ]; then
    /opt/tuna/bin/schedtuna record --only-command -o trace -- sh -c 'for i in 1 2 3; do :; done'
    /opt/tuna/bin/schedtuna stats trace
fi
echo '{"tasks": {"one": {"run": 1000, "sleep": 500}}, "global": {"duration": 1}}' >load.json
/opt/tuna/bin/schedtuna sim run load.json --scheduler rr
test -s /opt/tuna/share/man/man1/schedtuna.1
bash -n /opt/tuna/share/bash-completion/completions/schedtuna
/opt/tuna/bin/schedtuna undo
echo; echo "whole: $(/opt/tuna/bin/schedtuna --version)"
"""


@pytest.fixture
def room(tmp_path):
    """Where a whole system goes, which pytest would keep for three more sessions."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("suite", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_it_installs_and_works_in_a_bare_debian(suite, python, wheel, room):
    system = debian(suite, room)
    wanted = ["--only-binary", ":all:", "--python-version", python, "-d", str(system / "wheels")]
    command = [sys.executable, "-m", "pip", "download", "-q", *wanted, f"{wheel}[sim]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    broken = [line for line in done.stderr.splitlines() if "connection broken" in line]
    if done.returncode and broken:
        pytest.skip(f"pip: {broken[-1]}")
    assert done.returncode == 0, done.stderr
    assert "\nwhole: schedtuna" in run_in(system, TRIED)


@pytest.mark.long
def test_the_demo_works_in_a_bare_debian_13(room):
    need_packages()
    system = debian("trixie", room)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("needs a clone: git tells what belongs to it")
    for name in files.stdout.split("\0")[:-1]:
        copy = system / "root/clone" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)
    shutil.copy("/etc/resolv.conf", system / "etc/resolv.conf")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", system / "etc/ssl/certs/ca-certificates.crt")
    assert "\nreport: " in run_in(system, "cd /root/clone; make demo")


def run_in(system: Path, script: str) -> str:
    """Run a script as root of a system, with this machine's kernel; return what it printed."""
    (system / "root/try.sh").write_text(script)
    mounts = "; ".join(f"mount --rbind /{name} {system}/{name}" for name in ("proc", "sys", "dev"))
    kept = [f"{name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")]
    plain = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", *kept]
    inside = f"{mounts}; exec env -i {shlex.join(plain)} chroot {system} sh -eu /root/try.sh"
    command = ["unshare", "--mount", "sh", "-euc", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def debian(suite: str, folder: Path) -> Path:
    """A minimal system with Python's venv and make, from Debian's mirror; a copy of what is made once."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a Debian system")
    need("debootstrap")
    made, begun = SYSTEMS / suite, SYSTEMS / f".{suite}.begun"
    if not made.exists():
        SYSTEMS.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(begun, ignore_errors=True)
        packages = "--include=python3-venv,ca-certificates,make"
        command = ["debootstrap", "--variant=minbase", packages, suite, str(begun), mirror_of(suite)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"debootstrap: {(done.stdout or done.stderr).splitlines()[-1]}")
        begun.rename(made)
    # Not by shutil: a system has device nodes.
    subprocess.run(["cp", "-a", made, folder / suite], check=True)
    return folder / suite
