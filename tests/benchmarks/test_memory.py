"""The compared gradients compute the same; the table is written from stored results."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import memory
from metajax.examples import examples


def test_the_forms_adapt_alike():
  random = np.random.default_rng(0)
  support = examples(jnp.asarray(random.normal(size=(5, 16, 16, 3)), jnp.float32), jnp.arange(5, dtype=jnp.int32))
  params = jax.jit(memory.FORMS["second order"](2).init)(jax.random.key(0), support.inputs)
  adapted = [jax.jit(form(2).adapt)(params, support, None) for form in memory.FORMS.values()]
  assert not any((a == b).all() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(adapted[0])))
  for other in adapted[1:]:
    chex.assert_trees_all_close(other, adapted[0], rtol=1e-4, atol=1e-6)


def test_the_table_compares_with_first_order(tmp_path, monkeypatch):
  page = tmp_path / "memory.md"
  page.write_text(f"<!-- table: {memory._COMMAND} -->\n<!-- end of table -->\n")
  monkeypatch.setattr(memory, "_PAGE", page)
  row = {"steps": 5, "form": "first order", "working_bytes": 2**21, "flops": 3e9}
  rows = {"5 steps, first order": row, "other": {**row, "form": "second order", "working_bytes": 3 * 2**20}}
  memory.write({"command": memory._COMMAND, "machine": "m", "versions": {"jax": "1", "flax": "2"}, "rows": rows})
  assert "| 5 | second order | 3 | 1.50 | 3.0 |" in page.read_text()
