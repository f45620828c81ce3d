from schedtuna.space import Assignment, spell_assignment


def test_an_assignment_is_spelled_as_it_is_given():
    values: Assignment = {"fifo": True, "slice_us": 500, "cpus": (0, 2), "policy": "batch"}
    assert spell_assignment(values) == "fifo=true, slice_us=500, cpus=0/2, policy=batch"
    assert spell_assignment(values, ",") == "fifo=true,slice_us=500,cpus=0/2,policy=batch"
    assert not spell_assignment({})
