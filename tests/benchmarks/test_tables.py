"""Tables are written at their markers only; programs are timed alternately."""

import jax.numpy as jnp
import pytest

from benchmarks import tables
from benchmarks.interleaved import Times, interleaved, ratio


def test_a_table_replaces_the_old_one(tmp_path):
  page = tmp_path / "page.md"
  page.write_text("above\n<!-- table: one -->\nold\n<!-- end of table -->\n"
                  "between\n<!-- table: two -->\nkept\n<!-- end of table -->\nbelow\n")
  tables.insert(page, "one", ["| a |", "| b |"])
  assert page.read_text() == ("above\n<!-- table: one -->\n| a |\n| b |\n<!-- end of table -->\n"
                              "between\n<!-- table: two -->\nkept\n<!-- end of table -->\nbelow\n")
  with pytest.raises(ValueError, match="no line '<!-- table: three -->'"):
    tables.insert(page, "three", [])


def test_a_measurement_records_its_machine():
  kept = tables.about("python -m benchmarks.some")
  assert "cores" in kept["machine"] and set(kept["versions"]) >= {"jax", "metajax"}
  assert "`python -m benchmarks.some`, on " in tables.machine(kept)


def test_programs_alternate():
  order = []

  def program(name):
    return lambda: (order.append(name), jnp.zeros(()))[1]

  times = interleaved({"a": program("a"), "b": program("b")}, windows=3, seconds=1e-9)
  assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3  # two untimed calls each, then alternately
  assert len(times["a"].wall) == len(times["b"].cpu) == 3


def test_a_ratio_compares_adjacent_windows():
  # The machine slows down: the ratio of the separate medians would be 4, or 1.
  slower, faster = Times([2.0, 4.0, 80.0], [0.0] * 3), Times([1.0, 2.0, 40.0], [0.0] * 3)
  assert ratio(slower, faster) == 2.0 and faster.median == 2.0
