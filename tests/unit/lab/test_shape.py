import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.registry import make_place
from schedtuna.errors import UsageError
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.vm import GuestSpec


@st.composite
def shapes(draw):
    """Every shape that a guest can have."""
    threads = draw(st.sampled_from([1, 2]))
    llcs = draw(st.integers(1, 64 // threads))
    cores = draw(st.integers(1, 64 // threads // llcs))
    return GuestShape(llcs, cores, threads, numa=draw(st.booleans()) and llcs % 2 == 0)


@given(shapes(), st.integers(512, 1 << 16))
def test_qemu_is_told_all_cpus_and_all_memory_once(shape, memory_mib):
    assert GuestShape.parse(str(shape)) == shape
    options = shape.options(memory_mib)
    nr_cpus, *counts = options[1].split(",")
    product = 1
    for count in counts:
        product *= int(count.partition("=")[2])
    assert int(nr_cpus) == product == shape.nr_cpus
    sizes = [int(text.partition("size=")[2].rstrip("M")) for text in options if "memory-backend" in text]
    sockets = [text.partition("node-id=")[2] for text in options if text.startswith("cpu,")]
    if not shape.numa:
        assert (sizes, sockets, len(options)) == ([], [], 2)
        return
    assert sum(sizes) == memory_mib
    on_nodes = [tuple(map(int, text.split(",socket-id="))) for text in sockets]
    assert [socket for _, socket in on_nodes] == list(range(shape.nr_llcs))
    assert [node for node, _ in on_nodes] == [0] * (shape.nr_llcs // 2) + [1] * (shape.nr_llcs // 2)


def test_numa_alone_is_the_smallest_machine_with_two_nodes_of_two_cores():
    assert GuestShape.parse("numa") == GuestShape.parse("2x2x1:numa") == GuestShape(2, 2, 1, numa=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected LLCSxCORESxTHREADS"),
        ("2x2", "expected LLCSxCORESxTHREADS"),
        ("2x2x1:smt", "expected LLCSxCORESxTHREADS"),
        (":numa", "expected LLCSxCORESxTHREADS"),
        ("-1x2x1", "expected LLCSxCORESxTHREADS"),
        ("0x2x1", "at least one cache and core"),
        ("2x0x1", "at least one cache and core"),
        ("2x2x4", "1 or 2 threads"),
        ("8x8x2", "128 CPUs, expected at most 64"),
        ("1x4x1:numa", "an even number of caches"),
        ("3x1x1:numa", "an even number of caches"),
    ],
)
def test_a_bad_topology_is_refused_with_what_is_expected(text, words):
    with pytest.raises(UsageError, match=words):
        make_place("vm", {"topology": text})


def test_cpus_and_a_topology_must_agree():
    assert make_place("vm", {"cpus": 4, "topology": "2x2x1"}).nr_cpus() == 4
    for made in (
        lambda: make_place("vm", {"cpus": 2, "topology": "2x2x1"}),
        lambda: GuestSpec.of(2, "2x2x1"),
        lambda: GuestSpec(cpus=2, topology="2x2x1").shape,
    ):
        with pytest.raises(UsageError, match="topology 2x2x1 is 4 CPUs, and 2 are asked for"):
            made()


def test_a_place_tells_its_topology_as_it_was_asked_for():
    place = Guest.of(topology="numa")
    assert (place.cpus, place.topology, place.nr_cpus()) == (4, "2x2x1:numa", 4)
    assert make_place("vm", {"topology": "numa"}) == place
    assert place.options() == ("--backend", "vm", "--topology", "2x2x1:numa")
    assert make_place("vm", {}).options() == ("--backend", "vm")
    assert type(place).model_validate_json(place.model_dump_json()) == place
    assert GuestSpec.of(None, "2x1x2").laid_out == "4 CPUs (2x1x2)"
    assert GuestSpec().laid_out == "2 CPUs"
