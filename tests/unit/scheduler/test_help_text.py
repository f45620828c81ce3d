"""Help texts of schedulers, of real clap in both its layouts, and as people write them by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.scheduler.guess import guess
from schedtuna.scheduler.help_text import about, parse_help

TICKLESS = """\
Usage: scx_tickless [OPTIONS]

Options:
      --exit-dump-len <EXIT_DUMP_LEN>
          Exit debug dump buffer length. 0 indicates default
          
          [default: 0]

  -m, --primary-domain <PRIMARY_DOMAIN>
          Define the set of CPUs, represented as a bitmask in hex (e.g., 0xff), dedicated to process
          scheduling events
          
          [default: 0x1]

  -s, --slice-us <SLICE_US>
          Maximum scheduling slice duration in microseconds (applied only when multiple tasks are
          contending the same CPU)
          
          [default: 20000]

  -f, --frequency <FREQUENCY>
          Frequency of the tick triggered on the scheduling CPUs to check for task time slice
          expiration (0 == CONFIG_HZ).
          
          A higher frequency can increase the overall system responsiveness but it can also introduce
          more scheduling overhead and load on the primary CPUs.
          
          [default: 0]

  -n, --nosmt
          Disable SMT topology awareness

  -t, --disable-topology[=<DISABLE_TOPOLOGY>]
          Disable topology awareness
          
          [possible values: true, false]

      --cpu-busy-thresh <CPU_BUSY_THRESH>
          Specifies the CPU utilization percentage (0-100%) beyond which a CPU is busy
          
          [default: 0]

      --lo-fb-share <LO_FB_SHARE>
          The fraction of CPU time guaranteed to fallback DSQs. See
          --lo-fb-wait-us
          
          [default: .05]

      --cell0 <CELL0>
          ***DEPRECATED*** CPUs of cell 0
          
          [default: 3]

  -h, --help
          Print help (see a summary with '-h')

Libbpf Options:
      --kconfig <KCONFIG>
          Additional kernel config content
"""  # noqa: W293 - as clap prints it


def test_each_flag_has_its_own_text_and_nothing_of_the_next_section():
    flags = parse_help(TICKLESS)
    assert flags["--help"].text == "Print help (see a summary with '-h')"
    assert flags["--frequency"].text == (
        "Frequency of the tick triggered on the scheduling CPUs to check for task time slice expiration "
        "(0 == CONFIG_HZ).\nA higher frequency can increase the overall system responsiveness but it can "
        "also introduce more scheduling overhead and load on the primary CPUs."
    )
    assert flags["--lo-fb-share"].text.endswith("See --lo-fb-wait-us")
    assert "--lo-fb-wait-us" not in flags
    assert flags["--disable-topology"].kind == "boolean"
    assert flags["--disable-topology"].default is None


def test_what_can_be_searched_has_bounds_a_unit_and_a_description():
    guessed = {name: guess(flag) for name, flag in parse_help(TICKLESS).items()}
    spec = guessed["--slice-us"]
    assert (spec.min_value, spec.max_value, spec.log, spec.unit) == (2000, 200_000, True, "us")
    assert spec.description.startswith("Maximum scheduling slice duration in microseconds")
    busy = guessed["--cpu-busy-thresh"]
    assert (busy.min_value, busy.max_value, busy.log, busy.unit) == (0, 100, False, "%")
    share = guessed["--lo-fb-share"]
    assert (share.default, share.min_value, share.max_value) == (0.05, 0.005, 0.5)
    assert guessed["--nosmt"].default is False


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--frequency", "no bounds follow from a default of 0"),
        ("--primary-domain", "'0x1' is not a number"),
        ("--disable-topology", "its default is not known"),
        ("--cell0", "deprecated"),
        ("--exit-dump-len", "does not say how tasks are scheduled"),
    ],
)
def test_what_can_not_be_searched_says_why(flag, reason):
    assert reason in guess(parse_help(TICKLESS)[flag])


@pytest.mark.parametrize(
    ("default", "text", "bounds"),
    [
        ("10ms", "Tick", (1, 100, "ms", "--x={value}ms")),
        ("512", "Performance level from 0 to 1024", (0, 1024, "", "--x")),
        ("5", "between 1 and 9 levels", (1, 9, "", "--x")),
        ("5", "Scale (6-9), or (1-9)", (1, 9, "", "--x")),
        ("80", "Busy above, in percent", (0, 100, "%", "--x")),
        ("6", "Limit preemption to the top P% of tasks", (1, 60, "", "--x")),
        ("2", "Interval in seconds", (1, 20, "s", "--x")),
    ],
)
def test_bounds_and_units_are_those_that_the_text_states(default, text, bounds):
    spec = guess(parse_help(f"  -x, --x <X>  {text} [default: {default}]\n")["--x"])
    assert (spec.min_value, spec.max_value, spec.unit, spec.command_arg) == bounds


HAND_WRITTEN = """\
usage: scx_own [-h] [-s US] [--mode {fast,slow}] [--debug-level N]

