"""Runs commands as processes of their own, forked from one that has imported what they need.

A command spends most of its time on imports. One server per test process imports everything once, and forks
for each command: its streams, environment, folder, exit code and end are its own. Tests of the process itself
(signals, terminals, limits, other users, what is imported) start `python -m schedtuna`.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

# Read when Python starts or a library is imported: with others than the server's, a command starts afresh.
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "OPENBLAS", "MPL", "HOME", "XDG", "POLARS")
LIBRARIES = (
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"),
    *("scipy.linalg", "scipy.optimize", "scipy.special", "jinja2", "rich.progress", "rich.table"),
    *("schedtuna.tune.running", "schedtuna.tune.apply", "schedtuna.experiment.compare"),
    *("schedtuna.record.recorder", "schedtuna.samplers.gp", "schedtuna.cli.progress"),
)


def run_schedtuna(*arguments, env=None, cwd=None, timeout=120) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return it, with what it printed, as `subprocess.run` would."""
    argv = list(map(str, arguments))
    environment = dict(os.environ if env is None else env)
    link, its_environment = _server()
    if _of_start(environment) != its_environment:
        argv = [sys.executable, "-m", "schedtuna", *argv]
        return subprocess.run(
            argv, env=environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )
    out, out_end = os.pipe()
    error, error_end = os.pipe()
    with open(os.devnull) as nothing:  # noqa: PTH123 - a stream
        order = {"argv": argv, "env": environment, "cwd": str(cwd or Path.cwd())}
        socket.send_fds(link, [json.dumps(order).encode()], [nothing.fileno(), out_end, error_end])
    os.close(out_end)
    os.close(error_end)
    pid = int(link.recv(32))
    try:
        printed = _read_to_the_end([out, error], time.monotonic() + timeout)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(argv, timeout) from None
    finally:
        code = int(link.recv(32))
    return subprocess.CompletedProcess(argv, code, *(text.decode() for text in printed))


def _of_start(environment):
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _read_to_the_end(pipes, deadline):
    printed = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                printed[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return list(printed.values())


@cache
def _server():
    """Start the server of this process; it ends when its link is closed, at the latest with this process.

    Returns:
        The link, and what of its environment was read at its start, which a test may have changed since.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        argv = [sys.executable, __file__, str(its.fileno())]
        server = subprocess.Popen(argv, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(server.wait)
    atexit.register(ours.close)  # first
    return ours, _of_start(os.environ)


def _serve(link):
    """Fork for each order; return in the forked processes, and when there are no more orders."""
    while True:
        order, streams, _, _ = socket.recv_fds(link, 1 << 20, 3)
        if not order:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            link.close()
            return json.loads(order), streams
        for stream in streams:
            os.close(stream)
        link.send(b"%d" % pid)
        link.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def main():
    """Be the server, and then, in each forked process, the command."""
    from importlib import import_module

    from schedtuna.__main__ import run
    from schedtuna.cli.main import COMMANDS, load

    for name in LIBRARIES:
        import_module(name)
    for name in COMMANDS:
        load(name)
    gc.freeze()
    order, streams = _serve(socket.socket(fileno=int(sys.argv[1])))
    for number, (name, stream) in enumerate(zip(("stdin", "stdout", "stderr"), streams, strict=True)):
        os.dup2(stream, number)
        os.close(stream)
        old = getattr(sys, name)
        mode = "w" if number else "r"
        new: Any = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        new.reconfigure(line_buffering=old.line_buffering, write_through=old.write_through)
        setattr(sys, name, new)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["schedtuna", *order["argv"]]
    run()


if __name__ == "__main__":
    main()
