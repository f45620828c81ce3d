import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.privilege import missing_capabilities, require_bpf

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39


def status(*capabilities):
    return f"Name:\tx\nCapEff:\t{sum(1 << bit for bit in capabilities):016x}\n"


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        ((), ["CAP_BPF", "CAP_PERFMON"]),
        ((CAP_BPF,), ["CAP_PERFMON"]),
        ((CAP_PERFMON,), ["CAP_BPF"]),
        ((CAP_BPF, CAP_PERFMON), []),
        ((CAP_SYS_ADMIN,), []),
    ],
)
def test_what_is_missing_is_named(capabilities, missing):
    assert missing_capabilities(status(*capabilities)) == missing
    if missing:
        with pytest.raises(UnavailableError) as caught:
            require_bpf(status(*capabilities))
        assert " and ".join(missing) in str(caught.value)
        assert "setcap cap_bpf,cap_perfmon+ep" in caught.value.hint
    else:
        require_bpf(status(*capabilities))
