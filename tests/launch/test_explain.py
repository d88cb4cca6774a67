"""`--help` lists every field of a recipe with its default and comment."""

from dataclasses import dataclass, field
import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from experiments import learner_table
from experiments.few_shot import omniglot, quickstart
from launch import explain

_ROOT = Path(__file__).parents[2]


@dataclass
class _Group:
  inner: float = 1e-3  # of the inner loop


@dataclass
class _Config:
  plain: int = 3  # how many; see `b`
  bare: str = "a # b"
  shape: tuple[int, ...] = (4, 5)  # of it
  group: _Group = field(default_factory=_Group)


@dataclass
class _Further(_Config):
  shape: tuple[int, ...] = (6,)
  own: bool = True  # mine


def test_what_a_recipe_adds_comes_before_what_it_inherits():
  assert list(explain.fields(_Further())) == [
      ("own", True, "mine"), ("plain", 3, "how many; see `b`"), ("bare", "a # b", ""), ("shape", (6,), "of it"),
      ("group.inner", 1e-3, "of the inner loop")]


def test_fields_have_their_defaults_and_comments():
  assert list(explain.fields(_Config(plain=4))) == [
      ("plain", 4, "how many; see `b`"), ("bare", "a # b", ""), ("shape", (4, 5), "of it"),
      ("group.inner", 1e-3, "of the inner loop")]


def test_the_text_can_be_typed():
  lines = explain.text("mine.py", "A page.\n\nIts rest.", _Config(), 60).splitlines()
  assert lines[:4] == ["The recipe mine.py:", "", "  A page.", ""]
  assert "  --config.shape='(4, 5)'" in lines and "  --config.group.inner=0.001" in lines
  assert lines[lines.index("  --config.plain=3") + 1] == "      how many; see `b`"


def test_what_the_learner_does_not_read_is_only_named():
  text = explain.text("omniglot:ridge", "", omniglot.get_config("ridge"), 120, (),
                      learner_table.unread(omniglot.get_config("ridge")))
  assert "--config.inner_rate" not in text and "--config.train_ways" in text
  assert "The learner ridge does not read config.inner_steps, " in text


def test_help_into_a_closed_pipe_is_quiet(tmp_path):
  line = f"{sys.executable} -m launch.train --help | head -n 1"
  done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=tmp_path, timeout=60,
                        env={**os.environ, "PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"})
  assert done.stdout.startswith("The recipe quickstart") and not done.stderr


@pytest.mark.parametrize("config", [quickstart.get_config(), omniglot.get_config("ridge")])
def test_every_field_of_a_recipe_is_explained(config):
  found = list(explain.fields(config))
  assert len(found) > 20 and [each.name for each in found if not each.about] == []


def test_help_on_the_command_line(tmp_path):
  done = subprocess.run([sys.executable, "-m", "launch.train", "--config=omniglot:ridge", "--help"],
                        capture_output=True, text=True, cwd=tmp_path, timeout=60,
                        env={**os.environ, "PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"})
  explained = r"--config.training.learning_rate=[\d.]+\n      learning rate of the outer optimizer; the largest"
  assert re.search(explained, done.stdout), done.stderr
  assert "Its learners, after a colon: maml, fomaml, " in done.stdout
  assert "--config.learner=ridge" in done.stdout and "--[no]dry_run" in done.stdout
  assert not done.stderr and not list(tmp_path.iterdir())
