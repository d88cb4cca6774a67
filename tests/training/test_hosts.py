"""One process is a pod of one; invalid numbers are rejected. For several, see tests/launch/test_local_pod.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.training import hosts
from metajax.training.sharding import replicate, spread, task_mesh


def test_a_single_process_writes_and_decides_alone():
  assert hosts.is_writer()
  hosts.wait("there is no other process")
  asked = lambda: True
  assert hosts.together(asked) is asked


@pytest.mark.parametrize("pace, talks", [(0.3, 7), (3.0, 19)])  # seconds between two checks
def test_processes_agree_and_synchronise_rarely(monkeypatch, pace, talks):
  clock, said = [0.0], []
  monkeypatch.setattr(hosts.time, "monotonic", lambda: clock[0])
  monkeypatch.setattr(jax, "process_count", lambda: 2)

  def allgather(ours):  # the other is three times as slow, and gets the stop request before the 21st check
    others = np.array([clock[0] > 19.5 * pace, 3 * ours[1]], np.float32)
    said.append(clock[0])
    return np.stack([ours, others])

  monkeypatch.setattr(hosts.multihost_utils, "process_allgather", allgather)
  ask, answers = hosts.together(lambda: False, seconds=3.0), []
  for _ in range(26):
    answers.append(ask())
    clock[0] += pace
  assert not any(answers[:20]) and answers[-1]
  assert answers == sorted(answers)  # once yes, always yes
  assert len([moment for moment in said if moment < 19.5 * pace]) == talks


def test_arrays_are_fetched_from_every_sharding():
  mesh = task_mesh()
  tree = {"w": jnp.arange(64.0 * 128).reshape(64, 128), "b": jnp.float32(2), "key": jax.random.key(3)}
  placed = replicate(tree, mesh)
  spread_out = jax.device_put(placed["w"], spread(placed["w"], mesh))
  np.testing.assert_array_equal(hosts.to_host(spread_out), tree["w"])
  back = hosts.to_host(placed)
  np.testing.assert_array_equal(back["w"], tree["w"])
  np.testing.assert_array_equal(back["key"], jax.random.key_data(tree["key"]))


@pytest.mark.parametrize("processes, process", [(2, 2), (4, -1), (0, 0)])
def test_an_invalid_process_index_is_rejected(processes, process):
  with pytest.raises(ValueError, match="they count from 0"):
    hosts.connect(hosts.Hosts("127.0.0.1:1", processes, process))


def test_a_missing_cluster_is_reported(monkeypatch):

  def initialize():
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)  # what it does before the first device is touched
  with pytest.raises(ValueError, match="no cluster was recognised.*--hosts="):
    hosts.connect(None)


@pytest.mark.parametrize("platforms, error, words", [
    ("cuda", AssertionError(), "JAX_PLATFORMS=cuda names a platform that this machine"),
    ("tpu", RuntimeError("no libtpu"), "JAX_PLATFORMS=tpu names a platform"),
    ("rocm,cuda", RuntimeError("not known"), "JAX_PLATFORMS=rocm,cuda names a platform"),
    ("", RuntimeError("no driver"), "jax finds no devices (no driver); give JAX_PLATFORMS=cpu")])
def test_a_platform_that_is_not_there_is_a_sentence(monkeypatch, platforms, error, words):
  assert hosts.lacking_platform() == ""

  def devices():
    raise error

  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  monkeypatch.setattr(hosts.jax, "devices", devices)
  assert words in hosts.lacking_platform()
