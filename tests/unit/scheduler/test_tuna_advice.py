import time
from dataclasses import replace

import pytest

from schedtuna.errors import ModelError, UnavailableError
from schedtuna.features.table import FEATURES
from schedtuna.kernel.objects import BpfObject
from schedtuna.model import migration
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.shipped import find_model
from schedtuna.resources import resource_path
from schedtuna.scheduler import tuna, tuna_advice, tuna_model
from schedtuna.scheduler.advisers import adviser_of

VALID_NS = 50_000_000


def request(cpu=1, *, idle=3, busy=1, src=900, dst=100, offered=2, **features):
    made = tuna_advice.AdviceRequest(
        id=7, start_time_ns=11, tid=4711, cpu=cpu, offered_cpu=offered, nr_idle_cpus=idle, nr_busy_cpus=busy
    )
    made.src_load_permille, made.dst_load_permille = src, dst
    for name, value in features.items():
        made.features[tuna_model.FEATURES.index(name)] = value
    return made


def test_structures_are_those_of_the_object():
    try:
        content = resource_path("native/scx_tuna.bpf.o").read_bytes()
    except UnavailableError:
        pytest.skip("built without clang 17 or newer")
    with BpfObject(tuna.OBJECT, content=content) as opened:
        tuna_advice.check_layout(opened.btf)


def test_answers_are_to_the_request_and_hold_for_a_while():
    before = time.monotonic_ns()
    (answer,) = adviser_of(migration.made_by_hand(), valid_ns=VALID_NS)([request()])
    assert (answer.id, answer.start_time_ns, answer.tid) == (7, 11, 4711)
    assert before + VALID_NS <= answer.expires_ns <= time.monotonic_ns() + VALID_NS


def test_a_task_that_should_migrate_is_sent_to_the_cpu_that_was_offered():
    advise = adviser_of(migration.made_by_hand())
    goes, stays, nowhere = advise([request(), request(src=100, dst=100), request(offered=-1)])
    assert (goes.cpu, stays.cpu, nowhere.cpu) == (2, 1, 1)
    assert goes.kind == goes.slice_us == 0  # no opinion


def test_a_model_of_kinds_says_the_kind():
    advise = adviser_of(find_model("short_tasks"))
    short, long = advise(
        [
            request(mean_burst_ns=100_000, burst_ns=100_000),
            request(mean_burst_ns=20_000_000, burst_ns=20_000_000),
        ]
    )
    assert [tuna_model.KINDS[one.kind] for one in (short, long)] == ["interactive", "batch"]
    assert short.cpu == long.cpu == -1


def test_models_for_something_else_are_refused():
    model = find_model("short_tasks")
    with pytest.raises(ModelError, match="says yes, no"):
        adviser_of(replace(model, labels=("yes", "no"), rows=None))
    inputs = (ModelInput("rss_kib", FEATURES["rss_kib"].bins),)
    with pytest.raises(ModelError, match="looks at rss_kib"):
        adviser_of(DecisionModel("other", inputs, model.labels, Linear([[1]], [0]), ""))
