"""Prefetched tasks equal those of the compiled sampler bit for bit, for every reader and starting point."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.augmentation import augmented, crop
from metajax.tasks.class_data import from_arrays
from metajax.tasks.classes import class_tasks
from metajax.tasks.diverse import diverse
from metajax.tasks.ragged import ragged_tasks
from metajax.tasks.sampling import meta_batch
from metajax.tasks.sinusoids import sinusoids
from metajax.tasks.task_augmentation import hardest_of
from metajax.training.pipeline import Fed, Reading, fed, meta_batches, read_ahead, read_shapes

DATA = from_arrays(np.random.default_rng(0).integers(0, 255, (40, 4, 4, 1), np.uint8), np.repeat(np.arange(5), 8))
KEY = jax.random.key(3)
LENGTH = {"num_tasks": 4, "num_steps": 3}
KINDS = {
    "plain": lambda on_host: class_tasks(DATA, ways=3, shots=2, queries=2, on_host=on_host),
    "turned": lambda on_host: class_tasks(DATA, ways=3, shots=1, queries=2, rotations=True, on_host=on_host),
    "augmented": lambda on_host: augmented(KINDS["plain"](on_host), crop(1)),
    "unequal": lambda on_host: ragged_tasks(DATA, ways=(2, 4), shots=(1, 2), queries=2, on_host=on_host)}


def on_device(kind):
  tasks = KINDS[kind](False)
  draw = jax.jit(lambda data, step: meta_batch(tasks, data, KEY, step, jnp.arange(4, dtype=np.int32)))
  return [draw(tasks.data, jnp.int32(step)) for step in range(LENGTH["num_steps"])]


def same(some, other):
  assert len(some) == len(other)
  jax.tree.map(np.testing.assert_array_equal, some, other)


def read(kind="plain", **settings):
  return list(read_ahead(KINDS[kind](True), KEY, **{**LENGTH, **settings}))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_episodes_as_from_the_device(kind):
  same(on_device(kind), list(meta_batches(KINDS[kind](True), KEY, **LENGTH)))


def test_a_run_resumes_at_any_step():
  tasks = KINDS["plain"](True)
  same(on_device("plain")[2:], list(meta_batches(tasks, KEY, **LENGTH, start=2)))
  assert list(meta_batches(tasks, KEY, **LENGTH, start=3)) == []


def test_each_host_reads_its_share():
  parts = [read(host=host, num_hosts=2) for host in range(2)]
  same(read(), [jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares) for shares in zip(*parts)])


def test_workers_read_the_same():
  program = ("from absl import app; import jax, numpy as np\n"
             "from tests.training.test_pipeline import Reading, read\n"
             "def main(_):\n"
             "  print([np.asarray(read.blocks[0]).sum((1, 2, 3, 4, 5)).tolist() for read in "
             "read('augmented', reading=Reading(workers=2))])\n"
             "if __name__ == '__main__': app.run(main)")
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr
  expected = [np.asarray(each.blocks[0]).sum((1, 2, 3, 4, 5)).tolist() for each in read("augmented")]
  assert done.stdout.strip() == str(expected) and len(expected) == 3


def test_shapes_are_known_before_anything_is_read():
  tell = lambda leaf: (leaf.shape, leaf.dtype)
  assert jax.tree.map(tell, read_shapes(KINDS["plain"](True), 4)) == jax.tree.map(tell, read()[0])


def test_a_task_without_read_examples_is_non_finite():
  tasks = KINDS["plain"](True)
  data = Fed(tasks.data, np.int32(0), jax.tree.map(lambda leaf: leaf[None], read()[0]))
  draw = jax.jit(lambda data, key: meta_batch(fed(tasks), data, key, jnp.int32(0), jnp.arange(4, dtype=np.int32)))
  assert np.isfinite(draw(data, KEY).query.inputs).all()
  assert np.isnan(draw(data, jax.random.key(4)).query.inputs).all()


@pytest.mark.parametrize("settings, sentence", [
    ({"num_hosts": 3}, "4 tasks must be divided evenly"), ({"host": 1}, "of which this is 1"),
    ({"start": 4}, "start=4"), ({"reading": Reading(workers=-1)}, "0 or more workers")])
def test_invalid_readings_are_rejected(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    read(**settings)


def test_tasks_drawn_several_at_once_are_refused():
  tasks = hardest_of(KINDS["plain"](True), 2, lambda episode: episode.support.inputs.sum())
  with pytest.raises(ValueError, match="as by hardest_of, cannot be read ahead"):
    read_ahead(tasks, KEY, **LENGTH)


def test_tasks_chosen_by_their_examples_are_refused():
  with pytest.raises(ValueError, match="as by diverse, cannot be read ahead"):
    read_ahead(diverse(KINDS["plain"](True), num_tasks=4, candidates=6), KEY, **LENGTH)


@pytest.mark.parametrize("tasks", [sinusoids(2, 2), KINDS["plain"](False)])
def test_tasks_without_host_arrays_are_rejected(tasks):
  with pytest.raises(ValueError, match="one array of their data stays on the host, but 0 do"):
    read_ahead(tasks, KEY, **LENGTH)
