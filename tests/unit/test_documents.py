"""Do the documents agree with the tree: their links, and what they say is in which folder?"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/data/*.md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def lines_without_code(path):
    code = False
    for line in path.read_text().splitlines():
        code ^= line.startswith("```")
        if not code:
            yield line


def anchors(path):
    """The fragments that a page's headings have: as GitHub makes them."""
    headings = (line.lstrip("#") for line in lines_without_code(path) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for target in LINK.findall("\n".join(lines_without_code(document))):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not fragment or fragment in anchors(path), target


def test_every_document_is_reached_from_the_readme():
    linked = {ROOT / target for target in LINK.findall((ROOT / "README.md").read_text())}
    assert set(ROOT.glob("docs/*.md")) <= linked


def test_contributing_says_what_each_folder_holds():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "src/schedtuna").glob("*/__init__.py")}
    assert packages <= named
    assert not {name for name in named - packages if not (ROOT / name).is_dir()}
