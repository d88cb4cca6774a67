"""The fastest settings are stored per machine and recipe."""

import pytest

from experiments.few_shot import omniglot
from launch import tuned


def test_settings_come_back_for_their_recipe(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  path = tuned.remember("a.py", {"training.task_chunk": 4, "compute": "bfloat16"})
  tuned.remember("b.py", {"training.task_chunk": 0})
  assert path.is_file() and path.parent == tmp_path
  config = omniglot.get_config("maml")
  assert tuned.apply("a.py", config) == ["--config.training.task_chunk=4", "--config.compute=bfloat16"]
  assert config.training.task_chunk == 4 and config.compute == "bfloat16"
  tuned.apply("b.py", config)
  assert config.training.task_chunk == 0


def test_a_recipe_that_was_not_tried_is_told_how(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  with pytest.raises(ValueError, match="benchmarks.autotune --config=c.py"):
    tuned.apply("c.py", omniglot.get_config("maml"))
  tuned.remember("c.py", {"training.task_chunk": 4})
  monkeypatch.setattr(tuned, "machine", lambda: "another")
  with pytest.raises(ValueError, match="on this machine .another."):
    tuned.apply("c.py", omniglot.get_config("maml"))
