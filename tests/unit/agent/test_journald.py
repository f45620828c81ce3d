"""The agent's rows in systemd's journal: against a socket, and where it can be had, against the real one."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.agent.rows import intent

from schedtuna.agent.journald import FIELDS, PREFIX, PRIORITIES, Journald, entry, opened_where_asked
from schedtuna.agent.log import AgentLog, intent_row

MADE = {"kind": "decision", "result": "made", **intent_row(intent(comm="one\ntwo"))}


def of(row, message):
    """An entry of a row that has one."""
    found = entry(row, message)
    assert found is not None
    return found


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "socket"))
        line.settimeout(30)
        yield line


def parsed(data):
    """An entry, read by the protocol's own description."""
    fields = {}
    while data:
        head, _, rest = data.partition(b"\n")
        if b"=" in head:
            name, _, value = head.partition(b"=")
            data = rest
        else:
            name, (size,) = head, struct.unpack_from("<Q", rest)
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_a_decision_has_its_fields(listener, tmp_path):
    journald = Journald(tmp_path / "socket")
    journald.send(of(MADE, "set nice"))
    fields = parsed(listener.recv(1 << 16))
    journald.close()
    assert fields["MESSAGE"] == "set nice"
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("6", "schedtuna")
    assert fields["SCHEDTUNA_ID"] == intent().id
    assert (fields["SCHEDTUNA_SETTING"], fields["SCHEDTUNA_NEW"]) == ("nice", "10")
    assert fields["SCHEDTUNA_TARGET"] == "one\ntwo (7)"  # a newline makes no field of its own
    assert fields["OBJECT_PID"] == "7"
    own = {PREFIX + name for name in FIELDS}
    assert fields.keys() <= {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "OBJECT_PID", *own}


def test_what_is_too_long_for_a_datagram_goes_as_a_sealed_file(listener, tmp_path):
    journald = Journald(tmp_path / "socket")
    journald.send(of({**MADE, "reason": "x" * (1 << 20)}, "long"))
    data, files, _, _ = socket.recv_fds(listener, 16, 1)
    journald.close()
    assert (data, journald.nr_lost) == (b"", 0)
    (file,) = files
    with os.fdopen(file, "rb") as content:
        content.seek(0)
        assert len(parsed(content.read())["SCHEDTUNA_REASON"]) == 1 << 20
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(file, 0)


def test_rows_of_each_few_seconds_are_not_for_it_and_nothing_waits_for_it(tmp_path):
    assert entry({"kind": "snapshot"}, "") is None
    assert all(entry({"kind": kind}, "x") for kind in PRIORITIES)
    journald = Journald(tmp_path / "nobody")
    journald.send(of(MADE, "x"))
    journald.close()
    assert journald.nr_lost == 1


def test_it_is_sent_to_where_systemd_runs_it(listener, tmp_path):
    place = tmp_path / "socket"
    assert opened_where_asked({}, place) is None
    assert opened_where_asked({"JOURNAL_STREAM": "8:1"}, tmp_path / "nobody") is None
    journald = opened_where_asked({"JOURNAL_STREAM": "8:1"}, place)
    log = AgentLog(tmp_path / "state", also=lambda row: journald.send(entry(row, "m") or b"MESSAGE=none\n"))
    log.write("yield", who="chrt", what="nice to 3", **intent_row(intent()))
    log.close()
    journald.close()
    fields = parsed(listener.recv(1 << 16))
    assert (fields["SCHEDTUNA_KIND"], fields["PRIORITY"]) == ("yield", "5")


JOURNALD = Path("/lib/systemd/systemd-journald")
# In its own mounts, so that neither this machine's journal nor its folders are touched.
REAL = """
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald > /dev/null 2>&1 &
journald=$!
trap 'kill $journald' EXIT
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
"$@"
journalctl --sync
journalctl -D /run/log/journal -o json SCHEDTUNA_SETTING=nice
"""
SENDER = """
import sys
from schedtuna.agent.journald import Journald, entry
journald = Journald()
journald.send(entry(eval(sys.argv[1]), "set nice"))
assert journald.nr_lost == 0
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, and unshare")
@pytest.mark.skipif(not JOURNALD.exists(), reason="systemd-journald is not installed")
def test_the_real_journal_has_the_fields():

    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", REAL, "sh"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", SENDER, repr(MADE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if not done.stdout.strip():
        pytest.skip(f"systemd-journald does not run here: {done.stderr.strip()[-300:]}")
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (found["MESSAGE"], found["SCHEDTUNA_ID"]) == ("set nice", intent().id)
    assert found["SCHEDTUNA_TARGET"] == "one\ntwo (7)"
