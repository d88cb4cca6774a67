"""ConML's additional time per step is listed by operation, and the rows sum to the total."""

import pytest

from benchmarks import contrast_profile
from experiments.regression import sinusoid


def _operations(**times):
  return [{"name": name, "backward": name.startswith("back"), "instructions": 1, "milliseconds": time}
          for name, time in times.items()]


def test_the_tables_say_what_each_operation_takes_more(tmp_path, monkeypatch):
  page = tmp_path / "performance.md"
  page.write_text(f"<!-- table: {contrast_profile._COMMAND} -->\n<!-- end of table -->\n")
  monkeypatch.setattr(contrast_profile, "_PAGE", page)
  monkeypatch.setattr(contrast_profile, "_LONGEST", 2)
  found = {"recipe": "sinusoid", "learner": "maml", "settings": {}, "ratio": 1.5, "arithmetic": 1.4, "pass_ms": 0.125,
           "megabytes": 11.2,
           "plain": {"ms": 4.0, "gflops": 50.0, "operations": _operations(dot=2.0, back=1.0, gone=0.5)},
           "conml": {"ms": 6.0, "gflops": 40.0, "operations": _operations(dot=3.0, back=4.0, new=0.25)}}
  contrast_profile.write({"command": contrast_profile._COMMAND, "machine": "m", "results": [found],
                          "versions": {"jax": "1", "flax": "2"}})
  text = page.read_text()
  assert "**sinusoid:maml**: 1.50 times the time of the plain step and 1.40 times its floating-point" in text
  assert "The plain step takes 4 ms at 50 GFLOP/s" in text
  assert "with ConML 6 ms at 40. Reading and writing the weights of all tasks once (11.2 MB) takes 0.12 ms." in text
  assert "| back, backward | 1.000 | 4.000 | 3.000 |\n| dot, forward | 2.000 | 3.000 | 1.000 |" in text
  assert "| 2 others | 0.500 | 0.250 | -0.250 |\n| all | 3.500 | 7.250 | 3.750 |" in text


def test_a_pass_is_over_the_weights_that_tasks_adapt():
  config = sinusoid.get_config("maml")
  hidden = config.hidden
  units = [1, *hidden, 1]
  assert contrast_profile._count(sinusoid.build(config)) == sum((a + 1) * b for a, b in zip(units, units[1:]))


@pytest.mark.parametrize("learner", ["maml", "fomaml"])
def test_the_cases_are_those_with_a_limit(learner):
  found = [case for case in contrast_profile.cases() if case[1] == learner]
  assert [case[0] for case in found] == ["sinusoid", "omniglot"]
