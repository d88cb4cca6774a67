"""The composition root: a `Recipe` says what to run, `run` says how the parts meet.

What a run leaves in its workdir:

  run.json            the recipe and its settings
  metrics.csv         a row every few steps: means of the metrics over these steps
  tensorboard/        the same, for TensorBoard
  checkpoints/        Orbax
  test.json           the test results, each a mean with its 95 % interval
  test_episodes.npz   the same, episode by episode
  *.png               learning curves, the task-representation map, and the recipe's own pictures
  report.html         all of this in one file, to be looked at
"""

from dataclasses import dataclass
import functools
import json
from pathlib import Path
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax
from matplotlib.figure import Figure
import numpy as np
import optax

from metajax import cost
from metajax.checkpoints import Checkpoints
from metajax.evaluation import Estimate, make_evaluate
from metajax.reports import html
from metajax.reports.figures import learning_curves, save
from metajax.reports.progress import Progress
from metajax.reports.writers import CsvWriter, TensorBoardWriter, combine, read_csv
from metajax.sharding import replicated, task_mesh, usable_devices
from metajax.training import TrainState, fit, init_state, make_advance
from metajax.types import Learner, Objective, Params, PerExample, PRNGKey, TaskDistribution


@dataclass
class Training:
  """The outer loop."""
  steps: int = 1000  # meta-steps in all
  tasks_per_step: int = 32  # tasks in a meta-batch, over all devices
  learning_rate: float = 1e-3  # of Adam, the outer optimizer
  steps_per_row: int = 50  # steps in one row of metrics.csv
  steps_per_dispatch: int = 50  # steps in one dispatch to the device; 1 where convolutions must not be in a loop
  rows_per_checkpoint: int = 10  # rows between two checkpoints, and between two looks at the validation tasks
  task_chunk: int = 0  # tasks mapped at a time; 0 is all at once


@dataclass
class Test:
  """The frozen lists of episodes."""
  episodes: int = 600  # test episodes
  val_episodes: int = 100  # episodes of each look at the validation tasks during training
  seed: int = 0  # of the test list, apart from the training seed: all runs meet the same episodes


class Recipe(NamedTuple):
  """Everything a run needs to know."""
  learner: Learner  # the one that is trained
  test_learner: Learner  # the one that is tested: the same, or with another number of inner steps
  objective: Objective  # its axis_name is sharding.TASKS
  optimizer: optax.GradientTransformation
  loss: PerExample
  scores: Mapping[str, PerExample]
  train_tasks: TaskDistribution
  val_tasks: TaskDistribution | None  # looked at during training, never trained on
  test_tasks: TaskDistribution
  training: Training
  test: Test
  seed: int
  pictures: Callable[[Params, PRNGKey], Mapping[str, Figure]]  # by file name
  notes: str  # what must be said beside every result: the source of the data, the kind of normalisation


def check(recipe: Recipe) -> None:
  """Traces a recipe's first step, which compiles, computes and writes nothing, so that a run need not start to fail.

  Raises:
    ValueError: if its parts do not fit each other.
  """
  key = jax.random.key(recipe.seed)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = jax.eval_shape(lambda: init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, key))
  advance = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=key, mesh=mesh, num_steps=1,
                         num_tasks=recipe.training.tasks_per_step)
  jax.eval_shape(advance, state, recipe.train_tasks.data)


def dry_run(recipe: Recipe, *, say: Callable[[str], Any] = print) -> cost.Cost:
  """Compiles what `train` would run, says what it costs, and runs and writes nothing.

  Returns:
    The cost of one dispatch on one device.
  """
  key, steps = jax.random.key(recipe.seed), recipe.training.steps_per_dispatch
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = jax.eval_shape(lambda: init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, key))
  advance: Any = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=key, mesh=mesh,
                              num_steps=steps, num_tasks=recipe.training.tasks_per_step)
  start = time.monotonic()
  compiled = advance.lower(state, recipe.train_tasks.data).compile()
  say(f"Compiled {steps} step(s) a dispatch in {time.monotonic() - start:.1f} s.")
  found = cost.measure(advance, state, recipe.train_tasks.data, state.params, compiled)
  for sentence in cost.sentences(found, steps, mesh.size):
    say(sentence)
  return found


def run(recipe: Recipe, workdir: Path | str, *, say: Callable[[str], Any] = print) -> dict[str, Estimate]:
  """Trains, tests and pictures a recipe in a workdir, going on from its newest checkpoint if it has one.

  Returns:
    The test results by name, `loss` and each score.

  Raises:
    FloatingPointError: if a metric stops being finite.
    metajax.checkpoints.Damaged: if there are checkpoints but none is whole.
  """
  workdir = Path(workdir)
  say(recipe.notes)
  state = train(recipe, workdir, say=say)
  results = test(recipe, state.params, workdir, say=say)
  params = jax.device_put(state.params, jax.devices()[0])  # they may live on a whole mesh
  figures = {"curves.png": learning_curves(read_csv(workdir / "metrics.csv")),
             **recipe.pictures(params, jax.random.key(recipe.test.seed))}
  for name, figure in figures.items():
    save(figure, workdir / name)
  say(f"Pictures: {', '.join(str(workdir / name) for name in figures)}")
  html.write(workdir)
  return results


