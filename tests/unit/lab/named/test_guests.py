"""Named guests as they are written down: which are there, and which are gone."""

import os
import subprocess
import time

import pytest

from schedtuna.errors import UntrustedError, UsageError
from schedtuna.knobs.records import Owner, this_process
from schedtuna.lab.errors import LabError
from schedtuna.lab.named.guests import GuestRecord, find, find_all, guests_folder, require_up, stop
from schedtuna.machine.tasks import boot_id, start_ticks


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def write(name="trial", *, keeper=None, boot=None):
    record = GuestRecord(
        name=name,
        kernel="6.18.15",
        cpus=1,
        memory_mib=1024,
        boot_id=boot or boot_id(),
        started_at=time.time(),
        keeper=keeper or this_process(),
    )
    folder = guests_folder() / name
    folder.mkdir(mode=0o700, parents=True)
    (folder / "guest.json").write_text(record.model_dump_json())
    return record


def ended():
    with subprocess.Popen(["true"]) as process:
        return Owner(pid=process.pid, start_ticks=start_ticks(process.pid) or 0)


def test_without_any_there_is_none():
    assert find_all() == []
    with pytest.raises(UsageError, match="no guest is called 'trial'") as raised:
        find("trial")
    assert raised.value.hint == "schedtuna lab start trial"
    assert not guests_folder().exists()


def test_its_folder_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", "state")
    monkeypatch.chdir(tmp_path)
    folder = guests_folder()
    monkeypatch.chdir("/")  # where the keeper is
    assert folder.absolute() == tmp_path / "state/guests"


@pytest.mark.parametrize("name", ["", "../trial", ".", "a/b", "-x", "x" * 33, "a b", "é"])
def test_what_is_no_name_leads_nowhere(name):
    with pytest.raises(UsageError, match="no guest is called"):
        find(name)


def test_one_of_an_earlier_boot_is_gone_though_its_number_is_anothers():
    record = write(boot="of-another-boot")
    assert (find("trial").state, find("trial").gone) == ("gone", "this machine was started anew since")
    with pytest.raises(LabError, match="guest trial is gone"):
        require_up("trial")
    assert stop(record) == "this machine was started anew since"  # and this process is still here
    assert find_all() == []


def test_one_whose_keeper_was_killed_is_gone():
    write(keeper=ended())
    assert find("trial").gone == "the process that kept it was killed, and QEMU with it"


def test_a_number_that_is_anothers_now_is_not_its_keeper():
    record = write(keeper=Owner(pid=os.getpid(), start_ticks=(start_ticks(os.getpid()) or 0) + 1))
    assert find("trial").gone
    assert stop(record)  # and this process is still here


def test_one_that_died_says_of_what():
    write(keeper=ended())
    (guests_folder() / "trial/ended").write_text("it died; its console ends with:\nKernel panic")
    assert find("trial").gone.endswith("Kernel panic")


def test_one_that_has_no_line_yet_is_booting():
    write()
    assert find("trial").state == "booting"


def test_a_killed_process_is_ended_by_its_number_and_start():
    with subprocess.Popen(["sleep", "300"]) as process:
        record = write(keeper=Owner(pid=process.pid, start_ticks=start_ticks(process.pid) or 0))
        assert stop(record) == ""
        assert process.wait(10) == -15
    assert find_all() == []


def test_one_of_another_pid_namespace_is_left_alone():
    elsewhere = this_process().model_copy(update={"namespaces": {"pid": 1, "time": 1}})
    record = write(keeper=elsewhere)
    with pytest.raises(LabError, match="another PID namespace"):
        stop(record)
    assert [one.record for one in find_all()] == [record]


def test_what_others_could_have_written_is_not_believed(tmp_path):
    write()
    secret = tmp_path / "elsewhere.json"
    (guests_folder() / "trial/guest.json").rename(secret)
    (guests_folder() / "trial/guest.json").symlink_to(secret)
    with pytest.raises(UntrustedError):
        find("trial")


def test_what_is_damaged_or_newer_says_which_file():
    write()
    for text, said in (("{", "can't be read"), ('{"version": 99}', "99"), ("[]", "damaged")):
        (guests_folder() / "trial/guest.json").write_text(text)
        with pytest.raises(LabError, match=said):
            find_all()
