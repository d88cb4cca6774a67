"""The baseline without learning: nearest class mean of raw inputs, 5-way 1-shot and 5-shot, on the test classes.

  python -m benchmarks.pixels
Inputs are pixels, or logarithms of hashed n-gram counts, normalised to length 1 per text.
"""

import functools

import jax
import jax.numpy as jnp

from metajax import learners, losses
from metajax.data import cifar100, glyphs, omniglot, text
from metajax.tasks.classes import class_tasks
from metajax.training.evaluation import make_evaluate
from metajax.types import Network


def main() -> None:
  pixels = Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs.reshape(inputs.shape[0], -1))
  learner = learners.protonet(pixels, num_classes=5)
  fc100 = functools.partial(cifar100.load, protocol="fc100")
  for name, load, prepare in (
      ("Omniglot", omniglot.load, None), ("glyphs", glyphs.load, None), ("CIFAR-FS", cifar100.load, None),
      ("FC100", fc100, None), ("CLINC150", text.clinc150, text.unit_counts),
      ("Banking77", text.banking77, text.unit_counts)):
    try:
      source = load("test")
    except FileNotFoundError as error:
      print(f"{name}: {error}")
      continue
    for shots in (1, 5):
      tasks = class_tasks(source, ways=5, shots=shots, queries=5, prepare=prepare)
      evaluate = make_evaluate(learner, losses.softmax_cross_entropy, {"accuracy": losses.accuracy}, tasks,
                               num_episodes=600, key=jax.random.key(0))
      print(f"{name}, 5-way {shots}-shot: {evaluate(jnp.zeros(()))['accuracy']}")


if __name__ == "__main__":
  main()
