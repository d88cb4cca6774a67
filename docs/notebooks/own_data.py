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
# # Your own data, your own learner
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/metajax/metajax/blob/main/docs/notebooks/own_data.ipynb)
#
# From arrays and labels to few-shot tasks, and from a formula to a learner that trains with ConML.

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
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from metajax import Learner, losses, networks, objectives, training
from metajax.data import from_arrays
from metajax.lab.pictures import Named, image_picture
from metajax.learners.class_means import class_means, without_absent
from metajax.tasks import class_tasks
from metajax.tasks.class_data import numbered, take_classes
from metajax.training import evaluation
from metajax.training.sharding import task_mesh

STEPS, ROW = (20, 10) if "METAJAX_SHORT" in os.environ else (1000, 50)

# %% [markdown]
# ## Data
#
# Arrays and labels are all that is needed; labels may be words. Here: handwritten digits of 8 by 8
# pixels. 0 to 5 are for training, 6 to 9 are only met in the test: it is learned to learn digits, not digits.

# %%
digits = load_digits()
images = (digits.images[..., None] / 16).astype(np.float32)  # [n, 8, 8, 1] in [0, 1]
everything = from_arrays(images, digits.target, "Digits.", names=[f"digit {label}" for label in range(10)])
train_data, test_data = take_classes(everything, range(6)), take_classes(everything, range(6, 10))
shape = {"ways": 4, "shots": 1, "queries": 5}
train, test = class_tasks(train_data, **shape), class_tasks(test_data, **shape)

# %% [markdown]
# ## A learner
#
# Five pure functions for *one* task: `init` and `embed` come from a network; `adapt` is all that is learned of the
# task, `predict` uses it, `represent` is what ConML contrasts. This one is a nearest mean whose yardstick, a scale for
# every feature, is learned by all tasks together.


# %%
def scaled_means(network, num_classes):

  def init(key, inputs):
    weights = network.init(key, inputs)
    features = jax.eval_shape(network.apply, weights, inputs, jnp.ones(len(inputs), bool))
    return {"network": weights, "scale": jnp.zeros(features.shape[1:])}

  def embed(params, inputs, mask):
    return network.apply(params["network"], inputs, mask) * jnp.exp(params["scale"])

  def adapt(params, examples, key):
    return class_means(examples, num_classes)  # means [C, D], and which classes are there [C]

  def predict(params, model, features, mask):
    means, present = model
    logits = -jnp.sum((features[:, None] - means[None]) ** 2, axis=-1)  # [Q, C]
    return without_absent(logits, present)

  def represent(params, model, key):
    return model[0]

  return Learner(init, embed, adapt, predict, represent)


learner = scaled_means(networks.mlp((64,), 32), num_classes=4)

# %% [markdown]
# ## Training and test

# %%
scores = {"accuracy": losses.accuracy}
objective = objectives.conml(learner, losses.softmax_cross_entropy, scores, weight=0.1)
optimizer, rows = optax.adam(1e-3), []
state = training.init_state(learner, optimizer, train, jax.random.key(0))
advance = training.make_advance(objective, optimizer, train, num_tasks=16, num_steps=ROW, key=jax.random.key(1),
                                mesh=task_mesh(jax.devices()[:1]))
evaluate = evaluation.make_evaluate(learner, losses.softmax_cross_entropy, scores, test, num_episodes=300,
                                    key=jax.random.key(2))
print(f"digits never trained on, before: {evaluate(state.params)['accuracy']}")
state = training.fit(state, train, advance, num_steps=STEPS, steps_per_dispatch=ROW, steps_per_row=ROW,
                     hooks=[lambda step, state, metrics: rows.append((step, metrics["accuracy"]))])
print(f"digits never trained on, after:  {evaluate(state.params)['accuracy']}")

# %% [markdown]
# Accuracy on the unseen digits *falls*, from 67.7 to 53.0 %, while it rises on training tasks: six classes are too few,
# and the network over-fits to them. Training does not help here. With your own data, compare
# the two numbers before you trust a trained network, and look for more classes rather than more images of each.

# %%
figure, axes = plt.subplots(figsize=(5, 3))
axes.plot(*np.array(rows).T)
axes.set(xlabel="meta-training step", ylabel="accuracy on training tasks (share)")
plt.show()

# %%
named = Named(class_tasks(numbered(test_data), **shape), test_data.names)
image_picture(learner, losses.softmax_cross_entropy, state.params, test, jax.random.key(3), named)

# %% [markdown]
# To make a learner part of metajax, and the rules it keeps: the guide to a learner of one's own.
