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
# # The same with metajax, then ConML
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/metajax/metajax/blob/main/docs/notebooks/conml.ipynb)
#
# MAML on sinusoids again, in a few lines; then the contrastive meta-objective ConML (Wu et al., 2025), and what it does
# to the models that are learned.

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

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

from metajax import learners, losses, networks, objectives, training
from metajax.lab.pictures import map_picture
from metajax.objectives import views
from metajax.tasks.sinusoids import sinusoids
from metajax.training import evaluation
from metajax.training.sharding import task_mesh

STEPS, ROW = (40, 10) if "METAJAX_SHORT" in os.environ else (20_000, 500)

# %% [markdown]
# ## A learner, two objectives
#
# A learner says how one task is learned. An objective says what is asked of it: `episodic`, the loss on the query set;
# `conml`, that and a contrast. It aligns the models learned from a part and from all of a task (`d_in` small), and
# discriminates those of different tasks (`d_out` large).

# %%
learner = learners.maml(networks.mlp((40, 40), 1), losses.squared_error, optimizer=optax.sgd(0.01), num_steps=1)
tasks = sinusoids(shots=10, queries=10)
# With the weight 0, ConML's distances are measured but not trained: this is the plain objective, to the last bit.
asked = {"without ConML": objectives.conml(learner, losses.squared_error, weight=0.0),
         "with ConML": objectives.conml(learner, losses.squared_error, weight=0.1)}

# %% [markdown]
# ## Training
#
# One compiled call does `ROW` meta-steps: it samples 25 tasks, adapts, contrasts, differentiates and updates.

# %%
optimizer, mesh, key = optax.adam(1e-3), task_mesh(jax.devices()[:1]), jax.random.key(1)
params, curves = {}, {}
for name, objective in asked.items():
  state = training.init_state(learner, optimizer, tasks, jax.random.key(0))
  advance = training.make_advance(objective, optimizer, tasks, num_tasks=25, num_steps=ROW, key=key, mesh=mesh)
  rows = []
  state = training.fit(state, tasks, advance, num_steps=STEPS, steps_per_dispatch=ROW, steps_per_row=ROW,
                       hooks=[lambda step, state, metrics: rows.append({"step": step, **metrics})])
  params[name], curves[name] = state.params, {column: [row[column] for row in rows] for column in rows[0]}

# %% [markdown]
# ## Alignment and discrimination

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for name, colour in zip(asked, ("#D55E00", "#0072B2")):
  for panel, column, label in zip(axes, ("episodic_loss", "d_in", "d_out"), (
      "query loss (target units²)", "$d_{in}$, within a task", "$d_{out}$, between tasks")):
    panel.plot(curves[name]["step"], curves[name][column], color=colour, label=name)
    panel.set(xlabel="meta-training step", ylabel=label, yscale="log")
axes[0].legend()
plt.show()

# %% [markdown]
# The map: models learned from ten subsets of each of ten tasks, a colour a task, a star for the model of all the
# task's data. Below each is the silhouette of its clusters, in [-1, 1].

# %%
subsets = views.random_subsets(10, 10)
for name in asked:
  figure, score = map_picture(learner, params[name], sinusoids(50, 50), subsets, jax.random.key(2), name)
  display(figure)  # noqa: F821, a notebook has it

# %% [markdown]
# ## The test
#
# Frozen episodes, the same for both, five shots. Differences of a pair are less noisy than either number.

# %%
evaluate = evaluation.make_evaluate(learner, losses.squared_error, {}, sinusoids(5, 100), num_episodes=600,
                                    key=jax.random.key(3))
results = {name: evaluate(params[name])["loss"] for name in asked}
for name, result in results.items():
  print(f"{name:14} {result}")
print(f"difference     {evaluation.estimate(np.subtract(*(result.values for result in results.values())))}")
