"""A wait in which nothing is computed ends in a sentence; work and rest outside of waits do not."""

import time

import jax.numpy as jnp

from metajax.training.stalled import watching


def test_an_idle_wait_is_said_once():
  said = []
  with watching(0.2, said.append) as waiting:
    with waiting():
      end = time.monotonic() + 20
      while not said and time.monotonic() < end:  # other threads of the process may still compute
        time.sleep(0.4)
      time.sleep(0.6)
  assert len(said) == 1 and "NPROC=4" in said[0]


def test_rest_between_waits_and_work_within_are_not_said():
  said = []
  with watching(0.4, said.append) as waiting:
    time.sleep(0.8)
    with waiting():
      end = time.monotonic() + 0.8
      while time.monotonic() < end:
        jnp.ones(100).sum().block_until_ready()
  assert not said
