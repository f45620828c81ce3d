import os

import pytest

from schedtuna.errors import UsageError
from schedtuna.lab.deterministic.orders import ORDER_BYTES, Order, Perturbation, Report, digest, perturbation
from schedtuna.lab.errors import GuestError


def order(**changes):
    fields = {
        "cpus": 2,
        "perturbation": Perturbation(1000, 3, 1, b"\xff" * 32),
        "argv": ["echo", "a b", "ü"],
        "options": ["--x"],
        "environment": {"NAME": "a=b"},
        "scheduler": ["scx_simple"],
    }
    return Order(**{**fields, **changes})


def test_an_order_is_texts_and_counted_lists_in_a_blob_of_fixed_size():
    blob = order().pack()
    assert len(blob) == ORDER_BYTES
    texts = os.fsdecode(blob.rstrip(b"\0")).split("\0")
    assert texts[:6] == ["1", "2", "ff" * 32, "3", "1", "1000"]
    assert texts[6:] == ["1", "scx_simple", "1", "NAME=a=b", "1", "--x", "3", "echo", "a b", "ü"]


def test_an_empty_list_is_a_zero():
    assert order(scheduler=[], environment={}).pack().split(b"\0")[6:9] == [b"0", b"0", b"1"]


def test_what_the_guest_could_not_read_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        order(argv=["a\0b"]).pack()
    with pytest.raises(UsageError, match="too long"):
        order(argv=["x" * ORDER_BYTES]).pack()


def test_a_seed_is_one_perturbation_and_seeds_differ():
    seeds = [perturbation(seed, 4) for seed in range(200)]
    assert seeds == [perturbation(seed, 4) for seed in range(200)]
    assert len({each.entropy for each in seeds}) == 200
    assert {each.first_cpu for each in seeds} == {0, 1, 2, 3}
    assert all(0 <= each.delay_ns < 8_000_000 and 0 <= each.nr_forks < 64 for each in seeds)
    assert {perturbation(seed, 1).first_cpu for seed in range(20)} == {0}


def test_a_report_is_read_as_far_as_it_goes():
    whole = b"clock 6\n1 2 3\nstdout 4\na\nb\nend 0\n"
    report = Report.parse(whole)
    assert report.complete
    assert (report.numbers("clock"), report.text("stdout"), report.text("stderr")) == (
        [1, 2, 3],
        "a\nb\n",
        "",
    )
    for size in range(len(whole)):
        part = Report.parse(whole[:size])
        assert not part.complete
        assert part.sections.items() <= report.sections.items()


@pytest.mark.parametrize("data", [b"", b"rubbish", b"x -1\n", b"x y\nz", b"\n\n", b"\xff 1\nx"])
def test_what_is_not_a_report_is_none(data):
    report = Report.parse(data)
    assert not report.complete
    with pytest.raises(GuestError, match="clock"):
        report.numbers("clock")


def test_the_state_of_sched_ext_and_how_its_program_ended():
    text = b"enabled\nsimple\n3\n0\n\n"
    state, code = Report.parse(b"scx %d\n%s" % (len(text), text)).scx("scx")
    assert (state.state, state.ops, state.enable_seq, state.nr_rejected, code) == (
        "enabled",
        "simple",
        3,
        0,
        None,
    )
    for status, expected in ((0x100, 1), (9, -9)):
        text = b"disabled\n\n3\n0\n%d\n" % status
        state, code = Report.parse(b"scx %d\n%s" % (len(text), text)).scx("scx")
        assert (state.ops, code) == ("", expected)


def test_a_kernel_without_sched_ext_is_told():
    with pytest.raises(GuestError, match="no sched_ext"):
        Report.parse(b"scx 5\n\n\n\n\n\n").scx("scx")


def test_a_hash_sees_every_byte_and_which_part_it_is_in():
    base = {"stdout": b"ab", "stderr": b""}
    different = [base, {"stdout": b"a", "stderr": b"b"}, {"stdout": b"", "stderr": b"ab"}, {"stdout": b"ab"}]
    assert len({digest(parts) for parts in different}) == len(different)
    assert digest({"stderr": b"", "stdout": b"ab"}) == digest(base)


@pytest.mark.parametrize("last", ["x\n0\n256", "0\n\u00b2\n256", "0\n0\n" + "9" * 400, "0\n0\n-1"])
def test_a_state_of_other_than_numbers_is_refused(last):
    text = f"enabled\nbpfland\n{last}".encode()
    with pytest.raises(GuestError, match="did not report its scx"):
        Report.parse(b"scx %d\n%s" % (len(text), text)).scx("scx")
