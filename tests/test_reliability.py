"""Every guarantee in docs/reliability.md has a test."""

import ast
from pathlib import Path
import re

import pytest

from metajax.lab.preemption import REQUEUE

_ROOT = Path(__file__).parent.parent
_PAGE = (_ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
_FAULTS = _PAGE.split("## Exit codes")[0]
_ROWS = [row.split("|") for row in re.findall(r"^\| .* \|$", _FAULTS, re.MULTILINE) if "tests/" in row]


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[1].strip()[:40])
def test_every_row_has_its_test(row):
  path, name = re.fullmatch(r" `(tests/[\w/]+\.py)::(test_\w+)` ", row[3]).groups()
  tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
  assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_is_complete():
  assert len(_ROWS) == len(re.findall(r"^\| ", _FAULTS, re.MULTILINE)) - 2 >= 15
  assert f"| {REQUEUE} |" in _PAGE and f"-eq {REQUEUE} " in _PAGE and f"[{REQUEUE}, " in _PAGE


def test_its_commands_exist():
  for module in re.findall(r"python -m ([\w.]+)", _PAGE):
    assert (_ROOT / (module.replace(".", "/") + ".py")).is_file()
  settings = (_ROOT / "metajax" / "lab" / "recipe.py").read_text(encoding="utf-8")
  for field in re.findall(r"(?<!\w)training\.(\w+)", _PAGE):
    assert f"  {field}: " in settings
