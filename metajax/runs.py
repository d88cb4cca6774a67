"""The composition root: a recipe is trained, tested and pictured in a workdir.

What a run leaves in its workdir:

  run.json            the recipe and its settings, and what the run was made with
  metrics.csv         a row every few steps: means of the metrics over these steps
  tensorboard/        the same, for TensorBoard
  checkpoints/        Orbax; damaged ones are moved to checkpoints-damaged/
  step_<n>.npz        the episodes of a step that computed a number that is none, if one did
  test.json           the test results, each a mean with its 95 % interval
  test_episodes.npz   the same, episode by episode
  *.png               learning curves, the task-representation map, and the recipe's own pictures
  report.html         all of this in one file, to be looked at
"""

import functools
import io
import json
from pathlib import Path
import time
from typing import Any, Callable, Sequence

import jax
from jax.sharding import Mesh

from metajax.checkpoints import Checkpoints, Keep
from metajax.evaluation import Estimate, make_evaluate
from metajax.faults import NonFinite
from metajax.feed import Feed
from metajax.hosts import is_writer, to_host, wait
from metajax.preemption import Preempted
from metajax.recipe import Recipe, guarded_optimizer, mapping, root_keys
from metajax.reports import html
from metajax.reports.figures import learning_curves, save
from metajax.reports.progress import Progress
from metajax.reports.writers import CsvWriter, TensorBoardWriter, Writer, combine, read_csv
from metajax.sharding import replicate, spread, task_mesh, usable_devices
from metajax.training import Advance, Stopped, TrainState, fit, init_state, make_advance, write_batch
from metajax.types import Params, PRNGKey, TaskDistribution
from metajax.workdir import write_arrays, write_text


def run(recipe: Recipe, workdir: Path | str, *, say: Callable[[str], Any] = print,
        stop_requested: Callable[[], bool] = lambda: False, writers: Sequence[Callable[[int], Writer]] = ()
        ) -> dict[str, Estimate]:
  """Trains, tests and pictures a recipe in a workdir, going on from its newest checkpoint if it has one.

  `stop_requested` is asked before each dispatch; processes that train together must all be told the same. `writers`
  open further places for the metrics, given the step that the run goes on from.

  Returns:
    The test results by name, `loss` and each score.

  Raises:
    metajax.faults.NonFinite: if a step computes a number that is none.
    metajax.checkpoints.Damaged, metajax.checkpoints.Unsaved: if no checkpoint is whole, or one cannot be written.
    metajax.preemption.Preempted: if a stop was requested; all that was done is saved.
  """
  workdir = Path(workdir)
  say = say if is_writer() else silence
  say(recipe.notes)
  state = train(recipe, workdir, say=say, stop_requested=stop_requested, writers=writers)
  if stop_requested():
    raise Preempted("Stopped as asked, with the training done and saved; the same command tests.")
  results = test(recipe, state.params, workdir, say=say)
  if not is_writer():
    return results
  params = jax.device_put(to_host(state.params), jax.local_devices()[0])  # they may live on a whole mesh
  figures = {"curves.png": learning_curves(read_csv(workdir / "metrics.csv")),
             **recipe.pictures(params, jax.random.key(recipe.test.seed))}
  for name, figure in figures.items():
    save(figure, workdir / name)
  say(f"Pictures: {', '.join(str(workdir / name) for name in figures)}")
  html.write(workdir)
  return results


def train(recipe: Recipe, workdir: Path, *, say: Callable[[str], Any] = print,
          stop_requested: Callable[[], bool] = lambda: False, writers: Sequence[Callable[[int], Writer]] = ()
          ) -> TrainState:
  """Returns the state at the end of training, or of what is left of it; errors as in `run`."""
  _, key_train, key_val = root_keys(recipe)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  feed = make_feed(recipe, mesh)
  state, tasks, advance = beginning(recipe, mesh, say=say, feed=feed)
  evaluate = None
  if recipe.val_tasks is not None:
    evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.val_tasks,
                             num_episodes=recipe.test.val_episodes, key=key_val, mesh=mesh)

  keep = Keep(recipe.training.keep_newest, recipe.training.keep_every, recipe.training.keep_best)
  with Checkpoints(workdir / "checkpoints", keep=keep) as checkpoints:
    restored = checkpoints.restore(state)
    state, row = (state, None) if restored is None else (restored.state, restored.notes)
    start = int(state.step)
    say(f"{'Resuming after step ' + str(start) if start else 'Training'}: {recipe.training.steps} steps of "
        f"{recipe.training.tasks_per_step} tasks on {mesh.size} device{'s' if mesh.size > 1 else ''}.")
    writer = combine()
    if is_writer():
      further = [opened(start) for opened in writers]  # first: they may be refused elsewhere
      writer = combine(CsvWriter(workdir / "metrics.csv", start), TensorBoardWriter(workdir / "tensorboard", start),
                       *further)
    with Progress(recipe.training.steps, start_step=start, tasks_per_step=recipe.training.tasks_per_step,
                  file=None if is_writer() else io.StringIO()) as progress:
      period = recipe.training.rows_per_checkpoint * recipe.training.steps_per_row

      def report(step, state, metrics):
        values = dict(metrics)
        due = step % period == 0 or step == recipe.training.steps
        if due and evaluate is not None:
          values |= {f"val_{name}": result.mean for name, result in evaluate(state.params).items()}
        writer.write(step, values)
        progress.update(step, values)
        checkpoints.check()
        if due:
          writer.flush()
          checkpoints.save(step, state, values)

      try:
        state = fit(state, tasks, advance, num_steps=recipe.training.steps,
                    steps_per_dispatch=recipe.training.steps_per_dispatch, steps_per_row=recipe.training.steps_per_row,
                    hooks=[report], row=row, stop_requested=stop_requested, feed=feed)
      except Stopped as stopped:
        if stopped.step not in (0, *checkpoints.steps()):
          writer.flush()
          checkpoints.save(stopped.step, stopped.state, notes=stopped.row)
          checkpoints.wait()
        raise Preempted(f"Stopped as asked and saved, {stopped.step} of {recipe.training.steps} steps done; the same "
                        "command goes on.") from None
      except NonFinite as fault:
        if is_writer():
          write_batch(workdir / f"step_{fault.step}.npz", recipe.train_tasks, key_train, fault.step,
                      recipe.training.tasks_per_step)
        raise
      finally:
        writer.close()
        if feed:
          feed.close()
  return state