def train(recipe: Recipe, workdir: Path, *, say: Callable[[str], Any] = print) -> TrainState:
  """Returns the state at the end of training, or of what is left of it."""
  key_init, key_train, key_val = jax.random.split(jax.random.key(recipe.seed), 3)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = jax.device_put(init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, key_init), replicated(mesh))
  tasks = recipe.train_tasks._replace(data=jax.device_put(recipe.train_tasks.data, replicated(mesh)))

  @functools.cache
  def advance(num_steps):
    compiled: Any = make_advance(recipe.objective, recipe.optimizer, tasks, key=key_train, mesh=mesh,
                                 num_tasks=recipe.training.tasks_per_step, num_steps=num_steps)
    start = time.monotonic()
    compiled = compiled.lower(state, tasks.data).compile()
    say(f"Compiled {num_steps} step{'s' if num_steps > 1 else ''} a dispatch in {time.monotonic() - start:.1f} s.")
    return compiled

  evaluate = None
  if recipe.val_tasks is not None:
    evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.val_tasks,
                             num_episodes=recipe.test.val_episodes, key=key_val)

  with Checkpoints(workdir / "checkpoints") as checkpoints:
    restored = checkpoints.restore(state)
    if restored is not None:
      state = restored[1]
    start = int(state.step)
    say(f"{'Resuming after step ' + str(start) if start else 'Training'}: {recipe.training.steps} steps of "
        f"{recipe.training.tasks_per_step} tasks on {mesh.size} device{'s' if mesh.size > 1 else ''}.")
    writer = combine(CsvWriter(workdir / "metrics.csv", start), TensorBoardWriter(workdir / "tensorboard", start))
    with Progress(recipe.training.steps, start_step=start, tasks_per_step=recipe.training.tasks_per_step) as progress:
      period = recipe.training.rows_per_checkpoint * recipe.training.steps_per_row

      def report(step, state, metrics):
        values = dict(metrics)
        due = step % period == 0 or step == recipe.training.steps
        if due and evaluate is not None:
          values |= {f"val_{name}": result.mean for name, result in evaluate(state.params).items()}
        writer.write(step, values)
        progress.update(step, values)
        if due:
          writer.flush()
          checkpoints.save(step, state, values)

      try:
        state = fit(state, tasks, advance, num_steps=recipe.training.steps,
                    steps_per_dispatch=recipe.training.steps_per_dispatch,
                    steps_per_row=recipe.training.steps_per_row,
                    hooks=[report])
      finally:
        writer.close()
  return state


def test(recipe: Recipe, params: Params, workdir: Path | str, *, name: str = "test", say: Callable[[str], Any] = print
         ) -> dict[str, Estimate]:
  """Returns the results on the frozen test episodes, also written to `<name>.json` and `<name>_episodes.npz`."""
  evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.test_tasks,
                           num_episodes=recipe.test.episodes, key=jax.random.key(recipe.test.seed))
  results = evaluate(jax.device_put(params, jax.devices()[0]))
  summary = {
      "episodes": recipe.test.episodes, "test_seed": recipe.test.seed, "notes": recipe.notes,
      "results": {key: {"mean": value.mean, "interval_95": value.interval} for key, value in results.items()}}
  workdir = Path(workdir)
  (workdir / f"{name}.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
  arrays: dict[str, Any] = {key: value.values for key, value in results.items()}
  np.savez(workdir / f"{name}_episodes.npz", **arrays)
  say(f"Test on {recipe.test.episodes} episodes (mean ± 95 % interval): "
      + ", ".join(f"{key} {value}" for key, value in results.items()) + f"\n  {recipe.notes}")
  return results


def restore(recipe: Recipe, workdir: Path | str) -> TrainState:
  """Returns the newest whole state in a workdir.

  Raises:
    ValueError: if there is no checkpoint yet.
    metajax.checkpoints.Damaged: if none is whole.
  """
  folder = Path(workdir) / "checkpoints"
  restored = None
  if folder.is_dir():
    like = init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, jax.random.key(recipe.seed))
    with Checkpoints(folder, read_only=True) as checkpoints:
      restored = checkpoints.restore(like)
  if restored is None:
    raise ValueError(f"workdir {workdir} has no checkpoint yet; train first.")
  return restored[1]
