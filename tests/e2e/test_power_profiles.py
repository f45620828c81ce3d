"""The agent behind the D-Bus names of power profiles: real agent, real bus, other people's clients."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

NAME, PATH = "org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"
OLD_NAME, OLD_PATH = "net.hadess.PowerProfiles", "/net/hadess/PowerProfiles"
COMM = f"pp-{os.getpid()}"[:15]
HOG = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{COMM}', 0, 0, 0)\nwhile True: pass"
RULES = '[[rule]]\nname = "t"\nintervals = 1\nmatch = {{ comm = "{comm}" }}\nset = {{ nice = {nice} }}\n'
CONFIG = """
interval_s = 0.2
guard = false
policy = "rules:{folder}/balanced.toml"
[profiles.performance]
policy = "rules:{folder}/performance.toml"
"""
WITHIN_S = 60

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nice is put back"),
    pytest.mark.skipif(not shutil.which("gdbus"), reason="needs gdbus (libglib2.0-bin)"),
    pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="needs dbus-daemon"),
]


@pytest.fixture(scope="module")
def bus():
    argv = ["dbus-daemon", "--session", "--nofork", "--print-address=1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as daemon:
        yield daemon.stdout.readline().strip()
        daemon.terminate()


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path_factory.mktemp("profiles") / "state")}


def started(argv, env):
    command = [sys.executable, "-m", "schedtuna", "agent", *argv]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=WITHIN_S)


@pytest.fixture(scope="module")
def hog():
    process = subprocess.Popen([sys.executable, "-c", HOG])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def agent(state, hog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    for name, nice in (("balanced", 5), ("performance", 9)):
        (folder / f"{name}.toml").write_text(RULES.format(comm=COMM, nice=nice))
    (folder / "agent.toml").write_text(CONFIG.format(folder=folder))
    with ended(started(["run", "--config", folder / "agent.toml", "--only", f"pid={hog.pid}"], state)) as run:
        await_nice(hog, 5)
        yield run


@pytest.fixture
def served(agent, bus, state):
    with ended(started(["power-profiles", "--bus", bus], state)) as process:
        assert process.stderr.readline().startswith("power profiles: answered on ")
        yield process


def await_nice(hog, wanted):
    deadline = time.monotonic() + WITHIN_S
    while os.getpriority(os.PRIO_PROCESS, hog.pid) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gdbus(bus, method, *arguments, name=NAME, path=PATH):
    argv = ["gdbus", "call", "--address", bus, "--dest", name, "--object-path", path, "--method", method]
    return subprocess.run([*argv, *arguments], check=False, capture_output=True, text=True, timeout=WITHIN_S)


def choose(bus, profile):
    return gdbus(bus, "org.freedesktop.DBus.Properties.Set", NAME, "ActiveProfile", f"<'{profile}'>")


def get(bus, prop, name=NAME, path=PATH):
    return gdbus(bus, "org.freedesktop.DBus.Properties.Get", name, prop, name=name, path=path).stdout


@contextlib.contextmanager
def holding(bus, *, profile):
    """A program of GLib's that holds a profile while it lives."""
    script = (
        "import sys\n"
        "from jeepney import DBusAddress, new_method_call\n"
        "from jeepney.io.blocking import open_dbus_connection\n"
        "bus = open_dbus_connection(sys.argv[1])\n"
        f"place = DBusAddress({PATH!r}, bus_name={NAME!r}, interface={NAME!r})\n"
        "call = new_method_call(place, 'HoldProfile', 'sss', (sys.argv[2], 'the test', 'org.test'))\n"
        "print(bus.send_and_get_reply(call).body[0], flush=True)\n"
        "while True:\n"
        "    heard = bus.receive()\n"
        "    print(heard.header.fields.get(3), *heard.body, flush=True)\n"
    )
    argv = [sys.executable, "-c", script, bus, profile]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.communicate()


def test_profiles_choose_what_the_agent_does(served, bus, hog):
    assert "'balanced'" in get(bus, "ActiveProfile")
    assert choose(bus, "performance").returncode == 0
    await_nice(hog, 9)
    assert "'performance'" in get(bus, "ActiveProfile", OLD_NAME, OLD_PATH)
    assert choose(bus, "power-saver").returncode == 0
    await_nice(hog, 0)
    assert choose(bus, "balanced").returncode == 0
    await_nice(hog, 5)
    wrong = choose(bus, "turbo")
    assert "there is no profile 'turbo'" in wrong.stderr
    assert "'balanced'" in get(bus, "ActiveProfile")
    profiles = get(bus, "Profiles")
    assert all(f"'{name}'" in profiles for name in ("power-saver", "balanced", "performance"))


