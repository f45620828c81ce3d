"""Guests to talk to, as a person at a terminal does."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest
from tests.kernel.lab_guest import lab_or_skip

SCHEDTUNA = [sys.executable, "-m", "schedtuna", "lab"]
WITHIN_S = 150
# Answers what it gets in capitals, once, and ends.
SERVER = (
    "import socket; server = socket.create_server(('127.0.0.1', 80)); connection, _ = server.accept();"
    "connection.sendall(connection.recv(100).upper()); connection.close(); print('served')"
)


class Terminal:
    """A terminal with a command in it."""

    def __init__(self, *argv):
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (37, 111))
        self.process = subprocess.Popen(
            [*SCHEDTUNA, *argv], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        self.settings = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.seen = ""

    def type(self, text):
        os.write(self.ours, text.encode())

    def until(self, pattern):
        """Read until something shows; what was before is forgotten."""
        deadline = time.monotonic() + WITHIN_S
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.ours], [], [], 1)[0]:
                self.seen += os.read(self.ours, 4096).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture
def terminal(lab):
    opened = Terminal("shell", "--cpus", "1")
    yield opened
    opened.close()


def test_a_shell_is_a_real_terminal_and_leaves_ours_as_it_was(terminal, lab):
    terminal.until(r"root@lab:~# ")
    assert termios.tcgetattr(terminal.theirs) != terminal.settings  # every key is passed on
    terminal.type("uname -r; stty size; tty\r")
    terminal.until(re.escape(lab.default_kernel) + r"\s+37 111\s+/dev/hvc0")
    termios.tcsetwinsize(terminal.theirs, (50, 90))
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.type("until [ \"$(stty size)\" = '50 90' ]; do sleep 0.1; done; echo re''sized\r")
    terminal.until(r"resized\s")  # with no line before it where bash drew its own anew
    terminal.type("sh -c 'echo up; exec sleep 1000'\r")
    terminal.until(r"\nup\s")
    terminal.type("\x03")
    terminal.until(r"\^C\s+root@lab")
    assert terminal.process.poll() is None  # Ctrl-C went inside
    terminal.type("exit 7\r")
    assert terminal.process.wait(WITHIN_S) == 7
    assert termios.tcgetattr(terminal.theirs) == terminal.settings


def test_a_shell_that_is_terminated_leaves_the_terminal_as_it_was(terminal):
    terminal.until(r"root@lab:~# ")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(WITHIN_S) == 130
    assert termios.tcgetattr(terminal.theirs) == terminal.settings


def test_a_boot_says_what_booted_and_how_long_it_took(lab):
    done = subprocess.run(
        [*SCHEDTUNA, "boot", "--json", "--console"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["kernel"] == lab.default_kernel
    assert found["sched_ext"] == "disabled"
    assert found["cpu_s"] > 0


def test_a_port_here_is_a_servers_in_the_guest(lab):
    argv = [*SCHEDTUNA, "forward", "--cpus", "1", "0:80", "--", "python3", "-c", SERVER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert "kernel" in running.stderr.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+) is the guest's port 80", running.stderr.readline())[1])
        assert answer(port, b"from here") == b"FROM HERE"
        output, errors = running.communicate(timeout=WITHIN_S)
    assert running.returncode == 0, errors
    assert output == "served\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def answer(port, text):
    """Ask until the server is up: a connection is ended while nobody listens in the guest."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as connection:
            try:
                connection.sendall(text)
                if found := connection.recv(100):
                    return found
            except ConnectionResetError:
                pass
        time.sleep(0.2)
    raise AssertionError("the server never answered")


@pytest.mark.parametrize("ports", ["80", "a:b", "8080:0", "8080:70000", "-1:80"])
def test_ports_that_are_none_are_refused(ports):
    done = subprocess.run(
        [*SCHEDTUNA, "forward", "--", ports, "true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "names no ports" in done.stderr
