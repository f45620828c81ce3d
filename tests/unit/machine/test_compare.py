import pytest

from schedtuna.machine.cgroups import CgroupLayout
from schedtuna.machine.compare import RULES, Severity, comparable, compare_manifests
from schedtuna.machine.facts import MachineFacts
from schedtuna.machine.manifest import Manifest, build_manifest
from schedtuna.machine.topology import Cpu, Topology


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return build_manifest(["cat"], seed=1)


def changed(manifest, **changes):
    """The manifest with other facts, wherever they live."""
    top = {k: v for k, v in changes.items() if k in Manifest.model_fields}
    facts = {k: v for k, v in changes.items() if k in MachineFacts.model_fields}
    cgroups = {k: v for k, v in changes.items() if k in CgroupLayout.model_fields}
    machine = manifest.machine
    machine = machine.model_copy(update=facts | {"cgroups": machine.cgroups.model_copy(update=cgroups)})
    return manifest.model_copy(update=top | {"machine": machine})


def test_every_fact_has_a_rule():
    flat = (Manifest.model_fields.keys() - {"machine"}) | (MachineFacts.model_fields.keys() - {"cgroups"})
    flat |= {f"cgroups.{name}" for name in CgroupLayout.model_fields}
    assert flat == RULES.keys()


def test_equal_conditions_do_not_differ(manifest):
    later = changed(manifest, created_at=manifest.created_at + 1e6)
    assert compare_manifests(manifest, later) == []


@pytest.mark.parametrize(
    ("fact", "value", "severity"),
    [
        ("command", ("dog",), "blocks"),
        ("kernel_release", "1.0", "blocks"),
        ("cpu_model", "abacus", "blocks"),
        ("machine_id_hash", "0", "blocks"),
        ("governors", ("powersave", "x"), "blocks"),
        ("cpu_quota", 0.5, "blocks"),
        ("cpus_allowed", (), "blocks"),
        ("boot_id", "0", "warns"),
        ("daemons", ("tuned",), "warns"),
        ("seed", 2, "warns"),
        ("own_v2", "/other", "info"),
        ("hostname_hash", "0", "info"),
    ],
)
def test_differences_weigh_as_they_should(manifest, fact, value, severity):
    (difference,) = compare_manifests(manifest, changed(manifest, **{fact: value}))
    assert difference.field.rpartition(".")[2] == fact
    assert difference.severity == severity
    assert difference.why
    assert comparable([difference]) == (severity != "blocks")


def test_the_heaviest_comes_first(manifest):
    other = changed(manifest, hostname_hash="0", boot_id="0", cpu_model="abacus")
    found = compare_manifests(manifest, other)
    assert [difference.severity for difference in found] == [Severity.BLOCKS, Severity.WARNS, Severity.INFO]


def test_swapping_the_two_swaps_the_values(manifest):
    other = changed(manifest, cpu_model="abacus", seed=5)
    there, back = compare_manifests(manifest, other), compare_manifests(other, manifest)
    assert [(d.field, d.a, d.b) for d in there] == [(d.field, d.b, d.a) for d in back]


def test_what_only_one_could_read_is_a_warning(manifest):
    (difference,) = compare_manifests(
        manifest, changed(manifest, kernel_config_hash=None, boot_id=manifest.machine.boot_id)
    )
    assert difference.severity == "warns"
    assert "same privileges" in difference.why


def test_settings_are_compared_one_by_one(manifest):
    a = changed(manifest, scheduler_settings={"kernel.x": "1", "kernel.y": "1"})
    b = changed(manifest, scheduler_settings={"kernel.x": "2", "debugfs.z": "1", "kernel.y": "1"})
    found = {d.field: d.severity.value for d in compare_manifests(a, b)}
    assert found == {"scheduler_settings.kernel.x": "blocks", "scheduler_settings.debugfs.z": "warns"}


def test_another_build_of_a_program_blocks(manifest):
    a = changed(manifest, binary_hashes={"/bin/x": "1"})
    assert not comparable(compare_manifests(a, changed(manifest, binary_hashes={"/bin/x": "2"})))
    assert not comparable(compare_manifests(a, changed(manifest, binary_hashes={"/bin/y": "1"})))


def test_a_few_kilobytes_of_memory_do_not_matter(manifest):
    a = changed(manifest, memory_bytes=16_000_000_000)
    assert compare_manifests(a, changed(manifest, memory_bytes=16_000_100_000)) == []
    assert not comparable(compare_manifests(a, changed(manifest, memory_bytes=8_000_000_000)))


def test_the_same_number_of_cpus_in_another_order_blocks(manifest):
    def topology(*cores):
        return Topology(
            cpus=tuple(
                Cpu(cpu=cpu, core=core, socket=0, numa_node=0, llc=0, siblings=(cpu,))
                for cpu, core in enumerate(cores)
            )
        )

    a, b = changed(manifest, topology=topology(0, 0, 1, 1)), changed(manifest, topology=topology(0, 1, 0, 1))
    (difference,) = compare_manifests(a, b)
    assert difference.field == "topology"
    assert difference.severity == "blocks"
    assert difference.a != difference.b
