"""Two processes of two devices are one process of four."""

import json
from pathlib import Path
import re

import numpy as np
import pytest

from launch import command_line, fields, local_pod
from metajax import workdir
from metajax.replay import replay
from metajax.reports.writers import read_csv

_ROOT = Path(__file__).parent.parent.parent
_TRAIN = ["launch.train", f"--config={_ROOT}/experiments/sinusoid.py:maml", "--config.training.steps=7",
          "--config.training.steps_per_row=2", "--config.training.steps_per_dispatch=2",
          "--config.training.rows_per_checkpoint=2", "--config.training.tasks_per_step=8",
          "--config.test.episodes=10", "--config.test.val_episodes=6"]


def test_two_processes_of_two_devices_are_one_of_four(tmp_path, capfd):
  assert local_pod.run([*_TRAIN, f"--workdir={tmp_path / 'two'}"], 2, 2) == 0
  said = capfd.readouterr().out
  assert "[0] Training: 7 steps of 8 tasks on 4 devices" in said and "[1] Training" not in said
  assert local_pod.run([*_TRAIN, f"--workdir={tmp_path / 'one'}"], 1, 4) == 0
  two, one = (read_csv(tmp_path / name / "metrics.csv") for name in ("two", "one"))
  assert two.keys() == one.keys() and two["step"].tolist() == [2, 4, 6, 7]
  for name in two:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)
  tests = [json.loads((tmp_path / name / "test.json").read_text(encoding="utf-8"))["results"]
           for name in ("two", "one")]
  assert tests[0]["loss"]["mean"] == pytest.approx(tests[1]["loss"]["mean"], rel=1e-5)
  # The last step is a row of its own, and is the same done again: that of one process by two, and that of two by one.
  assert local_pod.run(["launch.replay", f"--workdir={tmp_path / 'one'}", "--step=7"], 2, 2) == 0
  said = capfd.readouterr().out
  assert "[0] From step 4 to step 7." in said and "[1] From" not in said and (tmp_path / "one" / "step_7.npz").exists()
  loss = re.search(r"\bloss (\S+)", said)
  assert loss and float(loss[1]) == pytest.approx(one["loss"][-1], rel=1e-3)
  recipe = f"{_ROOT}/experiments/sinusoid.py:maml"
  config = fields.from_mapping(command_line.default_config(recipe), workdir.read(tmp_path / "two")["config"])
  checked = replay(command_line.make(recipe, config), tmp_path / "two", 7, say=lambda _: None)
  assert float(checked.metrics["loss"]) == pytest.approx(two["loss"][-1], rel=1e-5)


def test_one_that_fails_ends_the_others(tmp_path):
  assert local_pod.run(["launch.train", "--config.training.tasks_per_step=5", f"--workdir={tmp_path / 'w'}"], 2, 1) == 2