def test_a_hold_lasts_as_long_as_its_program(served, bus, hog):
    with holding(bus, profile="performance"):
        await_nice(hog, 9)
        assert "'the test'" in get(bus, "ActiveProfileHolds")
        with holding(bus, profile="power-saver"):
            await_nice(hog, 0)
        await_nice(hog, 9)
    await_nice(hog, 5)
    with holding(bus, profile="performance") as (cookie, process):
        assert "no hold of yours" in gdbus(bus, f"{NAME}.ReleaseProfile", str(cookie)).stderr
        assert choose(bus, "power-saver").returncode == 0
        heard = [process.stdout.readline().split() for _ in range(2)]
        assert {tuple(one) for one in heard} == {("ProfileReleased", str(cookie))}  # of each of the names
        await_nice(hog, 0)
        assert "'power-saver'" in get(bus, "ActiveProfile")
    choose(bus, "balanced")
    assert "can't be held" in gdbus(bus, f"{NAME}.HoldProfile", "balanced", "why", "who").stderr


def test_systemds_client_reads_all_of_it(served, bus):
    busctl = shutil.which("busctl")
    if busctl is None:
        pytest.skip("needs busctl")
    done = subprocess.run(  # noqa: PLW1510 - looked at below
        [busctl, f"--address={bus}", "introspect", NAME, PATH],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    for word in ("HoldProfile", "ReleaseProfile", "ProfileReleased", "ActiveProfile", "ActiveProfileHolds"):
        assert word in done.stdout


def test_it_ends_with_what_is_configured_also_by_a_kill(served, bus, hog):
    assert choose(bus, "performance").returncode == 0
    await_nice(hog, 9)
    served.kill()  # then nobody asks for it any more
    await_nice(hog, 5)


def test_who_owns_the_names_keeps_them(agent, served, bus, state):
    done = run_schedtuna("agent", "power-profiles", "--bus", bus, env=state)
    assert done.returncode == 3
    assert f"process {served.pid} owns {NAME}" in done.stderr


TAKER = """
import sys
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection(sys.argv[1])
print(bus.send_and_get_reply(message_bus.RequestName(sys.argv[2], 2 | 4)).body[0], flush=True)
sys.stdin.read()
"""


def test_who_comes_later_and_takes_the_names_is_let_have_them(served, bus, hog):
    assert choose(bus, "performance").returncode == 0
    await_nice(hog, 9)
    argv = [sys.executable, "-c", TAKER, bus, NAME]  # as power-profiles-daemon --replace does
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout.readline() == "1\n"
        assert served.wait(WITHIN_S) == 1
        assert f"another program has taken {NAME}" in served.stderr.read()
        await_nice(hog, 5)
        taker.stdin.close()


CONTROL = shutil.which("powerprofilesctl") or ""


@pytest.mark.skipif(not CONTROL, reason="needs powerprofilesctl (power-profiles-daemon)")
def test_the_daemons_own_client_chooses_and_holds(served, bus, hog):
    env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus}

    def control(*argv):
        done = subprocess.run([CONTROL, *argv], check=True, env=env, capture_output=True, text=True)
        return done.stdout

    control("set", "performance")
    await_nice(hog, 9)
    assert control("get") == "performance\n"
    assert "performance:" in control("list")
    control("set", "balanced")
    argv = [CONTROL, "launch", "-p", "power-saver", "sleep", "600"]
    with subprocess.Popen(argv, env=env, start_new_session=True) as launched:
        await_nice(hog, 0)
        os.killpg(launched.pid, signal.SIGKILL)
    await_nice(hog, 5)


def test_without_an_agent_or_a_bus_it_says_so(bus, tmp_path):
    env = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path)}
    done = run_schedtuna("agent", "power-profiles", "--bus", bus, env=env)
    assert (done.returncode, "no agent runs here" in done.stderr) == (3, True)
    done = run_schedtuna("agent", "power-profiles", "--print-bus-policy", env=env)
    assert f'<allow own="{NAME}"/>' in done.stdout
    policy = tmp_path / "policy.conf"
    policy.write_text(done.stdout)
    assert Path(policy).read_text().endswith("</busconfig>\n")