options:
  -h, --help            show this help message and exit
  -s US, --slice-us US  base slice (default: 5000)
  --mode {fast,slow}    what it leans towards (default: fast)
  -x=LEVEL\tlevel
  -1 = disabled, which is no flag
  - and this is a list
"""


def test_argparse_and_hand_written_texts_are_read():
    flags = parse_help(HAND_WRITTEN)
    assert list(flags) == ["--help", "--slice-us", "--mode", "-x"]
    assert (flags["--slice-us"].short, flags["--slice-us"].default) == ("-s", "5000")
    assert (flags["--mode"].choices, flags["--mode"].default) == (("fast", "slow"), "fast")
    assert flags["-x"].kind == "value"


def test_blanks_at_the_end_of_a_line_are_nothing():
    assert list(parse_help("  -s, --slice-us <US>   \n          Slice  \n  -f   \n")) == ["--slice-us", "-f"]


def test_a_value_that_is_listed_twice_is_one():
    flag = parse_help("  --mode <MODE>  [default: a] [possible values: a, b, a]\n")["--mode"]
    assert guess(flag).choices == ("a", "b")


def test_colours_are_not_part_of_a_flag():
    flags = parse_help("  \x1b[1m-s\x1b[0m, \x1b[1m--slice-us\x1b[0m <US>\n          Slice [default: 5]\n")
    assert flags["--slice-us"].default == "5"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("scx_toy: a toy.\n\nUsage: scx_toy\n", "scx_toy: a toy."),
        ("\nUsage: scx_toy\n", ""),
        ("usage: x\n", ""),
        ("  -s US  slice\n", ""),
        ("", ""),
    ],
)
def test_what_a_program_is_stands_in_its_first_line(text, line):
    assert about(text) == line


def test_a_summary_ends_with_a_sentence_or_a_word():
    flag = parse_help(f"  --a <A>  One sentence. {'word ' * 60}\n")["--a"]
    assert flag.summary() == "One sentence."
    flag = parse_help(f"  --a <A>  {'word ' * 60}\n")["--a"]
    assert flag.summary(20) == "word word word ..."


@pytest.mark.parametrize("command", ["check", "format", "server", "clean", "analyze graph"])
def test_the_two_layouts_of_the_real_clap_say_the_same(command):
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff, which is made with clap, is not installed")

    def asked(option):
        argv = [ruff, *command.split(), option]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    short, long = parse_help(asked("-h")), parse_help(asked("--help"))
    assert "--config" in long
    assert list(short) == list(long)
    for name, flag in short.items():
        beside = (flag.short, flag.kind, flag.default, flag.choices, flag.repeated)
        below = long[name]
        assert beside == (below.short, below.kind, below.default, below.choices, below.repeated)


def test_a_text_without_flags_leads_to_the_documents():
    with pytest.raises(UsageError) as raised:
        parse_help("Segmentation fault\n")
    assert "docs/sched-ext.md" in raised.value.hint
