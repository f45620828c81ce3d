"""Real servers for tests: `schedtuna serve` in a process of its own, on a free port of the loopback."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START_S = 90
UNPRIVILEGED = ["--user", "nobody"] if os.geteuid() == 0 else []  # clients' commands are never run as root


@dataclass
class RunningServer:
    """A server, and a way to ask it.

    Attributes:
        url, pid, token_file: As it says them.
        state: Its journal's folder.
    """

    url: str
    pid: int
    token_file: Path
    state: Path
    process: Any = field(repr=False)

    @property
    def token(self):
        return self.token_file.read_text().strip()

    def ask(self, method, path, body=None, *, token=None, headers=None, timeout=60):
        """Ask once; returns the status, the headers and the JSON object."""
        said = {"Authorization": f"Bearer {self.token if token is None else token}"} | (headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            said.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, said)
            answer = connection.getresponse()
            content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(content) if is_json else content

    def submit(self, *argv, **fields):
        """Submit a command; returns its id."""
        told = submission(*argv, **fields)
        status, _, answer = self.ask("POST", "/trials", told)
        assert status == 202, answer
        return told["submit_id"]

    def wait(self, trial_id, *states, limit_s=60):
        """Wait until a trial is in one of some states, the ends if none is named; returns its status."""
        states = states or ("done", "failed", "cancelled")
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            status, _, told = self.ask("GET", f"/trials/{trial_id}?wait_s=5")
            assert status == 200, told
            if told["state"] in states:
                return told
        raise AssertionError(f"{trial_id} is {told['state']}")


def submission(*argv, **fields):
    """What travels for a command."""
    return {
        "submit_id": uuid.uuid4().hex,
        "command": {"argv": argv or ("true",)},
        "timeout_s": 60,
        **fields,
    }


def as_another_machine(folder):
    """What a command begins with that sees another /etc/machine-id; needs root."""
    path = folder / "machine-id"
    path.write_text(uuid.uuid4().hex + "\n")
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {path} /etc/machine-id && exec "$@"', "sh"]


@contextlib.contextmanager
def serving(folder, *options, commands=True, before=()):
    """A server that is ended with the context, where it has not been ended before."""
    argv = [*before, sys.executable, "-m", "schedtuna", "serve", "--bind", "127.0.0.1:0", "--json", "--state"]
    argv += ["serve", *(["--allow-commands", *UNPRIVILEGED] if commands else []), *options]
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(folder / "state")}
    with (folder / "serve.log").open("a") as log:
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        line = process.stdout.readline()
        assert line, (folder / "serve.log").read_text()
        told = json.loads(line)
        token_file = Path(told["token_file"] or folder / "token")
        yield RunningServer(told["url"], told["pid"], token_file, folder / "state", process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
