"""Does it help? Arms of one experiment, trained and tested in pairs.

An arm is a recipe. For each seed, all arms start from the same parameters (if their networks are the same), train on
the same tasks, and are tested on the same frozen episodes, so that their differences are paired. The folder of a
comparison contains:

  <arm>/seeds_*/      checkpoints and training metrics, several seeds each
  <arm>/arm.npz       all measurements of an arm, which are not repeated
  results.json        means, intervals, paired differences
  pictures/           distributions, curves, maps
  report.html         all of this in one file
"""

import json
from pathlib import Path
import re
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metajax.lab import seeds as seeds_lib
from metajax.lab.comparison_results import Found, Sweep, as_json, summarise
from metajax.lab.recipe import Recipe, Training
from metajax.lab.reports import comparison, maps
from metajax.lab.reports.figures import save
from metajax.lab.task_models import geometry, make_task_models
from metajax.lab.workdir import write_arrays, write_text
from metajax.tasks.sampling import listed_task
from metajax.training.evaluation import make_evaluate
from metajax.types import Params

_NUM_MODELS = 100  # unseen tasks whose models are compared
_MAPPED = 10  # tasks drawn in the map


class Arm(NamedTuple):
  """One way of training."""
  name: str
  build: Callable[[Mapping[str, Any]], Recipe]  # from changes of settings that only concern the test


