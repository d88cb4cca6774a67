"""One process is a pod of one; numbers that cannot be are refused. Several: tests/launch/test_local_pod.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import hosts
from metajax.sharding import replicate, spread, task_mesh


def test_alone_one_writes_waits_for_nobody_and_decides_alone():
  assert hosts.is_writer()
  hosts.wait("nobody else comes")
  assert hosts.any_says(True) is True and hosts.any_says(False) is False


def test_arrays_come_back_from_wherever_they_are():
  mesh = task_mesh()
  tree = {"w": jnp.arange(64.0 * 128).reshape(64, 128), "b": jnp.float32(2), "key": jax.random.key(3)}
  placed = replicate(tree, mesh)
  spread_out = jax.device_put(placed["w"], spread(placed["w"], mesh))
  np.testing.assert_array_equal(hosts.to_host(spread_out), tree["w"])
  back = hosts.to_host(placed)
  np.testing.assert_array_equal(back["w"], tree["w"])
  np.testing.assert_array_equal(back["key"], jax.random.key_data(tree["key"]))


@pytest.mark.parametrize("processes, process", [(2, 2), (4, -1), (0, 0)])
def test_a_process_that_is_none_of_them_is_refused(processes, process):
  with pytest.raises(ValueError, match="they count from 0"):
    hosts.connect(hosts.Hosts("127.0.0.1:1", processes, process))


def test_where_there_is_no_cluster_it_is_said(monkeypatch):

  def initialize():
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)  # what it does before the first device is touched
  with pytest.raises(ValueError, match="no cluster was recognised.*--hosts="):
    hosts.connect(None)