def test(recipe: Recipe, params: Params, workdir: Path | str, *, name: str = "test", say: Callable[[str], Any] = print
         ) -> dict[str, Estimate]:
  """Returns the results on the frozen test episodes, also written to `<name>.json` and `<name>_episodes.npz`."""
  mesh = task_mesh()
  evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.test_tasks,
                           num_episodes=recipe.test.episodes, key=jax.random.key(recipe.test.seed), mesh=mesh,
                           measures=recipe.measures)
  results = evaluate(replicate(to_host(params), mesh))
  if not is_writer():
    return results
  summary = {
      "episodes": recipe.test.episodes, "test_seed": recipe.test.seed, "notes": recipe.notes,
      "results": {key: {"mean": value.mean, "interval_95": value.interval} for key, value in results.items()}}
  write_arrays(Path(workdir) / f"{name}_episodes.npz", {key: value.values for key, value in results.items()})
  write_text(Path(workdir) / f"{name}.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
  say(f"Test on {recipe.test.episodes} episodes (mean ± 95 % interval): "
      + ", ".join(f"{key} {value}" for key, value in results.items()) + f"\n  {recipe.notes}")
  return results


def restore(recipe: Recipe, workdir: Path | str) -> TrainState:
  """Returns the newest whole state in a workdir.

  Raises:
    ValueError, metajax.checkpoints.Damaged: if there is no checkpoint yet, or none is whole.
  """
  folder = Path(workdir) / "checkpoints"
  restored = None
  if folder.is_dir():
    like = init_state(recipe.learner, guarded_optimizer(recipe), recipe.train_tasks, jax.random.key(recipe.seed))
    with Checkpoints(folder, read_only=True) as checkpoints:
      restored = checkpoints.restore(like)
  if restored is None:
    raise ValueError(f"workdir {workdir} has no checkpoint yet; train first.")
  return restored.state


def beginning(recipe: Recipe, mesh: Mesh, *, say: Callable[[str], Any], feed: Feed | None = None
              ) -> tuple[TrainState, TaskDistribution, Callable[[int], Advance]]:
  """Returns what a run begins with: the state before the first step and the tasks, on the devices, and what trains.

  The last is from a number of steps to the program that does them in one dispatch; it is compiled when it is first
  asked for, which every process must do. With a `feed` that is a program for what the feed gives.
  """
  (key_init, key_train, _), optimizer, training = root_keys(recipe), guarded_optimizer(recipe), recipe.training
  state = replicate(init_state(recipe.learner, optimizer, recipe.train_tasks, key_init), mesh)
  if training.spread_state:
    state = jax.jit(lambda state: state, out_shardings=spread(state, mesh))(state)
  tasks = recipe.train_tasks._replace(data=replicate(recipe.train_tasks.data, mesh))

  @functools.cache
  def advance(num_steps):
    start = time.monotonic()
    program = make_program(recipe, tasks, mesh, key_train, num_steps, feed)
    compiled = program.lower(state, feed.like(num_steps) if feed else tasks.data).compile()
    say(f"Compiled {num_steps} step{'s' if num_steps > 1 else ''} a dispatch in {time.monotonic() - start:.1f} s.")
    wait("compiled")
    return compiled

  return state, tasks, advance


def make_program(recipe: Recipe, tasks: TaskDistribution, mesh: Mesh, key: PRNGKey, num_steps: int,
                 feed: Feed | None) -> Any:
  """Returns the program of a dispatch, to be compiled for the data of the tasks, or for what the feed gives."""
  return make_advance(recipe.objective, guarded_optimizer(recipe), feed.tasks if feed else tasks, key=key, mesh=mesh,
                      num_tasks=recipe.training.tasks_per_step, num_steps=num_steps, mapped=mapping(recipe),
                      spread_state=recipe.training.spread_state, data_specs=feed.specs if feed else None)


def make_feed(recipe: Recipe, mesh: Mesh) -> Feed | None:
  """Returns what reads ahead for a run, if its recipe wants that."""
  if recipe.reading is None:
    return None
  return Feed(recipe.train_tasks, root_keys(recipe)[1], mesh, num_tasks=recipe.training.tasks_per_step,
              num_steps=recipe.training.steps, reading=recipe.reading)


def silence(words: str) -> None:
  """Says nothing: what the processes that are not the writer say."""
