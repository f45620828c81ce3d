"""What do programs say that run in the background here?"""

import sys

from schedtuna.scheduler.host import HostMachine

PRINTS = "for number in range(3000): print(number, flush=True)"


def test_to_read_what_it_says_takes_nothing_of_it():
    machine = HostMachine()
    pid = machine.spawn([sys.executable, "-I", "-S", "-c", PRINTS])
    while machine.status(pid) is None:
        machine.log(pid)
    assert machine.log(pid).split() == [str(number) for number in range(3000)]
    machine.close()
