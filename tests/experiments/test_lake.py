"""Training for Lake's runs: training data, test data and invalid settings."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.few_shot import lake, omniglot
from metajax.data.lake_runs import Runs
from metajax.lab.session import check
from metajax.tasks.class_data import ClassData

_RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
  images = lambda *shape: _RANDOM.integers(0, 255, (*shape, 28, 28, 1), np.uint8)
  monkeypatch.setattr(lake.drawings, "load", lambda split, by_alphabet: ClassData(
      images(400), np.full(20, 20, np.int32), tuple(f"{split}{number}" for number in range(20)),
      f"Made up, by alphabet: {by_alphabet}."))
  monkeypatch.setattr(lake.lake_runs, "load", lambda: Runs(images(20, 20), images(20, 20), np.tile(
      np.arange(20, dtype=np.int32), (20, 1))))


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_training_draws_and_the_test_takes_the_runs(learner):
  config = dataclasses.replace(lake.get_config(learner), filters=4)
  built = lake.build(config)
  check(built)
  assert "by alphabet: True. 20-way 1-shot" in built.notes and "on the 20 runs of Lake et al." in built.notes
  assert built.train_tasks.listed is None is built.val_tasks.listed
  episode = built.test_tasks.listed(built.test_tasks.data, jax.random.key(0), 21)
  np.testing.assert_array_equal(np.rint(episode.query.inputs * 255), built.test_tasks.data.asked[1])
  assert config.test.episodes == 20


@pytest.mark.parametrize("changes", [{"ways": 5}, {"shots": 5}, {"test": lake.Test(episodes=30)}])
def test_fixed_settings_of_the_runs_are_checked(changes):
  with pytest.raises(ValueError, match="Lake's runs are 20 tasks of 20 ways and 1 shot"):
    lake.build(dataclasses.replace(lake.get_config(), **changes))


def test_every_learner_has_settings_here():
  assert set(lake.defaults()) == set(omniglot.defaults())
  with pytest.raises(ValueError, match="config.data='glyphs' is not known; choose one of omniglot"):
    lake.build(dataclasses.replace(lake.get_config(), data="glyphs"))
