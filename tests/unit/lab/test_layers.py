import pytest

from schedtuna.errors import UsageError
from schedtuna.lab.layers import program_layer, share_layer


def test_a_missing_program_or_folder_is_the_users_error(tmp_path):
    with pytest.raises(UsageError, match="no such program"):
        program_layer([tmp_path / "absent"], tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        share_layer(tmp_path / "absent", tmp_path)


def test_a_shared_folder_comes_whole_and_links_stay_links(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("x")
    (tmp_path / "link").symlink_to("/etc/shadow")
    layer = share_layer(tmp_path, tmp_path)
    assert set(layer) == {"share/deep", "share/deep/er", "share/deep/er/file", "share/link"}
    assert layer["share/link"].source is None
