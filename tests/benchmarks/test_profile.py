"""The timed parts are those of the network, in its order."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import profile
from benchmarks.operations import operations
from benchmarks.workloads import WORKLOADS


def test_parts_fit_together():
  parts = list(profile.parts(WORKLOADS["W3_1"]._replace(shots=1, queries=1, width=8)).values())
  shapes = [jax.eval_shape(part.function, *part.arguments).shape for part in parts]
  assert len(parts) == 8 and shapes[-1] == (8, 1, 1, 10)
  for made, part in zip(shapes, parts[1:]):
    assert part.arguments[0].shape == made


def test_both_passes_give_the_gradients_that_the_step_needs():
  first, after, second = list(profile.parts(WORKLOADS["W3_1"]._replace(shots=1, queries=1, width=8)).values())[:3]
  for part, places in ((first, [1]), (after, [0, 1, 2]), (second, [0, 1])):
    outputs, *gradients = jax.eval_shape(lambda *arguments: profile.both(part, *arguments), *part.arguments)
    assert [gradient.shape for gradient in gradients] == [part.arguments[place].shape for place in places]
    assert outputs.shape == jax.eval_shape(part.function, *part.arguments).shape


def test_the_table_sums_the_parts(tmp_path, monkeypatch):
  page = tmp_path / "performance.md"
  page.write_text(f"<!-- table: {profile._COMMAND} -->\n<!-- end of table -->\n")
  monkeypatch.setattr(profile, "_PAGE", page)
  rows = {"convolution": {"forward_ms": 1.0, "both_ms": 3.0, "gflops": 50.0},
          "norm": {"forward_ms": 0.5, "both_ms": 1.0, "gflops": 0.0}}
  found = {"rows": rows, "step_ms": 5.0, "step_gflops": 40.0, "peak_gflops": 100.0,
           "operations": [{"name": f"name{place}", "backward": place == 1, "instructions": 2,
                           "milliseconds": 10.0 - place} for place in range(10)]}
  profile.write({"command": profile._COMMAND, "machine": "m", "versions": {"jax": "1", "flax": "2"},
                 "workloads": {"W3_1": found,
                               "W3b_1": {**found, "step_ms": 70.0}, "W1": {**found, "rows": {}, "step_ms": 0.25}}})
  text = page.read_text()
  assert "**W3b_1**" in text and "| the whole step of W3_1 | | 5.0 |" in text
  assert "| the whole step of W3b_1 | | 70.0 |" in text
  assert "| the whole step of W1 | | 0.250 |" in text and text.count("| all parts |") == 2
  assert "| all parts | 1.5 | 4.0, convolutions 3.0 | |" in text and "40 (40%)" in text
  assert "| name0, forward | 2 | 10.0 |\n| name1, backward | 2 | 9.0 |" in text and "| 2 others | | 3.0 |" in text


def test_operations_are_those_of_the_program_and_take_time():
  x = jnp.ones((200, 200))
  compiled = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(x @ x)))).lower(x).compile()
  found = {(operation.name, operation.backward): operation for operation in operations(
    lambda: compiled(x), compiled.as_text(), runs=3)}
  assert found["dot_general", False].instructions == 1 and found["dot_general", False].milliseconds > 0
  assert any(backward for _, backward in found)
  assert sum(each.milliseconds for each in found.values()) < 1000


def test_a_program_that_is_not_the_one_traced_has_no_operations():
  with pytest.raises(ValueError, match="no operation of the compiled program"):
    operations(lambda: jnp.sin(jnp.ones(3)), "HloModule other", runs=1)
