"""The configuration: files over files, and what is refused."""

import pytest

from schedtuna.agent.config import config_files, load_agent_config
from schedtuna.errors import ConfigFileError, UsageError


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_later_files_count_before_earlier_ones(tmp_path):
    main = write(
        tmp_path, "agent.toml", "interval_s = 2\n[limits]\nmost_standing = 5\nchanges_per_interval = 3"
    )
    write(tmp_path, "conf.d/b.toml", "interval_s = 4")
    write(tmp_path, "conf.d/a.toml", "interval_s = 3\n[limits]\nmost_standing = 9")
    config = load_agent_config(config_files(main, tmp_path / "conf.d"))
    assert config.interval_s == 4
    assert config.options().limits.most_standing == 9
    assert config.options().limits.changes_per_interval == 3


def test_without_files_the_defaults_hold(tmp_path):
    assert load_agent_config(config_files(tmp_path / "none", tmp_path / "no")).policy == "rules"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("intervall_s = 2", ConfigFileError),
        ("interval_s = 0", ConfigFileError),
        ('policy = "rulez"', UsageError),
        ('slo = ["nonsense"]', UsageError),
        ("interval_s = [", ConfigFileError),
        ("[limits]\nmost_standing = 0", ConfigFileError),
    ],
)
def test_what_is_wrong_is_refused(tmp_path, text, error):
    with pytest.raises(error):
        load_agent_config([write(tmp_path, "agent.toml", text)])
