"""Columns that don't shift, units that are not guessed, and rows that are samples."""

import io

import pytest
from tests.unit.trace.formats.texts import VMSTAT_T

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.formats.vmstat import is_vmstat, parse_vmstat, parse_vmstat_without_boot

GROUPS = "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----"
ENGLISH = "r b swpd free buff cache si so bi bo in cs us sy id wa st"
BOOT = "1 0 0 900000 20000 300000 0 0 1 2 50 100 1 1 98 0 0"
ROW = "2 1 4 800000 20000 310000 3 7 8 16 150 400 10 5 84 1 0"
# As procps-ng 4.0.2 prints them.
LANGUAGES = {
    "fr": "r b swpd libre tampon cache si so bi bo in cs us sy id wa st",
    "de": "r b swpd frei buff Cache si so bi bo in cs us sy id wa st",
    "es": "r b swpd libre búf caché si so bi bo in cs us sy id wa st",
    "ka": "r b swpd თავისუფალია buff cache si so bi bo in cs us sy id wa st",
    "ko": "r b 스왑 가용 버퍼 캐시 입 출 입 출 in cs us sy id wa st",
    "pl": "dz bl swap wolna bufor cache si so bi bo in cs uż sy be io sk",
    "pt_BR": "r b swpd livre buff cache si so bi bo in cs us sy id wa st",
    "ro": "r b swpd liber buff cache sin so bin bo in cs us sy id wa st",
    "sv": "k b växl fritt buff cache vi vu bi bu avb ktxb an sy ia vä st",
    "uk": "r b swpd free buff кеш si so bi bo in cs us sy id wa st",
    "vi": "r b swpd trống buff nhớtạm si so bi bo in cs us sy id wa st",
    "zh_CN": "r b 交换 空闲 缓冲 缓存 si so bi bo in cs us sy id wa st",
}


def text(*lines):
    return "\n".join([GROUPS, *lines, ""]).encode()


def read(data, parse=parse_vmstat):
    collector = Collector()
    parse(io.BytesIO(data), collector)
    return collector.trace()


def rows(data, parse=parse_vmstat):
    return read(data, parse).samples().drop("timestamp_ns").rows(named=True)


EXPECTED = rows(text(ENGLISH, BOOT, ROW))


def test_the_usual_header_is_read():
    (row,) = EXPECTED
    assert row == {
        "run_queue_length": 2, "nr_io_blocked_threads": 1, "swap_used_bytes": 4096,
        "memory_free_bytes": 800000 * 1024, "buffers_bytes": 20000 * 1024, "cache_bytes": 310000 * 1024,
        "swap_in_bytes_per_s": 3072, "swap_out_bytes_per_s": 7168, "io_read_bytes_per_s": 8192,
        "io_written_bytes_per_s": 16384, "interrupts_per_s": 150, "switches_per_s": 400, "user_percent": 10,
        "system_percent": 5, "idle_percent": 84, "iowait_percent": 1, "steal_percent": 0, "cpu_percent": 15,
    }  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_gives_the_same(language):
    data = text(LANGUAGES[language], BOOT, ROW)
    assert is_vmstat(data)
    assert rows(data) == EXPECTED


@pytest.mark.parametrize(
    "words", ["inact active", "inact actif", "inakt aktiv", "nieakt akt", "비활 활성", "不活动 活动"]
)
def test_active_memory_is_not_a_cache_in_any_language(words):
    (row,) = rows(text(ENGLISH.replace("buff cache", words), BOOT, ROW))
    assert (row["memory_inactive_bytes"], row["memory_active_bytes"]) == (20000 * 1024, 310000 * 1024)
    assert "cache_bytes" not in row


def test_of_two_unknown_words_it_is_not_guessed_whether_they_are_the_cache():
    (row,) = rows(text(ENGLISH.replace("buff cache", "ena dva"), BOOT, ROW))
    assert (row["vmstat_ena"], row["vmstat_dva"]) == (20000, 310000)
    assert not {"buffers_bytes", "memory_inactive_bytes"} & row.keys()


@pytest.mark.parametrize("at", range(18))
def test_an_unknown_column_keeps_its_word_and_moves_nothing(at):
    def put(line, word):
        words = line.split()
        return " ".join([*words[:at], word, *words[at:]])

    (row,) = rows(text(put(ENGLISH, "zz"), put(BOOT, "7"), put(ROW, "7")))
    assert row.pop("vmstat_zz") == 7
    assert row == EXPECTED[0]


@pytest.mark.parametrize(
    ("header", "row", "match"),
    [
        (ENGLISH, ROW + " 9", "expected 17 numbers"),
        (ENGLISH, ROW.rsplit(" ", 1)[0], "expected 16 numbers"),
        (ENGLISH, ROW.replace("84", "48"), "add up to 64%"),
        (ENGLISH, ROW.replace("84", "840"), "add up to 856%"),
        (ENGLISH, ROW.replace(" 10 ", " -10 "), "expected a number for us, got '-10'"),
        (ENGLISH, ROW.replace("400", "4_00"), "expected a number for cs"),
        (LANGUAGES["pl"].replace("uż", "uż nn"), ROW.replace(" 10 ", " 10 0 "), "header are not known"),
        (ENGLISH.replace("us", "cs"), ROW, "header are not known"),
        ("a b c d e f g h i j k l m n o p q", ROW, "header are not known"),
    ],
)
def test_what_can_not_be_is_refused_and_the_language_is_named(header, row, match):
    with pytest.raises(TraceError, match=match) as caught:
        read(text(header, row, row))
    assert "LC_ALL=C vmstat" in caught.value.hint


