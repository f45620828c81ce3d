"""`schedtuna serve` in a guest of the lab, asked through its relay: LiveSwap-v0 chooses on its kernel."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from tests.commands import run_schedtuna
from tests.kernel.guest_python import shared_package
from tests.kernel.lab_guest import lab_or_skip

pytestmark = pytest.mark.long
SERVES = ("fastapi", "uvicorn")
BOOT_AND_START_S = 600  # an emulated guest imports for a minute where the machine is busy
PORT = 8787
# A guest's Python has no TLS, and what serves imports it whether it is used or not.
NO_TLS = """
PROTOCOL_TLS_SERVER, CERT_NONE = 17, 0
def __getattr__(name):
    if name[0] == "_":
        raise AttributeError(name)
    return globals().setdefault(name, type(name, (OSError,), {}))
"""


def needed_by(*names):
    """The distributions that some need, these included; what only an extra asks for is not."""
    found, asked = {}, list(names)
    while asked:
        name = asked.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for other systems or Pythons
            continue
        needs = [text for text in found[name].requires or () if "extra ==" not in text]
        asked += [re.match(r"[\w.-]+", text)[0].lower() for text in needs]
    return found.values()


@pytest.fixture
def share(tmp_path):
    """A folder with what serves, and a table of who may ask; the client's token is beside it."""
    for name in SERVES:
        pytest.importorskip(name)
    folder = shared_package(lab_or_skip(), tmp_path / "share", numpy=True)
    for needed in needed_by(*SERVES):
        for file in needed.files:
            target = folder / "lib" / file
            if file.suffix in (".py", ".so") and ".." not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    (folder / "lib/ssl.py").write_text(NO_TLS)
    done = run_schedtuna("serve", "--token-file", folder / "clients.toml", "--add-client", "me:admin")
    assert done.returncode == 0, done.stderr
    (tmp_path / "token").write_text(done.stdout)
    return folder


@pytest.fixture
def relayed(share, tmp_path):
    """The relay's URL, once the server in the guest answers."""
    serve = (
        f"PYTHONPATH=/share/lib exec python3 -m schedtuna serve --bind 127.0.0.1:{PORT} --state /root/serve"
    )
    serve += " --token-file /share/clients.toml --allow-commands --user nobody"
    argv = [sys.executable, "-m", "schedtuna", "lab", "forward", "--cpus", "2", "--share", share, f"0:{PORT}"]
    log = tmp_path / "forward.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*argv, "--", "sh", "-c", serve], stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + BOOT_AND_START_S
        while "serving on" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        found = re.search(r"(127\.0\.0\.1:\d+) is the guest's port", log.read_text())
        yield f"http://{found[1]}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def test_schedulers_are_chosen_step_by_step_in_a_guest_behind_its_relay(relayed, tmp_path):
    gymnasium = pytest.importorskip("gymnasium")
    import schedtuna.env  # noqa: F401 - registers them
    from schedtuna.backend.places.remote import Remote

    place = Remote(url=relayed, token_file=tmp_path / "token")
    assert place.there.machine["kernel_release"] != os.uname().release
    env = gymnasium.make(
        "schedtuna/LiveSwap-v0",
        place=place,
        schedulers=("default", "fair:slice_us=3000"),
        workload="switch",
        step_s=5,
        discard_s=2,
        steps=2,
        steps_per_load=2,
        disable_env_checker=True,
    ).unwrapped
    try:
        observation, info = env.reset(seed=1)
        assert (env.observation_space.contains(observation), info["unknown"]) == (True, [])
        for action, truncated in ((1, False), (0, True)):
            observation, _, _, ended, info = env.step(action)
            assert (ended, info["failed"]) == (truncated, "")
            assert info["figures"]["turnaround"] > 0
            assert env.observation_space.contains(observation)
    finally:
        env.close()