def compare(arms: Sequence[Arm], *, seeds: Sequence[int], folder: Path, sweeps: Sequence[Sweep] = (),
            about: Mapping[str, Any] | None = None, group: int | None = None,
            say: Callable[[str], Any] = print) -> dict[str, Any]:
  """Trains and tests all arms, or resumes; returns the results, which are also written to the folder.

  Args:
    arms: the arms; the others are compared with the first.
    seeds: of initialisation and training tasks; a finished comparison can be extended with more seeds.
    folder: the folder of the comparison.
    sweeps: further tests of the same models.
    about: information to store with the results, such as the command.
    group: number of seeds trained at once; by default `seeds.at_once`.

  Raises:
    ValueError: as in `check`, or if the folder holds results of other or more seeds.
  """
  recipes = check(arms, seeds, sweeps)
  places = [folder / _file_name(arm.name) for arm in arms]
  done = [_is_done(folder, arm.name, seeds) for arm in arms]
  say(recipes[0].notes)
  found: dict[str, Found] = {}
  taken: list[float] = []  # minutes of the arms finished in this session
  for number, (arm, recipe, place) in enumerate(zip(arms, recipes, places), 1):
    if done[number - 1]:
      say(f"Arm {number} of {len(arms)}, {arm.name}: already done.")
    else:
      say(f"Arm {number} of {len(arms)}, {arm.name}: {len(seeds)} seeds.")
      trained = seeds_lib.train(recipe, seeds, place, group=group or seeds_lib.at_once(recipe, len(seeds)), say=say)
      began = time.monotonic()
      arrays = {"seeds": np.array(seeds), **_measure(arm, recipe, recipes[0], trained, len(seeds), sweeps, say)}
      said = {"minutes": [trained.total / 60, (trained.total + time.monotonic() - began) / 60]}
      write_arrays(place / "arm.npz", {**arrays, **{name: np.array(value) for name, value in said.items()}},
                   compressed=True)
      taken.append(said["minutes"][1])
      left = (len(arms) - number) * max(taken)
      say(f"  {said['minutes'][0]:.1f} minutes of training, {taken[-1]:.1f} including all tests"
          + (f"; about {left:.0f} minutes for the remaining arms." if number < len(arms) else "."))
    found[arm.name] = measured(folder, arm.name)
  results = {**(about or {}), "notes": recipes[0].notes, "seeds": list(seeds),
             "steps": recipes[0].training.steps, **summarise(found, sweeps)}
  results = as_json(results)
  write_text(folder / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
  drawn = comparison.pictures(results, found)
  for name, (figure, _) in drawn.items():
    save(figure, folder / "pictures" / f"{_file_name(name)}.png")
  write_text(folder / "report.html", comparison.report(results, drawn))
  return results


def measured(folder: Path, arm: str) -> Found:
  """Returns the measurements of a finished arm, from the folder of its comparison."""
  with np.load(folder / _file_name(arm) / "arm.npz") as arrays:
    return {name: arrays[name] for name in arrays}


def _is_done(folder: Path, arm: str, seeds: Sequence[int]) -> bool:
  """Whether an arm was measured with all of the seeds; raises ValueError if it was with other or more seeds."""
  if not (folder / _file_name(arm) / "arm.npz").exists():
    return False
  before = measured(folder, arm)["seeds"].tolist()
  if list(seeds[:len(before)]) != before:
    raise ValueError(f"{folder} compares arms over the seeds {before}, but the given seeds are {list(seeds)}; give the "
                     "former, optionally followed by more, or name another folder.")
  return len(before) == len(seeds)


def check(arms: Sequence[Arm], seeds: Sequence[int], sweeps: Sequence[Sweep] = ()) -> list[Recipe]:
  """Returns the recipes of the arms, after checking that they can be compared; nothing is trained or written.

  Raises:
    ValueError: if there are fewer than two arms or seeds, two arms share a name, an arm stops or is tested at a step of
      its own (patience, keep_best), has other test episodes than the first, or cannot be tested with a value of a
      sweep.
  """
  if len(arms) < 2 or len(seeds) < 2:
    raise ValueError(f"a comparison needs at least 2 arms and 2 seeds, but got {len(arms)} and {len(seeds)}.")
  if len({_file_name(arm.name) for arm in arms}) < len(arms):
    raise ValueError(f"arms need different names, but they are {', '.join(arm.name for arm in arms)}.")
  recipes = [arm.build({}) for arm in arms]
  for recipe in recipes:
    _check_length(recipe.training)
  for arm, recipe in zip(arms[1:], recipes[1:]):
    _check_episodes(arm.name, recipe, recipes[0])
  for sweep in sweeps:
    for value in sweep.values:
      arms[0].build({sweep.field: value})
  return recipes


def _check_length(training: Training) -> None:
  """Raises ValueError for a setting that lets a run choose its own step: seeds are one program, and arms are paired."""
  if training.patience:
    raise ValueError(f"config.training.patience={training.patience} would stop each run at a step of its own, but a "
                     "comparison trains all seeds of an arm in one program and all arms equally long, so that they "
                     "differ in nothing else; leave it at 0, and compare shorter trainings with "
                     "config.training.steps.")
  if training.keep_best:
    raise ValueError(f"config.training.keep_best={training.keep_best!r} has no effect on a comparison, which does not "
                     "validate during training and tests the last step of all arms; leave it empty.")


def _measure(arm: Arm, recipe: Recipe, reference: Recipe, trained: seeds_lib.Trained, num_seeds: int,
             sweeps: Sequence[Sweep], say: Callable[[str], Any]) -> Found:
  """Returns all measurements of a trained arm.

  test/<measure> [S, E]; sweep/<field>/<index of the value>/<measure> [S, E]; models/d_in [S, T, K], d_out [S, pairs],
  silhouette [S], calinski_harabasz [S], map [tasks, K + 1, 2] of the first seed; training/<metric> [rows, S] and
  training/step [rows]; seconds, memory, diverged_trainings.
  """
  models = [jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), trained.params) for place in range(num_seeds)]
  sound = [all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(model)) for model in models]
  found: Found = {"seconds": np.array(trained.seconds), "memory": np.array(trained.memory),
                  "diverged_trainings": np.array(num_seeds - sum(sound))}
  found |= {f"training/{name}": values for name, values in trained.metrics.items()}
  say(f"  Testing {num_seeds} models on {recipe.test.episodes} episodes each.")
  found |= {f"test/{name}": values for name, values in _test(recipe, models).items()}
  for sweep in sweeps:
    for place, value in enumerate(sweep.values):
      say(f"  Testing them with config.{sweep.field}={value}.")
      tested = _test(arm.build({sweep.field: value}), models)
      found |= {f"sweep/{sweep.field}/{place}/{name}": values for name, values in tested.items()}
  if reference.models is not None:  # the first arm's tasks, subsets and distance for all arms, to make them comparable
    say(f"  Comparing the models of {_NUM_MODELS} unseen tasks.")
    represent = make_task_models(recipe.test_learner, reference.models.tasks, reference.models.views,
                                 jax.random.key(reference.test.seed), _NUM_MODELS)
    geometries = []
    for place, model in enumerate(models):
      full, parts = represent(model)
      geometries.append(geometry(full, parts, reference.models.distance))
      if place == 0 and sound[0]:
        found["models/map"] = maps.project(np.concatenate([full[:_MAPPED, None], parts[:_MAPPED]], axis=1))
    found |= {f"models/{name}": np.stack([np.asarray(getattr(each, name), np.float32) for each in geometries])
              for name in geometries[0]._fields}
  return found


def _test(recipe: Recipe, models: Sequence[Params]) -> dict[str, np.ndarray]:
  """Returns loss and scores `[S, E]` on the frozen test episodes."""
  evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.test_tasks,
                           num_episodes=recipe.test.episodes, key=jax.random.key(recipe.test.seed),
                           measures=recipe.measures)
  each = [evaluate(model) for model in models]
  return {name: np.stack([results[name].values for results in each]) for name in each[0]}


def _check_episodes(name: str, recipe: Recipe, reference: Recipe) -> None:
  first, second = ((each.test.episodes, _first_episode(each)) for each in (reference, recipe))
  same = str(jax.tree.structure(first)) == str(jax.tree.structure(second))
  if not (same and all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))):
    raise ValueError(f"arm {name} has other test episodes than the first arm, so the two cannot be compared in "
                     "pairs; arms may differ only in training or adaptation.")


def _first_episode(recipe: Recipe) -> Any:
  tasks, key = recipe.test_tasks, jax.random.key(recipe.test.seed)
  return jax.jit(lambda data: listed_task(tasks, data, key, jnp.int32(0)))(tasks.data)


def _file_name(name: str) -> str:
  return re.sub(r"[^\w.=+-]", "_", name)
