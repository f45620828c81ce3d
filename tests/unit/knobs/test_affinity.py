"""Affinity strategies on made-up machines."""

from hypothesis import given
from hypothesis import strategies as st

from schedtuna.knobs.affinity import all_but_one_core, strategies
from schedtuna.machine.topology import Cpu, Topology


def machine(nr_llcs, cores_per_llc, smt=1):
    """Numbered as Linux numbers SMT machines: first all cores, then their siblings."""
    nr_cores = nr_llcs * cores_per_llc
    return Topology(
        cpus=tuple(
            Cpu(
                cpu=thread * nr_cores + core,
                core=core,
                socket=0,
                numa_node=0,
                llc=core // cores_per_llc,
                siblings=tuple(core + t * nr_cores for t in range(smt)),
            )
            for thread in range(smt)
            for core in range(nr_cores)
        )
    )


def test_two_plain_cpus_leave_one_choice_beside_all():
    topology = machine(1, 2)
    assert strategies(topology, topology.online) == {"all": (0, 1), "cpus_1": (0,)}


def test_siblings_and_caches_make_their_own_strategies():
    topology = machine(2, 2, smt=2)  # cores 0..3, siblings 4..7, caches {0,1,4,5} and {2,3,6,7}
    found = strategies(topology, topology.online)
    assert found["all"] == tuple(range(8))
    assert found["one_per_core"] == (0, 1, 2, 3)
    assert found["one_llc"] == (0, 1, 4, 5)
    assert found["cpus_2"] == (0, 1)
    assert found["cpus_3"] == (0, 1, 4)
    assert found["cpus_5"] == (0, 1, 2, 4, 5)
    assert "cpus_4" not in found  # it is one_llc


def test_only_allowed_cpus_are_used_and_a_core_is_represented_by_what_is_left():
    found = strategies(machine(2, 2, smt=2), {4, 1, 2, 6})
    assert found["all"] == (1, 2, 4, 6)
    assert found["one_per_core"] == (1, 2, 4)
    assert found["one_llc"] == (1, 4)


def test_large_machines_do_not_get_a_choice_per_cpu():
    topology = machine(8, 16, smt=2)
    counts = [name for name in strategies(topology, topology.online) if name.startswith("cpus_")]
    # Every number up to 8, then powers of two; 32 CPUs are `one_llc`.
    assert counts == [f"cpus_{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 128)]


@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 2),
    st.data(),
)
def test_strategies_are_distinct_sets_of_allowed_cpus(nr_llcs, cores, smt, data):
    topology = machine(nr_llcs, cores, smt)
    allowed = data.draw(st.sets(st.sampled_from(topology.online), min_size=1))
    found = strategies(topology, allowed)
    assert found["all"] == tuple(sorted(allowed))
    assert len(set(found.values())) == len(found)
    for name, cpus in found.items():
        assert set(cpus) <= allowed
        if name.startswith("cpus_"):
            assert len(cpus) == int(name.removeprefix("cpus_"))
    if "one_per_core" in found:
        core_of = {cpu.cpu: cpu.core for cpu in topology.cpus}
        assert len({core_of[cpu] for cpu in found["one_per_core"]}) == len(found["one_per_core"])


def test_all_but_one_core_leaves_siblings_together():
    smt = machine(1, 4, smt=2)  # core 3 has CPUs 3 and 7
    assert all_but_one_core(smt, range(8)) == (0, 1, 2, 4, 5, 6)
    assert all_but_one_core(smt, {0, 1, 5}) == (0,)
    assert all_but_one_core(smt, {2, 6}) == (2, 6)  # nothing would be left
