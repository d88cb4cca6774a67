"""The counts of kills, bad inputs and a long run, and their tables."""

import base64

import pytest

from benchmarks import bad_inputs, reliability

_TRIALS = [
    {"recipe": "sinusoid", "layout": "1x8", "signals": ["SIGKILL", "SIGTERM"], "torn_saves": 1, "outcome": "the same"},
    {"recipe": "sinusoid", "layout": "1x8", "signals": ["SIGKILL"], "torn_saves": 0, "outcome": "differs in state"},
    {"recipe": "quickstart", "layout": "2x1", "signals": ["SIGKILL"], "torn_saves": 1, "outcome": "lost: code 1"}]


def test_kills_are_counted_by_recipe_and_layout():
  lines = reliability.kills({"trials": _TRIALS})
  assert lines[2:] == ["| MAML, sinusoids | 1 | 8 | 2 | 2 | 1 | 1 | 0 | 1 |",
                       "| ProtoNet, glyphs | 2 | 1 | 1 | 1 | 0 | 1 | 1 | 0 |", "| all | | | 3 | 3 | 1 | 2 | 1 | 1 |"]


def _report(statistics):
  told = base64.b64encode(statistics.encode()).decode()
  return f"""<testsuites><testsuite><properties>
    <property name="hypothesis-statistics-tests/test_a.py::test_any[x]" value="{told}"/></properties>
    <testcase classname="tests.test_a" name="test_any[x]" time="1.5"/>
    <testcase classname="tests.test_a" name="test_one" time="0.5"><failure message="TypeError: no"/></testcase>
    <testcase classname="tests.test_b" name="test_two" time="60"><error message="Failed: Timeout (&gt;60s)"/></testcase>
    <testcase classname="tests.test_b" name="test_left_out" time="0"><skipped/></testcase>
    </testsuite></testsuites>"""


def test_inputs_are_counted_by_file():
  rows = bad_inputs.count(_report("- during generate phase:\n - 37 passing, 1 failing, and 4 invalid test cases\n"))
  assert rows == {"tests.test_a": {"tried": 39, "errors": 1, "hangs": 0, "longest_seconds": 1.5},
                  "tests.test_b": {"tried": 1, "errors": 0, "hangs": 1, "longest_seconds": 60.0}}
  with pytest.raises(ValueError, match="unknown format"):
    bad_inputs.count(_report("- many examples\n"))
  total = {"tried": 40, "errors": 1, "hangs": 1}
  assert reliability.inputs({"rows": rows, "total": total})[2:] == [
      "| `tests/test_a.py` | 39 | 1 | 0 | 1.5 |", "| `tests/test_b.py` | 1 | 0 | 1 | 60.0 |", "| all | 40 | 1 | 1 | |"]


def test_the_growth_of_a_long_run_is_reported():
  kept = {"steps": 20_000, "saves": 100, "memory_bytes": [100 * 2**20, 101 * 2**20], "open_files": [40, 41],
          "programs_compiled": [60, 60]}
  assert reliability.length(kept)[2:] == ["| memory, MiB | 100.0 | 101.0 | 1.00% |", "| open files | 40 | 41 | 1 |",
                                          "| programs compiled so far | 60 | 60 | 0 |"]
