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
# # Meta-learning by hand
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/metajax/metajax/blob/main/docs/notebooks/by_hand.ipynb)
#
# What metajax does, without metajax: MAML on sinusoids in 60 lines of plain JAX. A task is a sine curve of unknown
# height and phase, seen at ten points. What is learned is a starting point from which one gradient step, on those ten
# points, fits the curve.

# %%
# Colab has these; elsewhere, this installs what is missing.
import importlib.util
import subprocess
import sys

if missing := [name for name in ("jax", "matplotlib", "optax") if importlib.util.find_spec(name) is None]:
  subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", *missing])

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

STEPS = 100 if "METAJAX_SHORT" in os.environ else 20_000

# %% [markdown]
# ## A task, and a network
#
# Both are pure functions of a key. One task is sampled at a time; `vmap` makes many of it.


# %%
def sample_task(key):
  key_height, key_phase, key_x = jax.random.split(key, 3)
  height = jax.random.uniform(key_height, minval=0.1, maxval=5.0)
  phase = jax.random.uniform(key_phase, maxval=jnp.pi)
  x = jax.random.uniform(key_x, (20, 1), minval=-5.0, maxval=5.0)
  y = height * jnp.sin(x - phase)
  return (x[:10], y[:10]), (x[10:], y[10:])  # support: to learn from; query: to be judged on


def init(key):
  sizes = [1, 40, 40, 1]
  keys = jax.random.split(key, 3)
  return [(jax.random.normal(k, (m, n)) / jnp.sqrt(m), jnp.zeros(n)) for k, m, n in zip(keys, sizes, sizes[1:])]


def apply(params, x):
  for weights, bias in params[:-1]:
    x = jax.nn.relu(x @ weights + bias)
  weights, bias = params[-1]
  return x @ weights + bias


def loss(params, x, y):
  return jnp.mean((apply(params, x) - y) ** 2)


# %% [markdown]
# ## The inner loop, the outer loss, the meta-gradient
#
# Adaptation is a gradient step. The outer loss is the loss *after* it, on other points of the same curve; its gradient
# goes through the step, and so contains second derivatives, which JAX takes as a matter of course.


# %%
def adapt(params, x, y, steps=1):
  for _ in range(steps):
    params = jax.tree.map(lambda w, g: w - 0.01 * g, params, jax.grad(loss)(params, x, y))
  return params


def meta_loss(params, key):
  support, query = jax.vmap(sample_task)(jax.random.split(key, 25))
  adapted = jax.vmap(adapt, in_axes=(None, 0, 0))(params, *support)
  return jnp.mean(jax.vmap(loss)(adapted, *query))


optimizer = optax.adam(1e-3)


@jax.jit
def train(params, state, key):

  def step(carry, key):
    params, state = carry
    value, gradient = jax.value_and_grad(meta_loss)(params, key)
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(params, updates), state), value

  (params, state), losses = jax.lax.scan(step, (params, state), jax.random.split(key, STEPS))
  return params, losses


first = init(jax.random.key(0))
params, losses = train(first, optimizer.init(first), jax.random.key(1))
print(f"query loss after adaptation: {losses[:10].mean():.2f} at first, {losses[-100:].mean():.2f} in the end")

# %% [markdown]
# ## What was learned
#
# The same network, one gradient step on the same ten points, from a random start and from the learned one.

# %%
(x, y), _ = sample_task(jax.random.key(7))
grid = jnp.linspace(-5, 5, 200)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True)
for panel, start, title in zip(axes, (first, params), ("from a random start", "from the learned start")):
  for steps, style in ((0, ":"), (1, "--"), (10, "-")):
    panel.plot(grid, apply(adapt(start, x, y, steps), grid), style, color="#0072B2", label=f"after {steps} steps")
  panel.plot(x, y, "o", color="#D55E00", label="the ten points")
  panel.set(title=title, xlabel="x (units of the input)", ylabel="y (units of the target)")
panel.legend()
plt.show()

# %% [markdown]
# That is all of meta-learning's machinery. What it does not have: other learners, images, many devices, padding,
# checkpoints, test episodes with intervals, and a second opinion on whether the tasks' models are any good. The next
# notebook begins there.