def test_guests_time_is_used_time_whether_it_is_beside_the_users_or_in_it():
    beside = rows(text(ENGLISH + " gu", BOOT + " 0", ROW.replace("84", "44") + " 40"))
    within = rows(text(ENGLISH + " gu", BOOT + " 0", ROW + " 8"))
    assert (beside[0]["guest_percent"], beside[0]["cpu_percent"]) == (40, 55)
    assert (within[0]["guest_percent"], within[0]["cpu_percent"]) == (8, 15)


def test_memory_in_an_unknown_unit_is_kept_without_one_and_that_is_told():
    """vmstat -S m: nothing but the numbers shows it."""
    trace = read(text(ENGLISH, BOOT, ROW.replace("800000 20000 310000", "24279 276 601")))
    (row,) = trace.samples().rows(named=True)
    assert (row["vmstat_free"], row["vmstat_cache"], row["vmstat_si"]) == (24279, 601, 3)
    assert row["io_read_bytes_per_s"] == 8192  # -S does not change blocks
    assert not [name for name in row if "memory" in name or "swap" in name or "cache_bytes" in name]
    assert "vmstat -S" in str(trace.sample_notes)


def test_memory_of_a_machine_that_is_too_small_has_no_unit_either():
    small = text(
        ENGLISH, BOOT.replace("900000 20000 300000", "24280 276 600"), ROW.replace("800000", "24280")
    )
    assert "memory_free_bytes" in rows(small)[0]
    smaller = small.replace(b"20000 310000", b"276 600")
    assert "memory_free_bytes" not in rows(smaller)[0]


def test_without_times_they_are_made_up_and_that_is_told():
    trace = read(text(ENGLISH, BOOT, ROW, ROW))
    assert (trace.clock, trace.sample_times) == ("none", "made up")
    assert "made up" in trace.sample_notes[0]
    timed = read(VMSTAT_T)
    assert (timed.clock, timed.sample_times) == ("realtime", "column")
    assert "made up" not in str(timed.sample_notes)


@pytest.mark.parametrize(
    ("zone", "hours", "told"),
    [("UTC", 0, False), ("GMT", 0, False), ("+03", -3, False), ("-0530", 5.5, False), ("CET", 0, True)],
)
def test_zones_are_understood_where_their_names_say_them(zone, hours, told):
    utc = read(VMSTAT_T).samples()["timestamp_ns"][0]
    trace = read(VMSTAT_T.replace(b"UTC", zone.encode()))
    assert trace.samples()["timestamp_ns"][0] == utc + hours * 3600 * 10**9
    assert ("taken for UTC" in str(trace.sample_notes)) is told


def test_old_versions_have_the_zone_in_each_row():
    old = VMSTAT_T.replace(b"UTC", b"   ").replace(b":07\n", b":07 +01\n").replace(b":08\n", b":08 +01\n")
    assert (
        read(old).samples()["timestamp_ns"][0] == read(VMSTAT_T).samples()["timestamp_ns"][0] - 3600 * 10**9
    )


def numbered(count, start=0):
    return [ROW.replace("400", str(400 + start + n)) for n in range(count)]


def test_a_header_that_is_printed_again_loses_no_row():
    lines = numbered(60)
    blocks = [ENGLISH, BOOT, *lines[:20], GROUPS, ENGLISH, *lines[20:41], GROUPS, ENGLISH, *lines[41:]]
    assert [row["switches_per_s"] for row in rows(text(*blocks))] == [400 + n for n in range(60)]


def test_of_an_appended_run_the_row_since_boot_is_left_out():
    trace = read(text(ENGLISH, BOOT, *numbered(3), GROUPS, ENGLISH, BOOT, *numbered(2, 3)))
    assert trace.samples()["switches_per_s"].to_list() == [400, 401, 402, 403, 404]
    assert "first rows of 2 runs" in str(trace.sample_notes)


def test_of_a_run_that_is_appended_where_a_header_was_due_too():
    text_of_both = text(ENGLISH, BOOT, *numbered(20), GROUPS, ENGLISH, BOOT, *numbered(2, 20))
    assert rows(text_of_both)[-3:] == rows(text(ENGLISH, BOOT, *numbered(22)))[-3:]


def test_without_a_row_since_boot_every_row_counts():
    data = text(ENGLISH, *numbered(3))
    assert len(rows(data)) == 2
    assert "vmstat-y" in str(read(data).sample_notes)
    assert len(rows(data, parse_vmstat_without_boot)) == 3


@pytest.mark.parametrize(
    "head", [b"", b"hello\nworld\n", b"---\n---\n", b"\n" * 65536, b"-" * 65536, b"r b\n1 2\n" * 9000]
)
def test_other_texts_are_not_taken_for_vmstat(head):
    assert not is_vmstat(head)


def test_the_zone_of_a_time_names_no_column():
    header = "procs ---memory---\nr b swpd free buff cache si so bi bo in cs us sy id wa st UTC\n"
    first = "0 0 0 131072 0 0 0 0 0 0 7 0 0 0 0 100 0 2024-02-28 23:59:50\n"
    second = "0 0 0 131072 0 0 0 0 0 0 9000 0 0 0 0 100 0 2024-02-28 23:59:57\n"
    assert len(rows((header + first + second).encode())) == 1
    gained = first.replace("100 0 ", "100 0 7 ")
    with pytest.raises(TraceError, match="line 3: expected 17 numbers"):
        read((header + gained + header + first + second).encode())
