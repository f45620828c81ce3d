import ctypes
import struct
import zlib
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError, UnavailableError, UsageError
from schedtuna.features.table import FEATURES, FeatureSource
from schedtuna.kernel.objects import BpfObject
from schedtuna.model.bins import Bins
from schedtuna.model.kernel.classes import CLASSES
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked
from schedtuna.model.shipped import find_model
from schedtuna.resources import resource_path
from schedtuna.scheduler import tuna, tuna_model
from schedtuna.scheduler.tuna_deploy import CLASSES as OWN_CLASSES
from schedtuna.scheduler.tuna_deploy import LABELS, deploy

INPUTS = tuple(ModelInput(name, FEATURES[name].bins) for name in ("mean_burst_ns", "weight"))


def model(inputs=INPUTS, labels=("batch", "interactive"), weights=((-1, 2),)):
    weights = [list(row)[: len(inputs)] + [0] * (len(inputs) - len(row)) for row in weights]
    return checked(DecisionModel("test", inputs, labels, Linear(weights, [0] * len(weights)), ""))


@pytest.fixture(scope="module")
def bpf():
    try:
        content = resource_path("native/scx_tuna.bpf.o").read_bytes()
    except UnavailableError:
        pytest.skip("built without clang 17 or newer")
    with BpfObject(tuna.OBJECT, content=content) as opened:
        yield opened


def test_structures_are_those_of_the_object(bpf):
    assert tuna_model.has_model(bpf.btf)
    tuna_model.check_layout(bpf.btf)


def test_tables_are_as_large_as_the_objects(bpf):
    own = {geometry.family: geometry for geometry in CLASSES if geometry.name in OWN_CLASSES}
    assert tuple(own) != ()
    for family in tuna_model.FAMILIES:
        assert bpf.btf.structs[f"model_{family}"].size == own[family].table_dtype.itemsize


def test_its_features_are_rows_of_the_table_that_a_scheduler_can_compute():
    for name in tuna_model.FEATURES:
        assert FeatureSource.BPF in FEATURES[name].sources


def test_what_is_sent_has_the_table_and_every_row():
    sent = deploy(found := model())
    assert sent["features"] == ["mean_burst_ns", "weight"]
    assert (sent["lo"], sent["hi"]) == ((0, 0), (2**34, 10_000))
    numbers = zlib.decompress(b64decode(sent["rows"]))
    rows = np.frombuffer(numbers, "<i8").reshape(len(found.rows), 5)
    assert np.array_equal(rows[:, :2], found.rows.values)
    assert np.array_equal(found.quantise(rows[:, :2]), rows[:, 2:4])
    assert np.array_equal(rows[:, 3] * 2 - rows[:, 2], rows[:, 4])
    table = zlib.decompress(b64decode(sent["table"]))
    assert struct.unpack_from("<Q", table, 8)[0] == int(found.version, 16)


def test_nine_tenths_of_the_logits_are_no_larger_than_a_whole_lead():
    sent = deploy(found := find_model("short_tasks"))
    logits = np.abs(found.rows.accumulators[:, -1])
    assert (logits <= sent["logit_one"]).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (model((ModelInput("rss_kib", FEATURES["rss_kib"].bins),)), "looks at 'rss_kib'"),
        (model(labels=("stay", "migrate")), "says stay, migrate"),
        (replace(model(), rows=None), "no rows"),
    ],
    ids=["feature", "label", "rows"],
)
def test_models_for_something_else_are_refused(wrong, words):
    with pytest.raises(ModelError, match=words):
        deploy(wrong)


def test_a_model_that_is_too_large_is_refused_with_what_it_needs():
    inputs = tuple(ModelInput(name, Bins("linear", 0, 255, 256)) for name in tuna_model.FEATURES[:10])
    core = models.trees(np.random.default_rng(1), nr_trees=100, nr_bins=(256,) * 10)
    large = checked(DecisionModel("large", inputs, ("batch", "interactive"), core, ""))
    with pytest.raises(ModelError, match="too large for scx_tuna: 1024400 bytes of rows of at most 262144"):
        deploy(large)


@pytest.mark.parametrize(
    "given",
    [
        {"lead_us": 100_001},
        {"lead_us": -1},
        {"period": 3},
        {"period": 0},
        {"budget_ns": 1.5},
        {"worse_permille": True},
        {"pick": 0},
        {"pick": 9},
        {"lead": 3},
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(given):
    with pytest.raises(UsageError):
        tuna_model.checked_settings(given)


def test_settings_that_are_not_named_have_their_defaults():
    found = tuna_model.checked_settings({"period": 1})
    assert found["period"] == 1
    assert found["lead_us"] == tuna_model.SETTINGS["lead_us"][0]


def test_labels_are_the_kinds():
    assert LABELS == ("batch", "normal", "interactive")
    assert len(tuna_model.COUNTERS) * 8 + 8 == ctypes.sizeof(tuna_model.ModelStats)


def test_a_linear_input_was_made_for_its_bins_alone():
    low = ModelInput("nice", Bins("linear", -5, 5, 11))
    assert deploy(model((low,)))["lo"] == (-5,)
