"""`schedtuna agent page` in a real browser: what a live agent decides is seen, and undone by a click."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.browser import CHROMIUM, browsing
from tests.e2e.test_agent import RULES, needs_root, nice, run, until

COMM = f"page-{os.getpid()}"[:15]
HOG = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{COMM}', 0, 0, 0)\nwhile True: pass"
FRESH = "document.querySelector('#freshness').textContent"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def agent_of(state, hog, folder):
    rules = folder / "rules.toml"
    rules.write_text(RULES % COMM)
    argv = ["agent", "run", "--no-guard", "--interval", "0.2", "--policy", f"rules:{rules}"]
    argv += ["--only", f"pid={hog.pid}", "--slo", "wakeup_latency_p99_us<=60000000"]
    started = subprocess.Popen(
        [sys.executable, "-m", "schedtuna", *argv], env=state, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with ended(started):
        yield started


@pytest.fixture
def hog():
    with ended(subprocess.Popen([sys.executable, "-c", HOG])) as process:
        yield process


@pytest.fixture
def state(tmp_path):
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def page(state):
    """What a page's server has printed, and its process."""
    argv = [sys.executable, "-m", "schedtuna", "agent", "page", "--listen", "127.0.0.1:0", "--json"]
    with ended(subprocess.Popen(argv, env=state, stdout=subprocess.PIPE, stderr=subprocess.PIPE)) as process:
        yield {**json.loads(process.stdout.readline()), "pid": process.pid}


def post(page, body, **headers):
    connection = http.client.HTTPConnection(urlsplit(page["url"]).netloc, timeout=30)
    sound = {
        "Authorization": f"Bearer {page['token']}",
        "Origin": page["url"].rstrip("/"),
        "Content-Type": "application/json",
    }
    connection.request("POST", "/undo", json.dumps(body), {**sound, **headers})
    with contextlib.closing(connection):
        return connection.getresponse().status


@needs_root
@needs_browser
def test_a_decision_is_seen_and_undone_by_a_click(state, hog, page, tmp_path):
    with agent_of(state, hog, tmp_path) as agent, browsing(tmp_path / "profile") as tab:
        until(lambda: nice(hog) == 7)
        tab.resize(1280)
        tab.open(page["open"])
        tab.until(f"{FRESH} === 'live'")
        assert tab.run("location.href") == page["url"], "no token stays in the address"
        tab.until(
            f"document.querySelector('#standing').innerText.includes('nice of {COMM} ({hog.pid}): 0 → 7')"
        )
        told = tab.run("document.body.innerText")
        assert "because the test wants it" in told
        assert "60,000,000 met" in told
        tab.until(f"document.querySelector('#running').innerText.includes('({hog.pid})')")
        assert "cpu_percent" in tab.run("document.querySelector('#log').innerText")
        (one,) = json.loads(run(state, "agent", "status", "--json").stdout)["standing"]
        assert post(page, {"id": one["id"]}, Origin="http://evil.example") == 403
        assert post(page, {"id": one["id"]}, Authorization="Bearer wrong") == 401
        assert post(page, {"id": one["id"]}, Host="evil.example") == 421
        assert nice(hog) == 7
        for width in (1280, 400):
            tab.resize(width)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), f"{width} px are too few"
        tab.click("#standing button")
        until(lambda: nice(hog) == 0)
        tab.until("document.querySelector('#said').textContent.includes('leaves it alone')")
        tab.until("document.querySelector('#standing').innerText === 'Nothing is changed.'")
        rows = run(state, "agent", "log", "--kind", "undo", "--json-lines").stdout.splitlines()
        assert json.loads(rows[-1])["why"] == f"a click on the page by user {os.geteuid()}"
        os.kill(agent.pid, signal.SIGSTOP)
        tab.until(f"{FRESH}.startsWith('stale')")
        os.kill(agent.pid, signal.SIGCONT)
        tab.until(f"{FRESH} === 'live'")
        agent.send_signal(signal.SIGTERM)
        agent.wait(60)
        tab.until(f"{FRESH} === 'no agent answers'")
        assert tab.run("document.querySelector('#main').classList.contains('stale')")
        assert [one for one in tab.events if one["method"] == "Runtime.exceptionThrown"] == []


@needs_browser
def test_without_the_token_nothing_is_told_but_how_to_come_in(page, tmp_path):
    with browsing(tmp_path / "profile") as tab:
        tab.open(page["url"])
        tab.until("!document.querySelector('#login').hidden")
        assert tab.run("document.querySelector('#main').hidden")
        answer = "fetch('/events', {headers: {Authorization: 'Bearer %s'}}).then(told => told.status)"
        assert tab.run(answer % "wrong") == 401
        tab.run("document.querySelector('#token').focus()")
        tab.call("Input.insertText", text="wrong")
        tab.press("Enter")
        tab.until("document.querySelector('#login-problem').textContent.includes('expected the token')")
        tab.call("Input.insertText", text=page["token"])
        tab.click("#login button")
        tab.until(f"{FRESH} === 'no agent answers'")


@needs_browser
def test_a_page_of_another_origin_can_neither_read_nor_undo(page, tmp_path):
    """Another server of this machine: the same site, as browsers see it, with the token even."""
    import http.server
    import threading

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    other = http.server.HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    headers = f"{{Authorization: 'Bearer {page['token']}', 'Content-Type': 'application/json'}}"
    ask = "fetch('%s', {method: '%s', headers: %s}).then(told => told.status, () => 'refused')"
    with browsing(tmp_path / "profile") as tab:
        tab.open(f"http://127.0.0.1:{other.server_port}/")
        for path, method in (("events", "GET"), ("undo", "POST")):
            assert tab.run(ask % (page["url"] + path, method, headers)) == "refused"
        frame = f"new Promise(done => {{ const f = document.createElement('iframe'); f.src = '{page['url']}';"
        frame += " f.onload = () => done(String(f.contentDocument)); document.body.append(f); })"
        assert tab.run(frame) == "null"
    other.shutdown()
    other.server_close()


@needs_root
def test_who_speaks_http_has_no_privilege_and_ends_with_who_asks(page):
    children = Path(f"/proc/{page['pid']}/task/{page['pid']}/children").read_text().split()
    (front,) = [pid for pid in children if b"page.front" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{front}/status").read_text().splitlines())
    assert "0" not in status["Uid"].split()
    assert (int(status["CapPrm"], 16), status["NoNewPrivs"].strip()) == (0, "1")
    os.kill(page["pid"], signal.SIGKILL)
    until(
        lambda: (
            not Path(f"/proc/{front}").exists() or "Z (zombie)" in Path(f"/proc/{front}/status").read_text()
        )
    )


@pytest.mark.parametrize("where", ["0.0.0.0:9799", "127.0.0.1", "127.0.0.1:99999", "example.org:80"])
def test_addresses_that_others_reach_or_that_are_none_are_refused(state, where):
    done = run(state, "agent", "page", "--listen", where)
    assert done.returncode == 2, done.stderr
    assert "hint:" in done.stderr
