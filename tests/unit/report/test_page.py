from html.parser import HTMLParser

import pytest

from schedtuna.evidence.result import Verdict
from schedtuna.report import page as pages

HOSTILE = '<script>alert("x")</script>&\x1b[31m'


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def hostile_page():
    section = pages.Section(
        HOSTILE,
        text=[HOSTILE],
        notes=[HOSTILE],
        commands=[pages.Command(HOSTILE, HOSTILE)],
        table=pages.Table([HOSTILE], [[HOSTILE]], folded=HOSTILE),
    )
    return pages.Page(HOSTILE, Verdict.IMPROVED, HOSTILE, [(HOSTILE, HOSTILE)], [section], footer=HOSTILE)


def test_hostile_text_stays_text(hostile_page):
    parsed = Tags()
    parsed.feed(pages.render(hostile_page))
    assert "script" not in parsed.tags
    assert parsed.tags.count("h1") == 1


def test_a_page_needs_no_network(hostile_page):
    parsed = Tags()
    parsed.feed(pages.render(hostile_page))
    assert parsed.links == []


def test_a_page_is_written_whole(hostile_page, tmp_path):
    pages.write(hostile_page, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_code_and_long_settings_are_set_for_reading():
    page = pages.Page("x", Verdict.IMPROVED, "fair:a=1,b=<2> is `better`, really", [])
    assert '<p class="verdict">fair:a=1,<wbr>b=&lt;2&gt; is <code>better</code>, really</p>' in pages.render(
        page
    )
