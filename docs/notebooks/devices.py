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
# # Scaling to devices
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/metajax/metajax/blob/main/docs/notebooks/devices.ipynb)
#
# The tasks of a meta-batch are mapped over all devices. Nothing in the learner or the objective changes, and the
# numbers are the same up to rounding. A laptop can pretend to have eight devices; that shows everything but speed.

# %%
# In Colab, this installs metajax; elsewhere it is there.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("metajax") is None:
  subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet",
                         "metajax[lab,data] @ git+https://github.com/metajax/metajax"])

# %%
import os

# Before JAX is woken. On real accelerators leave it out.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import matplotlib.pyplot as plt
import numpy as np
import optax

from metajax import contrast, learners, losses, networks, objectives, training
from metajax.contrast import distances
from metajax.tasks.sinusoids import sinusoids
from metajax.training.sharding import TASKS, task_mesh

STEPS, ROW = (8, 4) if "METAJAX_SHORT" in os.environ else (2000, 100)
jax.devices()

# %% [markdown]
# ## The same training on one device and on eight
#
# The step tells the objective over which mapped axis the tasks are sharded. An episode is a function of the seed, the
# step and the task's index in the meta-batch, so both runs see the same tasks. Eight devices add up in another order,
# so results differ in the last digits; training amplifies that as it does any rounding.

# %%
learner = learners.maml(networks.mlp((40, 40), 1), losses.squared_error, optimizer=optax.sgd(0.01), num_steps=1)
objective = objectives.conml(learner, losses.squared_error, weight=0.1)
tasks, optimizer = sinusoids(shots=10, queries=10), optax.adam(1e-3)


def train(devices):
  state, rows = training.init_state(learner, optimizer, tasks, jax.random.key(0)), []
  advance = training.make_advance(objective, optimizer, tasks, num_tasks=32, num_steps=ROW, key=jax.random.key(1),
                                  mesh=task_mesh(devices))
  training.fit(state, tasks, advance, num_steps=STEPS, steps_per_dispatch=ROW, steps_per_row=ROW,
               hooks=[lambda step, state, metrics: rows.append((step, metrics["loss"], metrics["d_out"]))])
  return np.array(rows)


one, eight = train(jax.devices()[:1]), train(jax.devices())
apart = np.abs(one[:, 2] / eight[:, 2] - 1)
print(f"relative difference of d_out: {apart[0]:.1e} after {ROW} steps, {apart.max():.1e} at most")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for panel, column, label in zip(axes, (1, 2), ("loss (target units²)", "$d_{out}$, over all devices")):
  panel.plot(one[:, 0], one[:, column], color="#56B4E9", linewidth=5, label="1 device")
  panel.plot(eight[:, 0], eight[:, column], "--", color="#D55E00", label="8 devices")
  panel.set(xlabel="meta-training step", ylabel=label)
axes[0].legend()
plt.show()

# %% [markdown]
# ## The formulas in a mapped program of your own
#
# With an `axis_name` each device gets the value over all tasks, and the gradient of its own share: average the
# gradients, as with any loss.

# %%
full = jax.random.normal(jax.random.key(0), (16, 5))  # e*, 16 tasks
views = full[:, None] + 0.1 * jax.random.normal(jax.random.key(1), (16, 3, 5))  # e_k, three views of each


def loss(scale, full, views, axis_name=None):
  return contrast.contrastive_loss(jnp.tanh(scale * full), jnp.tanh(scale * views), distances.cosine, axis_name)


def shared(scale, full, views):
  return jax.lax.pmean(jax.value_and_grad(loss)(scale, full, views, TASKS), TASKS)


mapped = jax.jit(jax.shard_map(shared, mesh=task_mesh(), in_specs=(PartitionSpec(), *[PartitionSpec(TASKS)] * 2),
                               out_specs=PartitionSpec(), check_vma=False))
print("one device:   ", *jax.value_and_grad(loss)(1.5, full, views))
print("eight devices:", *mapped(1.5, full, views))
