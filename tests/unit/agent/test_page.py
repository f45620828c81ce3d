"""The page's server: who is answered, what readers are sent, and what each side may ask of the other."""

import http.client
import json
import socket
import threading

import pytest

from schedtuna.agent.page.admission import careless, digest, strange, unknown_client
from schedtuna.agent.page.broker import BrokerLink, PageBroker
from schedtuna.agent.page.feed import PageFeed, pause_after
from schedtuna.agent.page.front import PageServer
from schedtuna.errors import SchedtunaError, UnavailableError, UsageError

TOKEN = "a-token"
HOST = "127.0.0.1:9799"


def view(pid=7, rows=(), **more):
    told = {"pid": pid, "interval_s": 1.0, "interval": {"age_s": 0.25}}
    return {**told, "rows": [{"number": number, "told": f"row {number}"} for number in rows], **more}


def events(data):
    """What a stream of events holds: (kind, id, content)."""
    found = []
    for text in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in text.split("\n"))
        if "event" in fields:
            found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("host", ["127.0.0.1:9799", "localhost:8000", "[::1]:9799", "127.0.0.9", "LOCALHOST"])
def test_addresses_of_this_machine_are_its_own(host):
    assert strange({"host": host}) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example:9799", "127.0.0.1.evil.example", "10.0.0.1", "[", "a@b:c"]
)
def test_another_name_is_refused_whatever_address_it_means(host):
    assert strange({"host": host}).status == 421


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:5000"},
        {"origin": f"https://{HOST}"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": f"http://{HOST}"},
    ],
)
def test_pages_of_others_are_refused(sent):
    assert strange({"host": HOST, **sent}).status == 403


def test_the_token_is_the_one_that_was_printed():
    assert unknown_client({"authorization": f"Bearer {TOKEN}"}, digest(TOKEN)) is None
    for sent in (
        {},
        {"authorization": TOKEN},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {TOKEN}"},
    ):
        assert unknown_client(sent, digest(TOKEN)).status == 401


def test_a_change_says_where_it_comes_from_and_is_small_json():
    sound = {"origin": f"http://{HOST}", "content-type": "application/json", "content-length": "20"}
    assert careless(sound) is None
    for name, value, status in (
        ("origin", None, 403),
        ("content-type", "text/plain", 415),
        ("content-length", None, 411),
        ("content-length", "-1", 411),
        ("content-length", "9999999999999", 413),
        ("content-length", "5000", 413),
    ):
        sent = {key: said for key, said in {**sound, name: value}.items() if said is not None}
        assert careless(sent).status == status


class Agent:
    """Answers what the test has it answer, when the test lets it."""

    def __init__(self, *answers):
        self.answers, self.asked, self.may = list(answers), [], threading.Semaphore(0)

    def __call__(self, after):
        self.may.acquire()
        self.asked.append(after)
        return self.answers.pop(0)

    def say(self, stream, nr_answers, nr_events):
        """Let it answer so often, and return the events that come of it."""
        for _ in range(nr_answers):
            self.may.release()
        return events(b"".join(next(stream) for _ in range(nr_events)))


def test_readers_are_sent_rows_once_and_the_view_each_time():
    agent = Agent(view(rows=(1, 2)), view(rows=(3,)))
    stream = PageFeed(agent, sleep=lambda _s: None).events()
    found = agent.say(stream, 1, 3)
    assert [(kind, name) for kind, name, _ in found] == [("row", "7-1"), ("row", "7-2"), ("view", None)]
    assert "rows" not in found[2][2]
    assert found[2][2]["heard_s_ago"] >= 0
    found = agent.say(stream, 1, 2)
    assert [(kind, name) for kind, name, _ in found] == [("row", "7-3"), ("view", None)]
    assert agent.asked == [0, 2]


def test_a_reader_that_comes_back_is_sent_what_it_missed():
    agent = Agent(view(rows=(1, 2, 3)))
    feed = PageFeed(agent, sleep=lambda _s: None)
    first = feed.events()  # kept open, so that what was heard is no news of long ago
    assert [name for _, name, _ in agent.say(first, 1, 4)] == ["7-1", "7-2", "7-3", None]
    again = feed.events("7-2")
    assert [events(next(again))[0][1] for _ in range(2)] == ["7-3", None]
    stranger = feed.events("9-2")  # of an agent that is no more
    assert events(next(stranger))[0][1] == "7-1"


def test_another_agent_has_rows_of_its_own():
    agent = Agent(view(1, rows=(1, 2)), view(2), view(2, rows=(1,)))
    stream = PageFeed(agent, sleep=lambda _s: None).events()
    assert [name for _, name, _ in agent.say(stream, 1, 3)] == ["1-1", "1-2", None]
    assert [name for _, name, _ in agent.say(stream, 2, 2)] == ["2-1", None]
    assert agent.asked == [0, 2, 0]


