"""Training with prefetching equals training on the device, and resumes identically bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.few_shot import few_shot
from metajax import learners, networks, objectives
from metajax.lab import run as runs
from metajax.lab.dry_run import dry_run
from metajax.lab.preemption import Preempted
from metajax.lab.recipe import Test as Lists
from metajax.lab.recipe import Training
from metajax.lab.reports.writers import read_csv
from metajax.lab.session import check
from tests.small_runs import stop_after


@pytest.fixture
def build(tmp_path):
  """A recipe on a file of small images, by their location."""
  images = np.random.default_rng(0).integers(0, 255, (90, 16, 16, 1), np.uint8)
  np.savez(tmp_path / "a.npz", inputs=images, targets=np.arange(90) % 15)

  def built(examples, workers=0, **training):
    settings = {"steps": 6, "tasks_per_step": 8, "steps_per_row": 3, "steps_per_dispatch": 2, "rows_per_checkpoint": 1}
    config = dataclasses.replace(
        few_shot.get_config("ridge"), data=f"npz:{tmp_path / 'a.npz'}", examples=examples, workers=workers, ways=2,
        train_queries=2, test_queries=2, filters=4, training=Training(**settings | training),
        test=Lists(episodes=2, val_episodes=2))
    made = few_shot.build(config)
    learner = learners.ridge(networks.mlp((8,), 4), num_classes=2)  # convolutions would take minutes to compile
    return made._replace(learner=learner, test_learner=learner, objective=objectives.episodic(learner, made.loss))

  return built


@pytest.fixture
def trained(build, tmp_path):
  """Returns a function from settings to the training losses and the final parameters, in a separate workdir."""

  def train(examples, name, stop_requested=lambda: False, **training):
    state = runs.train(build(examples, **training), tmp_path / name, say=str, stop_requested=stop_requested)
    return read_csv(tmp_path / name / "metrics.csv")["loss"], jax.device_get(state.params)

  return train


@pytest.mark.usefixtures("compiled_quickly")
def test_a_run_with_prefetching_is_the_run_on_the_device(trained):
  expected, _ = trained("device", "device")
  fed = trained("pipeline", "fed")
  # The episodes are identical bit for bit; another program may round the rest differently.
  np.testing.assert_allclose(fed[0], expected, rtol=1e-3)
  with pytest.raises(Preempted):
    trained("pipeline", "broken", stop_after(1))  # within a row
  jax.tree.map(np.testing.assert_array_equal, fed, trained("pipeline", "broken"))
  np.testing.assert_allclose(trained("pipeline", "spread", spread_state=True)[0], expected, rtol=1e-3)


def test_examples_that_do_not_fit_are_prefetched(build, monkeypatch, capsys):
  monkeypatch.setattr("experiments.images.fits_device", lambda size: False)
  built = build("auto")
  assert built.reading is not None and "prefetches" in capsys.readouterr().err
  with pytest.raises(ValueError, match="config.training.pmap=False"):
    check(build("auto", pmap=True))


def test_where_examples_are_is_one_of_four_words(build):
  with pytest.raises(ValueError, match="config.examples='disk' is not known"):
    build("disk")
  assert build("host").reading is None and build("auto").reading is None
  with pytest.raises(ValueError, match="config.workers=2 processes prefetch only with config.examples=pipeline"):
    build("host", 2)
  assert build("pipeline", 2).reading.workers == 2


def test_unused_workers_are_reported(build, capsys):
  assert build("auto", 2).reading is None
  said = capsys.readouterr().err
  assert said.count("2 processes of config.workers are not started") == 1  # of three splits, once


@pytest.mark.usefixtures("compiled_quickly")  # nothing is run
@pytest.mark.parametrize("examples, training, listed", [
    ("device", "13.6 KiB of data on each device", "4.52 KiB of data on each device"),
    ("host", "13.5 KiB of examples stay on the host, where each step fetches its own",
     "4.5 KiB of examples stay on the host, where each episode fetches its own"),
    # A task reads 2 ways of 3 images of 256 bytes; a dispatch of 2 steps 8 tasks, one for each of 8 devices.
    ("pipeline", "13.5 KiB of examples stay on the host, which prefetches 3.02 KiB per dispatch and device, "
     "in a thread", "4.5 KiB of examples stay on the host, where each episode fetches its own")])
def test_a_dry_run_reports_where_examples_are_stored(build, examples, training, listed):
  said: list[str] = []
  found = dry_run(build(examples), say=said.append)
  assert said[-3:] == [f"{name} tasks: {words}." for name, words in (
      ("Training", training), ("Validation", listed), ("Test", listed))]
  of_lists = 2 * (18 * 256 * (examples == "device") + 3 * 8)  # images; starts and counts, or a checksum
  expected = {"device": 54 * 256 + 9 * 8, "host": 9 * 8 + 4,
              "pipeline": 9 * 8 + 4 + 4 + 3 * 2 * (2 * 3 * 256 + 8)}  # and the first step; 3 dispatches; keys
  assert found.data_bytes == expected[examples] + of_lists + 2 * 4 * (examples != "device")
