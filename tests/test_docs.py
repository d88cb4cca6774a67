"""The documentation: every public symbol has a docstring, every link works, the site builds without warnings."""

import ast
import doctest
import importlib
import inspect
import os
import pathlib
import re
import subprocess
import sys

import pytest

import metajax

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted((ROOT / "metajax").rglob("*.py"))


class _Finder(doctest.DocTestFinder):
  """Finds the examples of decorated functions too."""

  def _from_module(self, module, object):
    return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)


def undocumented(text):
  """Returns the public functions and classes of a module that have no docstring."""
  found = []
  for node in ast.parse(text).body:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
      if not ast.get_docstring(node):
        found.append(node.name)
  return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_symbol_is_documented(path):
  assert undocumented(path.read_text(encoding="utf-8")) == []


def test_examples_in_docstrings_say_what_is_true():
  ran = 0
  for path in MODULES:
    if ">>> " in path.read_text(encoding="utf-8"):
      module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
      for example in _Finder().find(module):
        failed, tried = doctest.DocTestRunner().run(example)
        assert failed == 0, (path, example.name)
        ran += tried
  assert ran >= 40


def test_what_is_undocumented_can_be_seen():
  text = 'def f():\n  pass\nclass C:\n  x = 1\ndef g():\n  """Does."""\ndef _h():\n  pass'
  assert undocumented(text) == ["f", "C"]


def test_the_public_interface_is_small_and_documented():
  assert len(metajax.__all__) <= 20 and all(hasattr(metajax, name) for name in metajax.__all__)
  guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
  for name in metajax.__all__:
    assert re.search(rf"^  (\w+, )*{name}(, \w+)*  ", metajax.__doc__, re.M), name
    assert f"`{name}`" in guide, name


def test_links_of_pages_work():
  broken = []
  for page in (ROOT / "docs").rglob("*.md"):
    if {"_build", "api"}.isdisjoint(page.relative_to(ROOT / "docs").parts[:1]):
      for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not (page.parent / link).exists():
          broken.append((page.name, link))
  assert broken == []


def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("furo", reason='the site is NOT BUILT: pip install "metajax[docs]".')
  # Building the site writes pages next to their sources, so it is built from a copy.
  folder = tmp_path / "repository"
  folder.mkdir()
  for name in ("README.md", "metajax"):
    (folder / name).symlink_to(ROOT / name)
  subprocess.run(["cp", "-r", str(ROOT / "docs"), str(folder / "docs")], check=True)
  done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "site"],
                        cwd=folder, capture_output=True, text=True, timeout=240,
                        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})
  assert done.returncode == 0, done.stderr
  built = {str(path.relative_to(folder / "site")) for path in (folder / "site").rglob("*.html")}
  assert {"index.html", "objective.html", "choosing.html", "api.html", "results.html"} <= built
  text = "".join((folder / "site" / name).read_text(encoding="utf-8") for name in built)
  assert 'href="https://github.com/metajax/metajax/tree/main/metajax/learners"' in text  # leads out of the site
  for path in MODULES:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
      if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
        assert f'id="{module}.{node.name}"' in text, f"{module}.{node.name} is on no page"
