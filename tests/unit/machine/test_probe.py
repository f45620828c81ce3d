import os
import socket

import pytest

from schedtuna.machine.probe import Probe, run_tool


def test_missing_files_and_folders_are_none(machine):
    probe = machine({"proc/a": "1"})
    assert probe.read("proc/a") == "1"
    assert probe.read("proc/b") is None
    assert probe.read("proc") is None
    assert probe.read_int("proc/b") is None
    assert probe.names("nowhere") == []
    assert not probe.exists("proc/a/b")
    assert not probe.writable("proc/b")


@pytest.mark.parametrize("text", ["", "12 apples", "0x10"])
def test_no_integer_is_none(machine, text):
    assert machine({"proc/a": text}).read_int("proc/a") is None


def test_undecodable_bytes_do_not_raise(machine):
    assert machine({"proc/a": b"\xffabc\x00"}).read("proc/a") == "\ufffdabc"


def test_a_leading_slash_stays_below_the_root(machine):
    assert machine({"proc/a": "1"}).read("/proc/a") == "1"


def test_sysctls_of_the_running_kernel_can_be_read():
    assert Probe.live().read("proc/sys/kernel/hostname") == socket.gethostname()


def test_commands_are_found_on_the_environments_path(machine, tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert machine({}, path=str(tmp_path)).which("tool") == str(tool)
    assert machine({}, path="/nowhere").which("tool") is None


def test_tools_that_fail_or_hang_say_nothing():
    assert run_tool(["echo", "hello"]) == "hello\n"
    assert run_tool(["false"]) is None
    assert run_tool(["/no/such/tool"]) is None
    assert run_tool(["sleep", "10"], timeout_s=0.05) is None


def test_without_a_running_kernel_no_tool_runs(machine):
    assert machine({}, path="/bin:/usr/bin").output("echo", "hello") is None


def test_writable_is_what_opens_not_what_the_mode_says(machine):
    """A locked-down kernel refuses files whose mode allows writing; so does a pipe without a reader."""
    probe = machine({"proc/a": "1"})
    os.mkfifo(probe.path("proc/pipe"), 0o666)
    assert probe.writable("proc/a")
    assert probe.writable("proc")
    assert not probe.writable("proc/pipe")
    assert probe.read("proc/a") == "1"
