"""The cost of imports: `metajax` is lazy, and `contrast` imports jax and nothing heavier."""

import importlib
import subprocess
import sys

import pytest

import metajax

HEAVY = ("absl.app", "chex", "flax", "grain", "matplotlib", "optax", "orbax", "pyarrow", "rich", "scipy", "sklearn",
         "tensorboardX", "tensorflow_datasets", "tensorstore")
NEITHER_NOR = ("matplotlib", "grain", "sklearn", "tensorboardX", "tensorflow_datasets", "PIL", "pyarrow")


def loaded(line, names):
  program = f"import sys, jax\nbefore = set(sys.modules)\n{line}\nprint(sorted(set(sys.modules) - before))"
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
  modules = eval(done.stdout)
  return [name for name in names if any(module == name or module.startswith(name + ".") for module in modules)]


@pytest.mark.parametrize("line", ["import metajax", "from metajax import contrast", "from metajax import distances"])
def test_the_contrast_brings_nothing_but_jax(line):
  assert loaded(line, HEAVY) == []


def test_the_short_path_does_not_import_the_lab():
  assert loaded("import metajax; metajax.train, metajax.learners, metajax.objectives, metajax.tasks", NEITHER_NOR) == []


@pytest.mark.parametrize("name", metajax.__all__)
def test_every_public_name_exists(name):
  assert getattr(metajax, name) is not None and name in dir(metajax)


def test_an_unknown_name_is_rejected_with_the_known_ones():
  with pytest.raises(AttributeError, match="no attribute 'maml'; it has adapt, "):
    metajax.maml


@pytest.mark.parametrize("module, extra", [("metajax.lab", "lab"), ("metajax.data", "data")])
def test_a_missing_extra_is_named_with_its_command(module, extra, monkeypatch):
  from metajax import checks
  monkeypatch.setattr(checks.util, "find_spec", lambda name: None)
  with pytest.raises(ImportError, match=rf"pip install 'metajax\[{extra}\]'"):
    importlib.reload(importlib.import_module(module))
  monkeypatch.undo()
  importlib.reload(importlib.import_module(module))
