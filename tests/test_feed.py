"""Training on what is read ahead: the run that it would be on the device, and the same to the bit after a break."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import few_shot
from metajax import learners, networks, objectives
from metajax import recipe as recipe_lib
from metajax.preemption import Preempted
from metajax.recipe import Test as Lists
from metajax.recipe import Training
from metajax.reports.writers import read_csv
from tests.small_runs import stop_after


@pytest.fixture
def build(tmp_path):
  """A recipe on a file of small images, by where these are."""
  images = np.random.default_rng(0).integers(0, 255, (90, 16, 16, 1), np.uint8)
  np.savez(tmp_path / "a.npz", inputs=images, targets=np.arange(90) % 15)

  def built(examples, **training):
    settings = {"steps": 6, "tasks_per_step": 8, "steps_per_row": 3, "steps_per_dispatch": 2, "rows_per_checkpoint": 1}
    config = dataclasses.replace(
        few_shot.get_config("ridge"), data=f"npz:{tmp_path / 'a.npz'}", examples=examples, ways=2, train_queries=2,
        test_queries=2, filters=4, training=Training(**settings | training), test=Lists(episodes=2, val_episodes=2))
    made = few_shot.build(config)
    learner = learners.ridge(networks.mlp((8,), 4), num_classes=2)  # convolutions would take minutes to compile
    return made._replace(learner=learner, test_learner=learner, objective=objectives.episodic(learner, made.loss))

  return built


@pytest.fixture
def trained(build, tmp_path):
  """From settings to the losses of training and the parameters after it, in a workdir of its own."""

  def train(examples, name, stop_requested=lambda: False, **training):
    state = recipe_lib.train(build(examples, **training), tmp_path / name, say=str, stop_requested=stop_requested)
    return read_csv(tmp_path / name / "metrics.csv")["loss"], jax.device_get(state.params)

  return train


def test_a_run_that_reads_ahead_is_the_run_on_the_device(trained):
  expected, _ = trained("device", "device")
  fed = trained("pipeline", "fed")
  # The episodes are the same to the bit; another program may round what follows otherwise.
  np.testing.assert_allclose(fed[0], expected, rtol=1e-3)
  with pytest.raises(Preempted):
    trained("pipeline", "broken", stop_after(1))  # within a row
  jax.tree.map(np.testing.assert_array_equal, fed, trained("pipeline", "broken"))
  np.testing.assert_allclose(trained("pipeline", "spread", spread_state=True)[0], expected, rtol=1e-3)


def test_what_does_not_fit_is_read_ahead(build, monkeypatch, capsys):
  monkeypatch.setattr("experiments.images.fits_device", lambda size: False)
  built = build("auto")
  assert built.reading is not None and "reads ahead" in capsys.readouterr().err
  with pytest.raises(ValueError, match="config.training.pmap=False"):
    recipe_lib.check(build("auto", pmap=True))


def test_where_examples_are_is_one_of_four_words(build):
  with pytest.raises(ValueError, match="config.examples='disk' is not known"):
    build("disk")
  assert build("host").reading is None and build("auto").reading is None
