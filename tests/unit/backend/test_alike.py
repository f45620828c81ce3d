"""Which machines may answer one question together?"""

import pytest

from schedtuna.backend.alike import alike_text, identity, require_alike
from schedtuna.backend.places.machines import Machines
from schedtuna.backend.places.registry import make_place
from schedtuna.errors import UsageError
from schedtuna.wire import Capabilities


def there(host="a", **facts):
    machine = {"machine_id_hash": f"{host}-id", "kernel_release": "7.3.4", "cpu_model": "X"}
    return Capabilities(
        versions=(1,),
        schedtuna_version=facts.pop("schedtuna_version", "1"),
        host=host,
        machine=machine | facts.pop("machine", {}),
        nr_cpus=facts.pop("nr_cpus", 2),
        online_cpus=facts.pop("online_cpus", 2),
        workloads=(),
        allows_commands=True,
        user=facts.pop("user", ""),
        schedulers=(),
        longest_s=1,
        most_waiting=1,
        now=0,
    )


def test_alike_machines_pass_and_have_names_of_their_own():
    a, b = there("a"), there("b")
    require_alike([("a:1", a), ("b:1", b)])
    assert identity(a) != identity(b)
    assert alike_text(a) == alike_text(b)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"machine": {"kernel_release": "6.1"}}, "the kernel is 7.3.4 on a:1, 6.1 on b:1"),
        ({"machine": {"cpu_model": "Y"}}, "the processor is X on a:1, Y on b:1"),
        ({"nr_cpus": 1}, "the CPUs that a command may use"),
        ({"online_cpus": 4}, "the CPUs online"),
        ({"schedtuna_version": "2"}, "schedtuna's version"),
        ({"user": "nobody"}, "the user"),
    ],
)
def test_machines_that_differ_are_refused_with_what_differs(facts, said):
    with pytest.raises(UsageError, match="differ") as caught:
        require_alike([("a:1", there("a")), ("b:1", there("b", **facts))])
    assert said in str(caught.value)


def test_one_machine_under_two_addresses_is_refused():
    with pytest.raises(UsageError, match="are one machine"):
        require_alike([("a:1", there("a")), ("c:1", there("c")), ("a:2", there("a"))])


def test_urls_with_commas_are_one_place():
    place = make_place("http://a,http://b:1", {})
    assert isinstance(place, Machines)
    assert place.is_several
    assert [one.url for one in place.members] == ["http://a:8787", "http://b:1"]
    assert place.options() == ("--backend", "http://a:8787,http://b:1")
    for text in ("http://a,http://a:8787", "http://a,", "http://a,vm", "http://a,,http://b"):
        with pytest.raises(UsageError):
            make_place(text, {})
