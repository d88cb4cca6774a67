"""Examples on the host give the same episodes as on the device, in a compiled step and over devices."""

import jax
import numpy as np
import pytest

from metajax.tasks import host
from metajax.tasks.class_data import from_arrays
from metajax.tasks.classes import class_tasks
from metajax.tasks.sampling import sample_tasks
from metajax.training.sharding import TASKS, over_tasks, task_mesh

DATA = from_arrays(np.random.default_rng(0).integers(0, 255, (40, 4, 4, 1), np.uint8), np.repeat(np.arange(5), 8))


@pytest.mark.parametrize("rotations", [False, True])
def test_the_same_episodes_as_from_the_device(rotations):
  make = lambda on_host: class_tasks(DATA, ways=3, shots=2, queries=2, rotations=rotations, on_host=on_host)
  device, from_host = make(False), make(True)
  sizes = [leaf.size for leaf in jax.tree.leaves(from_host.data)]
  assert max(sizes) == 5  # only its checksum is on the device
  keys = jax.random.split(jax.random.key(0), 6)
  draw = lambda tasks: jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys)
  jax.tree.map(np.testing.assert_array_equal, draw(device), draw(from_host))


def test_comparing_data_detects_different_examples():
  numbers = [host.HostExamples(DATA.examples + np.uint8(add)) for add in (0, 0, 1)]
  first, again, other = [[int(leaf) for leaf in jax.tree.leaves(each)] for each in numbers]
  assert first == again != other


def test_devices_fetch_each_their_share():
  tasks = class_tasks(DATA, ways=3, shots=2, queries=2, on_host=True)
  mesh = task_mesh(jax.devices()[:4])
  key = jax.random.key(1)

  def share(data):
    places = jax.numpy.arange(2, dtype=np.int32) + jax.lax.axis_index(TASKS) * 2
    return jax.lax.all_gather(sample_tasks(tasks, data, key, places), TASKS, tiled=True)

  spread = jax.jit(over_tasks(share, mesh))(tasks.data)
  alone = jax.jit(lambda data: sample_tasks(tasks, data, key, jax.numpy.arange(8, dtype=np.int32)))(tasks.data)
  jax.tree.map(np.testing.assert_array_equal, spread, alone)


def test_what_fits_is_a_share_of_the_memory(monkeypatch):

  class Device:
    def __init__(self, stats):
      self.memory_stats = lambda: stats

  for stats, fits in ((None, True), ({}, True), ({"bytes_limit": 100}, True), ({"bytes_limit": 99}, False)):
    monkeypatch.setattr(jax, "local_devices", lambda stats=stats: [Device(stats)])
    assert host.fits_device(50) == fits


def test_a_process_asks_its_own_devices(monkeypatch):
  # Devices of other processes have no statistics: requesting them ends the process.
  monkeypatch.setattr(jax, "devices", lambda: pytest.fail("asked for the devices of all processes"))
  assert host.fits_device(1)
