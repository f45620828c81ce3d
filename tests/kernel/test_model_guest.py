"""Models inside other kernels: each of the lab's, in a guest, checks their rows before it would decide."""

import json
import shutil

import pytest
from tests import models
from tests.kernel.guest_python import run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip
from tests.kernel.test_model_kernel import MOST_VERIFIED

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.model.file import write_model
from schedtuna.model.kernel.classes import CLASSES, class_of
from schedtuna.resources import resource_path

pytestmark = pytest.mark.long

SCRIPT = """
import json
from pathlib import Path
from schedtuna.model.file import read_model
from schedtuna.model.kernel.classes import CLASSES
from schedtuna.model.kernel.loaded import KernelPrograms, load

found = {}
for path in sorted(Path("/share/models").iterdir()):
    with load(read_model(path)) as programs:
        found[path.stem] = programs.geometry.name
verified = {}
for geometry in CLASSES:
    with KernelPrograms(geometry) as programs:
        verified[geometry.name] = programs.cost().verified_insns
print(json.dumps([found, verified]))
"""


def test_each_kernel_of_the_lab_computes_what_the_reference_does(tmp_path):
    lab = lab_or_skip()
    share = shared_package(lab, tmp_path / "share", numpy=True)
    native = share / "lib/schedtuna/native"
    for name in ("libelf.so.1", *(f"{geometry.object_name}.bpf.o" for geometry in CLASSES)):
        shutil.copy(resource_path(f"native/{name}"), native)
    (share / "lib/check_models.py").write_text(SCRIPT)
    (share / "models").mkdir()
    made = {kind.replace(" ", "_"): models.make(kind) for kind in models.KINDS}
    for name, model in made.items():
        write_model(model, share / f"models/{name}.safetensors")
    for version in lab.kernels:
        booted, _ = boot(lab, GuestSpec(cpus=1, memory_mib=1536, kernel=version, share=share))
        with booted:
            found, verified = run_script(booted, "check_models.py")
        assert found == {name: class_of(model).name for name, model in made.items()}, version
        assert {name for name, count in verified.items() if count > MOST_VERIFIED[name]} == set(), version
        print(json.dumps({version: verified}))
