"""Everything that determines a run's results bit for bit: versions, commit, data, devices."""

from importlib import metadata
from pathlib import Path
import platform
import subprocess
from typing import Any

import jax

from metajax.lab.checkpoints import digest
from metajax.types import PyTree

_PACKAGES = ("metajax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def provenance(data: PyTree, recipe: Path | str) -> dict[str, Any]:
  """Returns versions, commits, a digest of the data, and the devices, as a JSON-compatible dict.

  Args:
    data: the arrays that tasks are drawn from.
    recipe: the file of the recipe.
  """
  devices = jax.devices()
  return {
      "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
      "commit": {"metajax": commit(Path(__file__)), "recipe": commit(Path(recipe))},
      "data": data_digest(data),
      "devices": {"kind": devices[0].device_kind, "count": len(devices), "processes": jax.process_count()}}


def data_digest(data: PyTree) -> str:
  """Returns the digest of the arrays that tasks are drawn from, as a word."""
  return f"sha256:{digest(data)}"


def commit(file: Path) -> str | None:
  """Returns the git commit of a file's repository, with `, changed` if there are local changes; None without git."""
  folder = file.absolute().parent

  def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True,
                          timeout=20).stdout.strip()

  try:
    git("ls-files", "--error-unmatch", file.name)  # the file may be untracked, in an unrelated repository
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD") + (", changed" if changed else "")
  except (OSError, subprocess.SubprocessError):
    return None


def _version(package: str) -> str | None:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return None
