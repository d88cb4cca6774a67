"""Meta-batches of grain: a function of seed, step and place, whatever reads them, from wherever they begin."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from metajax.data.class_data import from_arrays
from metajax.data.pipeline import meta_batches

COUNTS = (6, 7, 9, 6)
ROWS = np.asarray([[number, place] for number, count in enumerate(COUNTS) for place in range(count)], np.float32)
DATA = from_arrays(ROWS, np.repeat(np.arange(4), COUNTS))
SHAPE = {"ways": 3, "shots": 2, "queries": 3, "num_tasks": 4, "seed": 0, "num_steps": 6}


def read(**settings):
  return list(meta_batches(DATA, **{**SHAPE, **settings}))


def same(some, other):
  assert len(some) == len(other)
  jax.tree.map(np.testing.assert_array_equal, some, other)


def test_tasks_are_well_formed():
  batches = read()
  assert len(batches) == 6 and batches[0].support.inputs.shape == (4, 6, 2) and batches[0].query.mask.all()
  for support, query in batches:
    np.testing.assert_array_equal(support.targets, [[0, 0, 1, 1, 2, 2]] * 4)
    for task in range(4):
      rows = np.concatenate([support.inputs[task], query.inputs[task]])
      labels = np.concatenate([support.targets[task], query.targets[task]])
      assert len({tuple(row) for row in rows}) == 15
      assert len({(number, label) for (number, _), label in zip(rows, labels)}) == 3


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": 3, "prefetch": 4}])
def test_who_reads_does_not_matter(settings):
  same(read(), read(**settings))


def test_a_run_goes_on_at_any_step():
  same(read()[4:], read(start=4))
  assert read(start=6) == []
  assert not np.array_equal(read()[0].support.inputs, read(seed=1)[0].support.inputs)


def test_hosts_share_the_places_of_a_meta_batch():
  parts = [read(host=host, num_hosts=2) for host in range(2)]
  joined = [jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares) for shares in zip(*parts)]
  same(read(), joined)


def test_workers_read_the_same():
  program = ("from absl import app; import hashlib, jax, numpy as np\n"
             "from tests.data.test_pipeline import read\n"
             "def main(_):\n"
             "  print([np.asarray(b.support.inputs).sum((1, 2)).tolist() for b in read(workers=2)])\n"
             "if __name__ == '__main__': app.run(main)")
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == str([batch.support.inputs.sum((1, 2)).tolist() for batch in read()])


@pytest.mark.parametrize("settings, sentence", [
    ({"num_hosts": 3}, "4 tasks must be shared evenly"), ({"host": 1}, "of which this is 1"),
    ({"ways": 5}, "at most the 4 classes"), ({"shots": 4}, "at most the 6 examples"), ({"start": 7}, "start=7")])
def test_impossible_batches_are_refused_in_a_sentence(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    read(**settings)
