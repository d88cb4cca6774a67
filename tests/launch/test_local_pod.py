"""Two processes of two devices are one process of four."""

import json
from pathlib import Path

import numpy as np
import pytest

from launch import local_pod
from metajax.reports.writers import read_csv

_ROOT = Path(__file__).parent.parent.parent
_TRAIN = ["launch.train", f"--config={_ROOT}/experiments/sinusoid.py:maml", "--config.training.steps=8",
          "--config.training.steps_per_row=2", "--config.training.steps_per_dispatch=2",
          "--config.training.rows_per_checkpoint=2", "--config.training.tasks_per_step=8",
          "--config.test.episodes=10", "--config.test.val_episodes=6"]


def test_two_processes_of_two_devices_are_one_of_four(tmp_path, capfd):
  assert local_pod.run([*_TRAIN, f"--workdir={tmp_path / 'two'}"], 2, 2) == 0
  said = capfd.readouterr().out
  assert "[0] Training: 8 steps of 8 tasks on 4 devices" in said and "[1] Training" not in said
  assert local_pod.run([*_TRAIN, f"--workdir={tmp_path / 'one'}"], 1, 4) == 0
  two, one = (read_csv(tmp_path / name / "metrics.csv") for name in ("two", "one"))
  assert two.keys() == one.keys() and two["step"].tolist() == [2, 4, 6, 8]
  for name in two:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=name)
  tests = [json.loads((tmp_path / name / "test.json").read_text(encoding="utf-8"))["results"]
           for name in ("two", "one")]
  assert tests[0]["loss"]["mean"] == pytest.approx(tests[1]["loss"]["mean"], rel=1e-5)


def test_one_that_fails_ends_the_others(tmp_path):
  assert local_pod.run(["launch.train", "--config.training.tasks_per_step=5", f"--workdir={tmp_path / 'w'}"], 2, 1) == 2
