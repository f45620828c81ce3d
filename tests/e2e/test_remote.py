"""Studies whose runs are made by a server: a real one, on the loopback."""

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.e2e.test_serve import processes_with, until_gone
from tests.servers import serving

from schedtuna.backend.agent_client import AgentClient, LostAgentError
from schedtuna.backend.conformance import check_place
from schedtuna.backend.places.registry import make_place
from schedtuna.backend.places.remote import Remote
from schedtuna.errors import StudyError, UnavailableError, UsageError
from schedtuna.workload.spec import RunSpec, Workload

pytest.importorskip("fastapi")
TRUE = Workload(argv=("true",))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def place(server):
    return make_place(server.url, {"token_file": server.token_file})


def options(server):
    return ["--backend", server.url, "--token-file", server.token_file]


def test_another_machine_keeps_the_contract_of_places(place):
    check_place(place)


def test_a_comparison_is_made_there(server, tmp_path):
    done = run_schedtuna(
        *("compare", *options(server), "default", "fair:nice=1", "--budget", "12", "--seed", "3"),
        *("--results", tmp_path, "--json", "--", "sh", "-c", "sleep 0.01"),
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["trials"] == 12
    assert told["places"][0]["url"] == server.url
    assert server.token not in json.dumps(told)
    trials = (Path(told["study"]) / "trials.jsonl").read_text().splitlines()
    ran = [json.loads(line)["trial"] for line in trials[1:]]
    assert [trial["in_force"] for trial in ran if trial["values"]] == [{"nice": "in force"}] * 4
    # Each block is of one machine, and of all arms.
    assert server.token not in "".join(path.read_text() for path in Path(told["study"]).glob("*.json*"))


def test_a_token_may_stand_in_the_environment(server, tmp_path):
    done = run_schedtuna(
        *("variability", "--backend", server.url, "-n", "2", "--results", tmp_path, "--", "true"),
        env={**os.environ, "SCHEDTUNA_TOKEN": server.token, "SCHEDTUNA_STATE_DIR": str(tmp_path / "s")},
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs, 0 failed" in done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_over_tls_its_certificate_is_checked(tmp_path):
    """With paths as one types them, although its processes work in other folders."""
    asked = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*asked, *files], cwd=tmp_path, check=True, capture_output=True)
    with serving(tmp_path, "--tls-cert", "cert.pem", "--tls-key", "key.pem") as server:
        assert server.url.startswith("https://")
        command = ("variability", "--backend", server.url, "-n", "2", "--results", tmp_path, "--", "true")
        own = {"SCHEDTUNA_TOKEN": server.token, "SCHEDTUNA_STATE_DIR": str(tmp_path / "s")}
        strange = run_schedtuna(*command, env=os.environ | own)
        trusted = run_schedtuna(
            *command, env=os.environ | own | {"SSL_CERT_FILE": str(tmp_path / "cert.pem")}
        )
    assert (strange.returncode, "is not trusted" in strange.stderr) == (3, True), strange.stderr
    assert trusted.returncode == 0, trusted.stderr
    assert "2 runs, 0 failed" in trusted.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "http://user:secret@127.0.0.1:1"], "does not belong into a URL"),
        (["--backend", "http://127.0.0.1:1/path"], "no address of a server"),
        (["--backend", "http://127.0.0.1:port"], "no address"),
        (["--backend", "http"], "no address of a server"),
        (["--backend", "http://127.0.0.1:1"], "needs a token"),
        (["--backend", "http://127.0.0.1:1", "--token-file", "none"], "can't read --token-file"),
        (["--backend", "http://127.0.0.1:1", "--cpus", "2"], "--cpus needs --backend vm or sim"),
        (["--token-file", "none"], "--token-file needs --backend http"),
    ],
)
def test_what_names_no_machine_is_refused(arguments, said, tmp_path):
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    environment.pop("SCHEDTUNA_TOKEN", None)
    done = run_schedtuna("variability", *arguments, "--", "true", env=environment, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_wrong_token_is_said_at_once(server, tmp_path):
    (tmp_path / "token").write_text("wrong\n")
    with pytest.raises(UnavailableError, match="expected a token"):
        make_place(server.url, {"token_file": tmp_path / "token"}).nr_cpus()


def test_what_is_of_this_machine_does_not_travel(place, tmp_path):
    with pytest.raises(UsageError, match="is said there"):
        place.identity(Workload(argv=("true",), user="nobody"))
    with pytest.raises(UsageError, match="folder of this machine"):
        place.identity(Workload(argv=("true",), folder=tmp_path))


def test_ctrl_c_ends_the_trial_there(server, tmp_path):
    mark = "984.123"
    argv = [sys.executable, "-m", "schedtuna", "variability", *map(str, options(server)), "-n", "3"]
    argv += ["--results", str(tmp_path), "--", "sleep", mark]
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as study:
        end = time.monotonic() + 90
        while (
            len(processes_with(mark)) < 3 and time.monotonic() < end
        ):  # the study, the launcher, the command
            time.sleep(0.05)
        study.send_signal(signal.SIGINT)
        assert study.wait(60) == 130, study.stdout.read()
    assert until_gone(mark, 5.0) == []


def test_a_run_that_the_servers_end_interrupts_is_a_failed_one_and_the_study_goes_on(tmp_path):
    with serving(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        place = make_place(server.url, {"token_file": server.token_file})
        default = place.scheduler("default")
        with place.open(RunSpec(workload=TRUE), [default]) as backend:
            assert backend.run(TRUE, default, seed=1).validity == "ok"
            killer = subprocess.Popen(["sh", "-c", f"sleep 3; kill -9 {server.pid}"])
            restarted = subprocess.Popen(
                [
                    *(sys.executable, "-c"),
                    "import subprocess, sys, time; time.sleep(5); sys.exit(subprocess.call(sys.argv[1:]))",
                    *(sys.executable, "-m", "schedtuna", "serve", "--bind", f"127.0.0.1:{port}"),
                    *("--state", str(tmp_path / "serve"), "--suite", "pipes"),
                ],
                env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                trial = backend.run(Workload(argv=("sleep", "30")), default, seed=2)
            finally:
                killer.wait()
                os.killpg(restarted.pid, signal.SIGTERM)
                restarted.wait()
    assert trial.validity == "failed"
    assert "interrupted" in trial.reason


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_told):
        pass


def test_a_machine_that_does_not_come_back_is_lost():
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        client = AgentClient(f"http://127.0.0.1:{server.server_port}", "token", patience_s=0.5)
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        assert client.ask("GET", "/health") == {}
        answering.join()
    with client, pytest.raises(LostAgentError, match=r"no answer from http://127.* for 0\.5 s") as lost:
        client.ask("GET", "/health")
    assert "--resume goes on" in str(lost.value.hint)


def test_a_machine_that_was_never_there_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr("schedtuna.backend.agent_client.FIRST_PATIENCE_S", 0.3)
    with AgentClient("http://127.0.0.1:1", "token") as client:
        with pytest.raises(LostAgentError, match=r"for 0\.3 s") as lost:
            client.ask("GET", "/health")
        assert "--resume" not in str(lost.value.hint)  # nothing has begun


def test_another_machine_at_the_address_ends_the_study(place):
    default = place.scheduler("default")
    with place.open(RunSpec(workload=TRUE), [default]) as backend:
        machine = {**backend._there.machine, "kernel_release": "6.99"}
        backend._there = backend._there.model_copy(update={"machine": machine})
        with pytest.raises(StudyError, match=r"kernel_release is .*, and was 6\.99"):
            backend.run(TRUE, default, seed=1)


def test_times_are_told_by_this_machines_clock(place, monkeypatch):
    default = place.scheduler("default")
    with place.open(RunSpec(workload=TRUE), [default]) as backend:
        before = time.time()
        backend._client.offset_s = 1000.0
        trial = backend.run(TRUE, default, seed=1)
    assert trial.started_at < before - 900


def test_a_place_keeps_where_its_token_is_and_never_the_token(server, place):
    assert server.token not in place.model_dump_json()
    assert Remote.model_validate_json(place.model_dump_json()) == place
    assert place.options() == ("--backend", server.url, "--token-file", str(server.token_file))


def test_schedulers_are_chosen_step_by_step_on_another_machine(server):
    gymnasium = pytest.importorskip("gymnasium")
    import schedtuna.env  # noqa: F401 - registers them

    keywords = {"step_s": 0.6, "discard_s": 0.2, "steps": 2, "steps_per_load": 2, "workload": "switch"}
    env = gymnasium.make(
        "schedtuna/LiveSwap-v0",
        place=server.url,
        token_file=server.token_file,
        schedulers=("default", "fair:nice=1"),
        disable_env_checker=True,
        **keywords,
    ).unwrapped
    try:
        observation, info = env.reset(seed=1)
        assert (env.observation_space.contains(observation), info["unknown"]) == (True, [])
        _, _, _, truncated, info = env.step(1)
        assert (truncated, info["failed"], info["figures"]["turnaround"] > 0) == (False, "", True)
    finally:
        env.close()


def test_what_a_scheduler_has_is_asked_there(place):
    assert "slice_us" in place.tunable("fair").parameters
    assert place.scheduler("fair:nice=4").values == {"nice": 4}
    with pytest.raises(UsageError, match="nice=99"):
        place.scheduler("fair:nice=99")
    with pytest.raises(UsageError, match="scx_nothing"):
        place.tunable("scx_nothing")
