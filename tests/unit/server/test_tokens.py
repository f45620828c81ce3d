"""Who has which token: by the file as it is now."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from schedtuna.errors import ConfigFileError, UntrustedError, UsageError
from schedtuna.server.tokens import Role, TokenFile, add_client


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clients.toml"


def test_a_token_names_its_client_and_no_other_text_does(path):
    one, two = add_client(path, "one"), add_client(path, "two", [Role.READ, Role.ADMIN])
    tokens = TokenFile(path)
    assert tokens.find(one)[0] == "one"
    assert tokens.find(two)[1].roles == (Role.READ, Role.ADMIN)
    for wrong in ("", " ", one[:-1], one + "a", one.upper(), "\udcff", "é" * 40):
        assert tokens.find(wrong) is None


def test_what_was_written_is_read_whatever_it_is_called(tmp_path):
    token = add_client(tmp_path / "tokens", "one")
    add_client(tmp_path / "tokens", "two")
    assert TokenFile(tmp_path / "tokens").find(token) is not None


def test_a_new_token_ends_the_one_before_without_a_restart(path):
    old = add_client(path, "one")
    tokens = TokenFile(path)
    assert tokens.find(old)
    new = add_client(path, "one")
    assert (tokens.find(old), tokens.find(new)[0]) == (None, "one")


def test_a_file_that_is_gone_or_damaged_lets_nobody_in_until_it_is_back(path):
    token = add_client(path, "one")
    tokens, kept = TokenFile(path), path.read_bytes()
    path.write_text("[clients.one]\nsha256 = 3\n")
    assert tokens.find(token) is None
    assert tokens.problem
    path.unlink()
    assert tokens.find(token) is None
    path.write_bytes(kept)
    assert tokens.find(token)


def test_a_token_ends_when_it_expires(path):
    now = time.time()
    token = add_client(path, "one", expires=datetime.fromtimestamp(now, UTC) + timedelta(seconds=10))
    tokens = TokenFile(path)
    assert tokens.find(token, now_s=now + 9)
    assert tokens.find(token, now_s=now + 10) is None


@pytest.mark.parametrize(
    "text",
    [
        "clients = 3",
        "[clients.one]\nsha256 = 'short'\nroles = ['read']",
        f"[clients.one]\nsha256 = '{'0' * 64}'\nroles = ['king']",
        f"[clients.one]\nsha256 = '{'0' * 64}'\nroles = []",
        f"[clients.one]\nsha256 = '{'0' * 64}'\nroles = ['read']\nexpires = 2027-01-01T00:00:00",
        f"[clients.'a b']\nsha256 = '{'0' * 64}'\nroles = ['read']",
        f"[clients.one]\nsha256 = '{'0' * 64}'\nroles = ['read']\ntoken = 'x'",
        "[clients.one",
    ],
)
def test_a_malformed_file_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(ConfigFileError):
        TokenFile(path)


def test_a_file_that_others_can_write_is_refused(path):
    add_client(path, "one")
    path.chmod(0o666)
    with pytest.raises(UntrustedError, match="says who may run what"):
        TokenFile(path)


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, "a\n[clients.b]"])
def test_names_are_names(path, name):
    with pytest.raises(UsageError, match="can't be called"):
        add_client(path, name)
    assert not os.path.exists(path)  # noqa: PTH110 - nothing was written
