"""The provenance of a run is complete, and changes with its parts."""

import json
import subprocess

import jax
import jax.numpy as jnp
import pytest

from metajax.lab.provenance import commit, provenance


def _git(folder, *words):
  return subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True,
                        capture_output=True, text=True).stdout.strip()


def test_the_provenance_is_complete(tmp_path):
  about = provenance({"x": jnp.arange(3)}, tmp_path / "recipe.py")
  assert about == json.loads(json.dumps(about))
  assert about["versions"]["jax"] == jax.__version__ and {"python", "metajax", "flax"} <= set(about["versions"])
  assert about["devices"] == {"kind": jax.devices()[0].device_kind, "count": 8, "processes": 1}
  assert about["commit"]["recipe"] is None  # it is in no repository


def test_other_data_are_other_data(tmp_path):
  prints = [provenance(data, tmp_path)["data"] for data in (
      {"x": jnp.arange(3)}, {"x": jnp.arange(3)}, {"x": jnp.arange(3.0)}, {"x": jnp.array([0, 1, 3])}, ())]
  assert prints[0] == prints[1] and len(set(prints)) == 4


def test_the_commit_of_a_file(tmp_path):
  try:
    _git(tmp_path, "init", "--quiet")
  except FileNotFoundError:
    pytest.skip("git is not installed; commits go UNTESTED")
  file = tmp_path / "recipe.py"
  file.write_text("a = 1\n")
  assert commit(file) is None
  _git(tmp_path, "add", "recipe.py")
  _git(tmp_path, "commit", "--quiet", "-m", "first")
  assert commit(file) == _git(tmp_path, "rev-parse", "HEAD")
  file.write_text("a = 2\n")
  assert commit(file) == _git(tmp_path, "rev-parse", "HEAD") + ", changed"
  (tmp_path / "stranger.py").write_text("")
  assert commit(tmp_path / "stranger.py") is None
