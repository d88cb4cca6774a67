"""A slow reference implementation of ConML: NumPy, float64, loops over tasks and examples, padding left out.

It shares no code with the library. Networks have two tanh layers with hand-written gradients. The meta-gradient uses
fourth-order finite differences, accurate to about ten digits.
"""

import numpy as np


def network(params, x):
  h = np.tanh(x @ params["w1"] + params["b1"])
  return h, h @ params["w2"] + params["b2"]


def example_loss(kind, output, target):
  """The loss of one example, and its gradient with respect to the output."""
  if kind == "squared_error":
    return np.mean((output - target) ** 2), 2 * (output - target) / output.size
  shifted = output - output.max()
  log_probabilities = shifted - np.log(np.sum(np.exp(shifted)))
  gradient = np.exp(log_probabilities)
  gradient[target] -= 1
  return -log_probabilities[target], gradient


def mean_loss(kind, params, examples):
  losses = [example_loss(kind, network(params, x)[1], y)[0] for x, y in examples]
  return sum(losses) / len(losses)


def gradient(kind, params, examples):
  total = {name: np.zeros_like(value) for name, value in params.items()}
  for x, y in examples:
    h, output = network(params, x)
    back = example_loss(kind, output, y)[1] / len(examples)
    total["w2"] += np.outer(h, back)
    total["b2"] += back
    hidden = (params["w2"] @ back) * (1 - h**2)
    total["w1"] += np.outer(x, hidden)
    total["b1"] += hidden
  return total


class Maml:
  """Gradient descent from the shared weights."""

  def __init__(self, kind, rate, steps):
    self.kind, self.rate, self.steps = kind, rate, steps

  def learn(self, params, examples):
    for _ in range(self.steps):
      slope = gradient(self.kind, params, examples)
      params = {name: params[name] - self.rate * slope[name] for name in params}
    return params

  def loss(self, params, adapted, query):
    return mean_loss(self.kind, adapted, query)

  def vector(self, adapted):
    return np.concatenate([adapted[name].ravel() for name in sorted(adapted)])


class ProtoNet:
  """The mean embedding of each class, and a softmax over negative squared distances."""

  def __init__(self, ways):
    self.ways = ways

  def learn(self, params, examples):
    means = []
    for label in range(self.ways):
      embedded = [network(params, x)[1] for x, y in examples if y == label]
      means.append(sum(embedded) / len(embedded) if embedded else np.zeros_like(params["b2"]))
    return means

  def loss(self, params, means, query):
    total = 0.0
    for x, y in query:
      embedded = network(params, x)[1]
      logits = np.array([-np.sum((embedded - mean) ** 2) for mean in means])
      total += example_loss("softmax", logits, y)[0]
    return total / len(query)

  def vector(self, means):
    return np.concatenate(means)


def cosine(a, b):
  return 1 - a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b))


def conml(learner, params, tasks, weight):
  """The objective of eq. 4 with the support set as the one view: `(loss, episodic loss, D_in, D_out)`."""
  episodic, d_in, d_out, wholes = 0.0, 0.0, 0.0, []
  for support, query in tasks:
    model = learner.learn(params, support)
    episodic += learner.loss(params, model, query) / len(tasks)
    whole = learner.vector(learner.learn(params, support + query))
    d_in += cosine(learner.vector(model), whole) / len(tasks)
    wholes.append(whole)
  for i, one in enumerate(wholes):
    for j, other in enumerate(wholes):
      if i != j:
        d_out += cosine(one, other) / (len(tasks) * (len(tasks) - 1))
  return episodic + weight * (d_in - d_out), episodic, d_in, d_out


def numerical_gradient(function, params, step=2.5e-4):
  result = {}
  for name, value in params.items():
    slopes = np.zeros_like(value)
    for index in np.ndindex(value.shape):
      at = {}
      for offset in (-2, -1, 1, 2):
        moved = value.copy()
        moved[index] += offset * step
        at[offset] = function({**params, name: moved})
      slopes[index] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    result[name] = slopes
  return result


def unpack(episodes):
  """Returns tasks as lists of `(x, y)` in float64, padding left out."""
  tasks = []
  for t in range(episodes.support.mask.shape[0]):
    task = []
    for part in episodes:
      kept = [n for n in range(part.mask.shape[1]) if part.mask[t, n]]
      task.append([(np.asarray(part.inputs[t, n], np.float64).ravel(), np.asarray(part.targets[t, n])) for n in kept])
    tasks.append(tuple(task))
  return tasks