def test_nobody_asks_while_no_page_is_open():
    agent = Agent(view(), view())
    feed = PageFeed(agent, sleep=lambda _s: None)
    agent.may.release()
    assert agent.asked == []
    stream = feed.events()
    agent.say(stream, 0, 1)
    stream.close()
    agent.may.release()  # for what it may have asked before it saw that nobody reads
    agent.may.release()
    assert len(agent.answers) <= 1
    assert len(agent.asked) <= 2


def test_that_no_agent_answers_is_told():
    def ask(_after):
        raise UnavailableError("no agent runs here", hint="start one")

    def sleep(_seconds):
        threading.Event().wait()

    told = next(PageFeed(ask, sleep=sleep).events())
    ((kind, _, content),) = events(told)
    assert (kind, content["problem"], content["hint"]) == ("view", "no agent runs here", "start one")


@pytest.mark.parametrize(("age_s", "pause_s"), [(0.0, 2.1), (1.5, 0.6), (30.0, 0.5)])
def test_it_is_asked_shortly_after_an_interval_ends(age_s, pause_s):
    assert pause_after(view(interval_s=2.0, interval={"age_s": age_s})) == pytest.approx(pause_s)


def test_a_slow_loop_is_asked_now_and_then():
    assert pause_after(view(interval_s=60.0, interval=None)) == 5.0


@pytest.fixture
def asked(monkeypatch):
    """What a broker asks of an agent."""
    said = []

    def ask_agent(name, arguments, _directory):
        said.append((name, dict(arguments)))
        if arguments.get("id") == "0123456789":
            raise UsageError("nothing is called so")
        return {"done": name}

    monkeypatch.setattr("schedtuna.agent.page.broker.ask_agent", ask_agent)
    return said


def test_the_broker_asks_two_things_and_undoes_with_the_token_alone(asked):
    broker = PageBroker(digest(TOKEN))

    def answer(**request):
        return broker.answer(json.dumps(request).encode())

    assert answer(verb="view", after=3) == {"done": "view"}
    assert answer(verb="undo", id="abcdef0123", token=TOKEN) == {"done": "undo"}
    assert asked == [("view", {"after": 3}), ("undo", {"id": "abcdef0123", "on_page": True})]
    for request in (
        {"verb": "resume"},
        {"verb": "undo", "id": "abcdef0123", "token": "wrong"},
        {"verb": "undo", "id": "abcdef0123"},
        {"verb": "undo", "id": "1", "token": TOKEN},  # a thread's number
        {"verb": "view", "after": "x"},
        {},
    ):
        assert "error" in answer(**request), request
    assert "error" in broker.answer(b"[]\n") and "error" in broker.answer(b"\xff\n")
    assert len(asked) == 2
    assert answer(verb="undo", id="0123456789", token=TOKEN)["error"] == "nothing is called so"


@pytest.fixture
def served(asked):
    """A port of a page's server, whose agent is the one of `asked`."""
    ours, theirs = socket.socketpair()
    broker = threading.Thread(target=PageBroker(digest(TOKEN)).serve, args=(ours,))
    broker.start()
    listening = socket.create_server(("127.0.0.1", 0))
    server = PageServer(listening, BrokerLink(theirs), digest(TOKEN))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield listening.getsockname()[1]
    server.shutdown()
    thread.join()
    server.server_close()
    theirs.shutdown(socket.SHUT_RDWR)
    broker.join()
    ours.close()
    theirs.close()


def request(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    try:
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_files_hold_nothing_and_are_sent_to_whom_asks_by_an_own_name(served, asked):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, body = request(served, "GET", path)
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert body
    assert request(served, "GET", "/", Host="evil.example")[0] == 421
    assert request(served, "GET", "/etc/passwd")[0] == 404
    assert asked == []


def test_undoing_takes_token_origin_and_a_sound_body(served, asked):
    sound = {
        "Authorization": f"Bearer {TOKEN}",
        "Origin": f"http://127.0.0.1:{served}",
        "Content-Type": "application/json",
    }
    body = json.dumps({"id": "abcdef0123"})

    def post(body=body, **changed):
        sent = {name: value for name, value in {**sound, **changed}.items() if value is not None}
        return request(served, "POST", "/undo", body, **sent)[0]

    assert post(Authorization=None) == 401
    assert post(Authorization="Bearer wrong") == 401
    assert post(Origin=None) == 403
    assert post(Origin="http://evil.example") == 403
    assert post(Sec_Fetch_Site="cross-site") == 403
    assert post(Host="evil.example", Origin="http://evil.example") == 421
    assert post(body="[" * 4000) == 422
    assert post(body="{}") == 422
    assert request(served, "POST", "/", body, **sound)[0] == 404
    assert asked == []
    assert post(body=json.dumps({"id": "0123456789"})) == 409
    assert post() == 200
    assert asked[-1] == ("undo", {"id": "abcdef0123", "on_page": True})


def test_a_link_whose_other_side_has_gone_is_an_error():
    ours, theirs = socket.socketpair()
    link = BrokerLink(ours)
    theirs.close()
    with pytest.raises(SchedtunaError, match="is ending"):
        link.ask("view", after=0)
    ours.close()
