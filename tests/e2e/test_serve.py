"""A server of workloads, asked over HTTP as strangers, clients and careless clients do."""

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.commands import run_schedtuna
from tests.servers import serving, submission

pytest.importorskip("fastapi")
MOST_BODY = 256 << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


def raw(server, data, *, limit_s=30):
    """What a server answers to bytes of one's own; empty: it closed the connection."""
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=limit_s) as link:
        link.sendall(data)
        return link.recv(1 << 16)


def processes_with(mark):
    """Processes that have a word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def until_gone(mark, limit_s):
    end = time.monotonic() + limit_s
    while (left := processes_with(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def test_nothing_but_its_health_is_told_without_a_token(server):
    assert server.ask("GET", "/health", token="")[0] == 200
    for method, path in (
        ("GET", "/capabilities"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("POST", "/trials"),
        ("GET", "/trials/" + 32 * "0"),
        ("GET", "/no/such/thing"),
    ):
        status, headers, told = server.ask(method, path, headers={"Authorization": ""})
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert "token" in told["message"]


def test_a_trial_has_metrics_a_manifest_and_a_scheduler_that_was_put_on(server):
    scheduler = {"name": "fair", "values": {"nice": 3}}
    told = server.wait(server.submit("sh", "-c", "echo nice $(ps -o ni= -p $$)", scheduler=scheduler, seed=5))
    outcome = told["outcome"]
    assert (told["state"], outcome["problem"]) == ("done", None)
    assert outcome["trial"]["validity"] == "ok", outcome
    assert outcome["trial"]["values"] == {"nice": 3}
    assert outcome["trial"]["in_force"] == {"nice": "in force"}
    assert outcome["trial"]["metrics"]["wall_time_s"] > 0
    assert outcome["manifest"]["machine"]["kernel_release"] == os.uname().release
    assert told["submitted_at"] <= told["started_at"] <= told["ended_at"] <= told["now"]


def test_a_submission_that_is_sent_again_is_the_same_trial(server, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    count = folder / "count"
    asked = submission("sh", "-c", f"echo ran >> {count}; sleep 0.3")
    answers = {server.ask("POST", "/trials", asked)[0] for _ in range(3)}
    server.wait(asked["submit_id"])
    answers.add(server.ask("POST", "/trials", asked)[0])
    assert answers == {202}
    assert server.wait(asked["submit_id"])["state"] == "done"
    assert not count.exists() or count.read_text() == "ran\n"  # pytest's folders may be closed to nobody
    status, _, told = server.ask("POST", "/trials", {**asked, "seed": 9})
    assert status == 409
    assert "another trial" in told["message"]


def test_a_cancelled_trial_is_gone_with_its_tree_within_two_seconds(server):
    mark = "987.123"
    trial = server.submit("sh", "-c", f"setsid sleep {mark} & sleep {mark}")
    server.wait(trial, "running")
    end = time.monotonic() + 30
    while not processes_with(mark) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_with(mark)
    status, _, told = server.ask("DELETE", f"/trials/{trial}")
    assert (status, told["state"]) == (200, "cancelled")
    assert until_gone(mark, 2.0) == []
    assert server.ask("DELETE", f"/trials/{trial}")[2]["state"] == "cancelled"


def test_a_trial_that_waits_can_be_cancelled_and_never_runs(server):
    first, second = server.submit("sleep", "30"), server.submit("sleep", "30")
    assert server.wait(second, "queued")["nr_before"] == 1
    assert server.ask("DELETE", f"/trials/{second}")[2]["started_at"] is None
    assert server.ask("DELETE", f"/trials/{first}")[2]["state"] == "cancelled"


def test_a_client_that_has_gone_takes_its_trial_with_it(server):
    mark = "986.123"
    trial = server.submit("sleep", mark, lease_s=2)
    end = time.monotonic() + 60
    while server_state(server, trial) != "failed" and time.monotonic() < end:
        time.sleep(0.2)
    assert until_gone(mark, 2.0) == []
    assert "not heard of for 2 s" in server.ask("GET", f"/trials/{trial}")[2]["reason"]


def server_state(server, trial):
    """A trial's state by the server's own file: to ask would renew the lease."""
    text = (server.token_file.parent / "trials" / f"{trial}.json").read_text()
    return re.search(r'"state":"(\w+)"', text)[1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[" * 50_000, 400),
        (b'{"submit_id": "../../etc/passwd", "command": {"argv": ["true"]}}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'"}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "workload": "../../bin/true"}', 403),
        (b'{"submit_id": "' + b"0" * 32 + b'", "workload": "pipes", "command": {"argv": ["true"]}}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "version": 99}', 409),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "parser": "os:system"}', 403),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "timeout_s": 1e5}', 403),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "seed": -1}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "seed": NaN}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["true"]}, "what": 1}', 422),
        (b"\xff\xfe", 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "command": {"argv": ["a\\u0000b"]}}', 422),
        (b'{"submit_id": "' + b"0" * 32 + b'", "workload": "\\ud800"}', 422),
    ],
)
def test_what_is_malformed_is_refused_with_what_is_wrong(server, body, status):
    found, _, told = server.ask("POST", "/trials", body, headers={"Content-Type": "application/json"})
    assert found == status, told
    assert told["message"]
    assert server.ask("GET", "/trials/" + "0" * 32)[0] == 404


def test_no_path_sends_a_client_and_its_token_to_another_host(server):
    for path in ("/capabilities/", "/trials/", "/trials/%2e%2e%2f"):
        status, headers, _ = server.ask("GET", path, headers={"Host": "elsewhere.example"})
        assert (status, headers["Location"]) == (404, None), path


def test_mistakes_in_a_trial_are_its_outcome(server):
    for fields, kind in (
        ({"metrics": ["no_such_metric:min"]}, "MetricError"),
        ({"scheduler": {"name": "scx_no_such_thing"}}, "UsageError"),
        ({"scheduler": {"name": "fair", "values": {"nice": 99}}}, "OutOfBoundsError"),
        ({"metrics": ["x:min=regex:("]}, "UsageError"),
    ):
        told = server.wait(server.submit("true", **fields))
        assert told["outcome"]["trial"] is None
        assert told["outcome"]["problem"]["message"]
        assert told["outcome"]["problem"]["kind"] == kind, told
    told = server.wait(server.submit("no-such-program-anywhere"))
    assert told["outcome"]["problem"]["kind"] == "WorkloadError"


def test_bodies_are_counted_by_the_server_itself(server):
    head = f"POST /trials HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n".encode()
    too_long = raw(server, head + f"Content-Length: {MOST_BODY + 1}\r\n\r\n".encode())
    assert too_long.startswith(b"HTTP/1.1 413")
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    chunked = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9)
    assert chunked.startswith(b"HTTP/1.1 413")


def test_headers_and_paths_of_strangers_lead_nowhere(server):
    token = server.token
    for head in (
        b"GET /trials/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /trials/%%2e%%2e%%2f%%2e%%2e%%2fetc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /schedulers/..%%2f..%%2fbin%%2fsh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /schedulers/fair?include=%%00 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /trials/%%0d%%0aSet-Cookie:%%20a=b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n",
    ):
        answer = raw(server, head % token.encode())
        assert re.match(rb"HTTP/1.1 4(04|22) ", answer), answer
        assert b"root:" not in answer
        assert not re.search(rb"^set-cookie", answer, re.IGNORECASE | re.MULTILINE)
    split = raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\r\n b\nEvil\x00: c\r\n\r\n")
    assert split.startswith(b"HTTP/1.1 400") or split == b""
    smuggled = b"POST /trials HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
    assert raw(server, smuggled).startswith(b"HTTP/1.1 400")


def test_slow_clients_are_not_waited_for(server):
    silent = raw(server, b"GET /health HT", limit_s=40)
    assert silent == b""
    head = f"POST /trials HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n".encode()
    assert raw(server, head + b"Content-Length: 100\r\n\r\n{", limit_s=40).startswith(b"HTTP/1.1 408")


def test_two_hundred_clients_at_once_are_all_answered(server):
    def one(number):
        if number % 2:
            return server.ask("GET", "/health", token="", timeout=120)[0]
        return server.ask("GET", "/trials/" + f"{number:032x}", timeout=120)[0]

    with ThreadPoolExecutor(200) as pool:
        statuses = list(pool.map(one, range(400)))
    assert set(statuses[1::2]) == {200}
    assert set(statuses[0::2]) <= {404, 429}
    assert statuses.count(404) >= 100


def test_what_prometheus_asks_for_is_told(server):
    text = server.ask("GET", "/metrics")[2].decode()
    assert re.search(r'^schedtuna_server_trials_total\{state="submitted"\} \d+$', text, re.MULTILINE)
    assert re.search(r"^schedtuna_server_trials_running 0$", text, re.MULTILINE)


def test_roles_revocation_rotation_and_expiry_need_no_restart(tmp_path):
    tokens = tmp_path / "clients.toml"

    def new_token(client, *options):
        done = run_schedtuna("serve", "--token-file", tokens, "--add-client", client, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    submitter, reader = new_token("one"), new_token("two:read")
    expired = new_token("three:admin", "--expires", "1s")
    time.sleep(1.1)
    with serving(tmp_path, "--token-file", str(tokens), "--queue", "1") as server:
        asked = submission("sleep", "30")
        assert server.ask("POST", "/trials", asked, token=submitter)[0] == 202
        path = f"/trials/{asked['submit_id']}"
        assert server.ask("POST", "/trials", submission(), token=reader)[0] == 403
        assert server.ask("GET", "/metrics", token=submitter)[0] == 403
        assert server.ask("GET", "/metrics", token=reader)[0] == 200
        assert server.ask("GET", path, token=reader)[0] == 200
        assert server.ask("DELETE", path, token=reader)[0] == 404
        assert server.ask("GET", path, token=expired)[0] == 401
        other = new_token("four")
        assert server.ask("GET", path, token=other)[0] == 404  # it is somebody's else
        waiting = submission("true")
        assert server.ask("POST", "/trials", waiting, token=other)[0] == 202
        status, headers, _ = server.ask("POST", "/trials", submission("true"), token=other)
        assert (status, headers["Retry-After"]) == (429, "5")
        rotated = new_token("one")
        assert server.ask("GET", path, token=submitter)[0] == 401
        assert server.ask("DELETE", path, token=rotated)[0] == 200
        kept = tokens.read_text()
        tokens.write_text("clients = 3\n")  # damaged: nobody may do anything, until it is whole again
        assert server.ask("GET", path, token=rotated)[0] == 401
        tokens.write_text(kept)
        assert server.ask("GET", path, token=rotated)[0] == 200
        statuses = [server.ask("GET", path, token="guess")[0] for _ in range(30)]
        assert statuses[0] == 401
        assert statuses[-1] == 429


def test_a_server_killed_in_a_trial_says_so_when_it_is_back_and_puts_everything_back(tmp_path):
    mark = "985.123"
    with serving(tmp_path) as server:
        trial = server.submit("sleep", mark, scheduler={"name": "fair", "values": {"nice": 2}})
        waiting = submission("true")
        assert server.ask("POST", "/trials", waiting)[0] == 202
        end = time.monotonic() + 60
        while not processes_with(mark) and time.monotonic() < end:
            time.sleep(0.05)
        assert processes_with(mark)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(30)
        assert until_gone(mark, 10.0) == []
    with serving(tmp_path) as server:
        told = server.ask("GET", f"/trials/{trial}")[2]
        assert told["state"] == "failed"
        assert told["reason"].startswith("interrupted")
        assert server.wait(waiting["submit_id"])["state"] == "done"
        again = run_schedtuna(
            "undo", "--dry-run", "--json", env={**os.environ, "SCHEDTUNA_STATE_DIR": str(server.state)}
        )
        assert '"changes": []' in again.stdout


def test_only_named_workloads_run_unless_commands_are_allowed(tmp_path):
    with serving(tmp_path, "--suite", "short-bursts", commands=False) as server:
        assert server.ask("POST", "/trials", submission("true"))[0] == 403
        named = {"submit_id": 32 * "a", "workload": "pipes"}
        assert server.ask("POST", "/trials", named)[0] == 403
        there = server.ask("GET", "/capabilities")[2]
        assert [row["name"] for row in there["workloads"]] == ["short-bursts"]
        trial = {"submit_id": 32 * "b", "workload": "short-bursts", "metrics": ["p99_us:min"], "seed": 4}
        assert server.ask("POST", "/trials", trial)[0] == 202
        assert server.wait(32 * "b")["outcome"]["trial"]["metrics"]["p99_us"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bind", "0.0.0.0:0"], "tokens of your own and TLS"),
        (["--bind", "nowhere"], "tokens of your own and TLS"),
        (["--bind", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--tls-cert", "cert.pem"], "certificate and its key"),
        (["--suite", "no-such"], "unknown workload"),
        (["--token-file", "nothing.toml"], "nothing.toml"),
        (["--add-client", "x"], "needs --token-file"),
        (["--expires", "1d"], "needs --add-client"),
        (["--add-client", "x:king", "--token-file", "t.toml"], "no role 'king'"),
        (["--add-client", "../x", "--token-file", "t.toml"], "can't be called"),
    ],
)
def test_a_server_that_would_be_open_or_is_misspelt_does_not_start(options, said, tmp_path):
    done = run_schedtuna("serve", "--state", tmp_path / "s", *options, cwd=tmp_path)
    assert done.returncode in (2, 3), done.stderr
    assert said in done.stderr


def test_a_new_client_is_one_json_object_and_its_file_holds_no_token(tmp_path):
    file = tmp_path / "t.toml"
    done = run_schedtuna("serve", "--token-file", file, "--add-client", "one:read,submit", "--json")
    told = json.loads(done.stdout)
    assert (told["client"], told["roles"], len(told["token"]) > 40) == ("one", ["read", "submit"], True)
    assert told["token"] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is refused")
def test_root_runs_no_commands_of_clients(tmp_path):
    for options in ([], ["--user", "root"]):
        done = run_schedtuna("serve", "--allow-commands", "--state", tmp_path / "s", *options)
        assert (done.returncode, "not run as root" in done.stderr) == (2, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_what_serves_http_has_no_privilege(server):
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    fronts = [
        pid for pid in children if b"schedtuna.server.front" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(fronts) == 1
    status = Path(f"/proc/{fronts[0]}/status").read_text()
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^CapPrm:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert "Uid:\t0\t" not in status
