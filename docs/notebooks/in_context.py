# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # In-context learning of functions
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/metajax/metajax/blob/main/docs/notebooks/in_context.ipynb)
#
# Garg et al., 2022, in small: a transformer reads `x1, y1, x2, y2, ...` of a linear function it has never seen, and
# predicts the next `y`. Nothing is adapted; the task is learned by being read. ConML needs no change: its
# representation of a task is the output at a dummy input after the prompt.

# %%
# In Colab, this installs metajax; elsewhere it is there.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("metajax") is None:
  subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet",
                         "metajax[lab,data] @ git+https://github.com/metajax/metajax"])

# %%
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from metajax import losses, objectives, training
from metajax.learners.in_context import in_context, read
from metajax.networks.transformer import transformer
from metajax.tasks import functions
from metajax.tasks.sampling import sample_tasks
from metajax.training.sharding import task_mesh

STEPS, ROW = (20, 10) if "METAJAX_SHORT" in os.environ else (5000, 100)
DIMENSIONS, POINTS = 3, 11

# %% [markdown]
# ## Tasks, network, objective

# %%
tasks = functions.function_tasks(functions.linear, dimensions=DIMENSIONS, points=POINTS)
network = transformer(1, max_tokens=2 * POINTS + 1, layers=3, heads=2, width=64)
learner = in_context(network)
objective = objectives.autoregressive(functools.partial(read, network), losses.squared_error, weight=0.02)
optimizer = optax.adam(1e-3)

# %%
state = training.init_state(learner, optimizer, tasks, jax.random.key(0))
advance = training.make_advance(objective, optimizer, tasks, num_tasks=64, num_steps=ROW, key=jax.random.key(1),
                                mesh=task_mesh(jax.devices()[:1]))
state = training.fit(
    state, tasks, advance, num_steps=STEPS, steps_per_dispatch=ROW, steps_per_row=ROW,
    hooks=[lambda step, state, metrics: step % (10 * ROW) or print(f"step {step}  loss {metrics['loss']:.3f}")])

# %% [markdown]
# ## The error against the number of examples
#
# Least squares is what one would do who knows that the functions are linear. It needs as many examples as there are
# dimensions.

# %%
prompts = sample_tasks(tasks, tasks.data, jax.random.key(2), jnp.arange(500))
inputs = jnp.concatenate([prompts.support.inputs, prompts.query.inputs], axis=1)  # [T, N, d]
targets = jnp.concatenate([prompts.support.targets, prompts.query.targets], axis=1)  # [T, N, 1]


@jax.jit
def predict(params):
  along = lambda x, y: read(network, params, x, y, jnp.ones(POINTS, bool), x[:1])[0]
  return jax.vmap(along)(inputs, targets)


def least_squares(count):
  solve = lambda x, y: jnp.linalg.pinv(x[:count]) @ y[:count]
  return jnp.einsum("td,tdm->tm", inputs[:, count], jax.vmap(solve)(inputs, targets))


solved = jnp.stack([least_squares(count) for count in range(1, POINTS)], axis=1)
solved = jnp.concatenate([jnp.zeros_like(solved[:, :1]), solved], axis=1)
figure, axes = plt.subplots(figsize=(5, 3.5))
for name, outputs, line in (("transformer", predict(state.params), "-"), ("least squares", solved, "--")):
  axes.plot(jnp.mean((outputs - targets) ** 2, axis=(0, 2)), line, label=name)
axes.set(title=f"Linear functions in {DIMENSIONS} dimensions", xlabel="in-context examples",
         ylabel="mean squared error (target units²)", ylim=(0, None))
axes.legend()
plt.show()
