"""Do the documents agree with the tree: links, files, modules, commands, and what is in which folder?"""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from schedtuna.cli.main import COMMANDS, load
from schedtuna.trace.formats import READERS

ROOT = Path(__file__).parents[2]
WIDTH = 120
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/data/*.md")]
# What describes the present; the changelog names what was.
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
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


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_text_is_wrapped(document):
    """Tables and code can't be."""
    lines = (line for line in lines_without_code(document) if not line.startswith(("|", "    ")))
    assert not [line for line in lines if len(line) > WIDTH]


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_file_and_module_that_is_named_exists(document):
    text = document.read_text()
    for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|c|h|sh|toml|md))`", text):
        assert any((ROOT / place / name).exists() for place in (".", "src", "src/schedtuna")), name
    for name in re.findall(r"(?<![\w/])(?<!entry-points\.\")schedtuna(?:\.[A-Za-z_]\w*)+", text):
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:end]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[end:]:
                found = getattr(found, attribute)
            break


def command_lines(document):
    """The command lines of Schedtuna in a document: in code blocks, and alone in backticks."""
    text = document.read_text()
    for line in text.splitlines():
        if found := re.match(r"(?:    |[$#] |    [$#] )?(?:sudo )?(?:\S*/)?(schedtuna [a-z].*)", line):
            yield found[1].partition("  # ")[0].partition(" # ")[0]
    yield from re.findall(r"`(?:sudo )?(schedtuna [a-z][^`]*)`", text)


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_command_line_has_a_command_and_options_that_exist(document):
    for line in command_lines(document):
        own = re.sub(r"\$\([^)]*\)", "X", line)  # what another program prints
        words = shlex.split(own.replace("'...'", "''"))[1:]
        command = load(words[0]) if words[0] in COMMANDS else None
        assert command is not None, line
        words = words[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if "--" in words:
            words = words[: words.index("--")]
        known = {
            option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
        }
        used = {word.strip("[]").partition("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
        assert used - {"--help"} <= known, line


def test_reading_has_every_format_that_is_read():
    rows = [line for line in (ROOT / "docs/reading.md").read_text().splitlines() if line.startswith("| `")]
    expected = [f"| `{name}` | {reader.summary} | {reader.seen} |" for name, reader in READERS.items()]
    assert [row for row in rows if row.split("`")[1] in READERS] == expected
