"""The report of a dry run, which leaves no files."""

import pytest

from metajax.lab.dry_run import dry_run
from tests.small_runs import build_sinusoid


@pytest.mark.parametrize("training", [{}, {"spread_state": True}, {"pmap": True}])
def test_a_dry_run_says_what_a_run_costs_and_leaves_nothing(tmp_path, monkeypatch, training):
  monkeypatch.chdir(tmp_path)
  said = []
  found = dry_run(build_sinusoid(**training), say=said.append)
  assert found.parameters == 4 + 4 + 4 + 1 and "13 parameters" in said[1]
  assert found.flops > 2 * 6 * 3 * 16  # two steps of six points, forward and twice backward; 2 * 4 * 2 per point
  assert not list(tmp_path.iterdir())
