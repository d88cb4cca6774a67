"""A fork: a new workdir that continues from another run's checkpoint with different settings."""

import json
from pathlib import Path
import shutil
from typing import Any, Callable, Mapping

import jax

from metajax.lab import workdir as workdirs
from metajax.lab.checkpoints import Checkpoints, Damaged
from metajax.lab.recipe import Recipe
from metajax.lab.session import first_state, restore
from metajax.training.hosts import to_host

_NOT_OF_DATA = frozenset({"training", "test", "contrast", "conml", "seed"})  # settings that leave the data as they are


def fork(source: Path | str, workdir: Path | str, recipe: Recipe, path: str, config: Mapping[str, Any],
         about: Mapping[str, Any], *, called: str = "", say: Callable[[str], Any] = print) -> Path:
  """Creates a workdir that continues from the newest intact checkpoint of `source`; returns it.

  The workdir is created atomically. If it already exists with these settings, it is left unchanged, so that the same
  command resumes it. `source` is never changed. Called by one process of a run.

  Args:
    source: the workdir of a run.
    workdir: a folder that does not exist, or is empty.
    recipe: the recipe of the fork; its state must have the structure of the checkpoint.
    path, config, about: as in `metajax.lab.workdir.claim`.
    called: the name of `source` in messages and in the provenance, by default its path.
    say: called with messages.

  Raises:
    ValueError: if `source` has no checkpoint that fits, or the workdir is in use, or the data have changed although no
      setting of theirs has.
  """
  source, workdir = Path(source), Path(workdir)
  if (workdir / "run.json").exists():
    return workdirs.claim(workdir, path, config, about, say)
  before = workdirs.read(source)["config"]
  changed = workdirs.data_changed(source, about["data"]) if "data" in about else ""
  others = {name for name in {*before, *config} if before.get(name) != json.loads(json.dumps(config.get(name)))}
  if changed and others <= _NOT_OF_DATA:
    raise ValueError(changed)
  if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    raise ValueError(f"a fork needs a new or empty workdir, but {workdir} is not empty; name another.")
  try:
    restored = restore(source, first_state(recipe, jax.random.key(recipe.seed)), alone=True)
  except Damaged as error:
    raise ValueError(f"workdir {source} has no checkpoint that fits these settings: {error}") from error
  if restored is None:
    raise ValueError(f"workdir {source} has no checkpoint yet to fork from; train first.")
  if restored.step >= recipe.training.steps:
    raise ValueError(f"workdir {source} is already at step {restored.step}, so there is nothing left to do in "
                     f"{recipe.training.steps} steps; give more with --config.training.steps.")
  if changed:
    say(f"The fork has other data than its source ({', '.join(sorted(others - _NOT_OF_DATA))} changed), so classes of "
        "the source's training may be classes of its test.")
  partial = workdir.absolute().with_name(workdir.absolute().name + ".forking")
  shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted fork
  workdirs.claim(partial, path, config, {**about, "forked": {"from": called or str(source), "step": restored.step}})
  with Checkpoints(partial / "checkpoints", alone=True) as checkpoints:
    # Of several processes only one is here; Orbax would refuse its arrays as not being those of all.
    checkpoints.save(restored.step, restored.state if jax.process_count() == 1 else to_host(restored.state))
  if (source / "metrics.csv").exists():
    shutil.copyfile(source / "metrics.csv", partial / "metrics.csv")  # training drops the rows of later steps
  partial.replace(workdir)
  say(f"Forked from {called or source} at step {restored.step}.")
  return workdir
