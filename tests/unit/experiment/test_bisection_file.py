"""A search is continued from its file, and from nothing else."""

import json

import pytest

from schedtuna.errors import StudyError
from schedtuna.evidence.result import Verdict
from schedtuna.experiment.bisection_file import FILE_NAME, BisectionFile, Made, read_bisection

RELEASES, ASKED = ["a", "b"], {"delta": "0.03"}
STEP = {"default": 1, "candidate": 0, "folder": "compare_x_2026", "told": "it is", "verdict": "improved"}


def content(**changed):
    return {"version": 1, "releases": RELEASES, "asked": ASKED, "seed": 3, "comparisons": [STEP], **changed}


def read(folder, text):
    (folder / FILE_NAME).write_text(text)
    return read_bisection(folder, releases=RELEASES, asked=ASKED)


def test_what_is_written_is_read(tmp_path):
    kept = BisectionFile(releases=RELEASES, asked=ASKED, seed=3, comparisons=[Made(**STEP)])
    kept.write(tmp_path)
    assert read_bisection(tmp_path, releases=RELEASES, asked=ASKED) == kept
    assert read(tmp_path, json.dumps(content())).comparisons[0].verdict is Verdict.IMPROVED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "can't be read"),
        ("[]", "is damaged: expected names"),
        ('{"version": 2}', "knows those up to 1"),
        (json.dumps(content(releases=3)), "is damaged: releases"),
        (json.dumps(content(seed="x")), "is damaged: seed"),
        (json.dumps(content(asked=None)), "is damaged: asked"),
        (json.dumps(content(asked={"delta": "0.2"})), "of another delta: delta was 0.2, is 0.03"),
        (json.dumps(content(releases=["a", "c"])), "bisects a, c, not a, b"),
        *(
            (json.dumps(content(comparisons=[{**STEP, name: value}])), "is damaged: ")
            for name, value in (
                ("folder", "../elsewhere"),
                ("folder", ".."),
                ("folder", "/etc"),
                ("folder", ""),
                ("verdict", "perhaps"),
                ("default", 2),
                ("candidate", -1),
            )
        ),
    ],
)
def test_what_is_no_such_search_is_refused(tmp_path, text, told):
    with pytest.raises(StudyError, match=told):
        read(tmp_path, text)


def test_a_folder_without_one_is_refused(tmp_path):
    with pytest.raises(StudyError, match="can't be read"):
        read_bisection(tmp_path, releases=RELEASES, asked=ASKED)
