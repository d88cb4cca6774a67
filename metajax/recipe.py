"""The composition root: a `Recipe` says what to run, `run` says how the parts meet.

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

from dataclasses import dataclass
import functools
import io
import json
from pathlib import Path
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax
from jax.sharding import Mesh
from matplotlib.figure import Figure
import optax

from metajax import cost
from metajax.checkpoints import Checkpoints, Keep
from metajax.data.host import stores
from metajax.data.pipeline import Reading, read_shapes
from metajax.distances import Distance
from metajax.evaluation import Estimate, make_evaluate
from metajax.faults import NonFinite, guard
from metajax.feed import Feed
from metajax.hosts import is_writer, to_host, wait
from metajax.objectives.views import Views
from metajax.preemption import Preempted
from metajax.reports import html
from metajax.reports.figures import learning_curves, save
from metajax.reports.progress import Progress
from metajax.reports.writers import CsvWriter, TensorBoardWriter, Writer, combine, read_csv
from metajax.sharding import Mapping as DeviceMapping
from metajax.sharding import over_tasks, over_tasks_by_pmap, replicate, spread, task_mesh, usable_devices
from metajax.training import AHEAD, Advance, Stopped, TrainState, fit, init_state, make_advance, write_batch
from metajax.types import Learner, Objective, Params, PerExample, PerSet, PRNGKey, TaskDistribution
from metajax.workdir import write_arrays, write_text


@dataclass
class Training:
  """The outer loop."""
  steps: int = 1000  # meta-steps in all
  tasks_per_step: int = 32  # tasks in a meta-batch, over all devices
  learning_rate: float = 1e-3  # of Adam, the outer optimizer
  steps_per_row: int = 50  # steps in one row of metrics.csv
  steps_per_dispatch: int = 50  # steps in one dispatch to the device; 1 where convolutions must not be in a loop
  rows_per_checkpoint: int = 10  # rows between two checkpoints, and between two looks at the validation tasks
  task_chunk: int = 0  # tasks mapped at a time; 0: all at once; -1: as the machine wants it
  pmap: bool = False  # map tasks over devices with jax.pmap in the place of jax.shard_map
  spread_state: bool = False  # let the devices share parameters and optimizer state: for big networks
  clip_gradient: float = 0.0  # the largest norm of the gradient; 0: not clipped
  skip_nonfinite: int = 0  # updates in a row that may be skipped where the gradient is not finite; 0: the run stops
  keep_newest: int = 2  # checkpoints
  keep_every: int = 0  # checkpoints of every so many steps are kept, too; 0: none
  keep_best: str = ""  # and the best by a metric: val_accuracy, for the greatest, or -val_loss, for the smallest


@dataclass
class Test:
  """The frozen lists of episodes."""
  episodes: int = 600  # test episodes
  val_episodes: int = 100  # episodes of each look at the validation tasks during training
  seed: int = 0  # of the test list, apart from the training seed: all runs meet the same episodes


class Models(NamedTuple):
  """What to look at where models of unseen tasks are compared: alignment, discrimination, clusters."""
  tasks: TaskDistribution  # support and query together are a whole task
  views: Views  # the subsets of it
  distance: Distance  # phi


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
  measures: Mapping[str, PerSet] = {}  # tested besides, of a query set as a whole; the first is what arms are judged by
  models: Models | None = None  # None where representations are not compared
  reading: Reading | None = None  # how to read ahead what training tasks leave on the host; None: each step fetches


def check(recipe: Recipe) -> None:
  """Traces a recipe's first step, which compiles, computes and writes nothing, so that a run need not start to fail.

  Raises:
    ValueError: if its parts do not fit each other.
  """
  if recipe.reading is not None and recipe.training.pmap:
    raise ValueError("what is read ahead goes to devices that tasks are mapped over by shard_map; give "
                     "config.training.pmap=False, or config.examples=host, with which each step fetches its own.")
  if recipe.reading is not None:
    read_shapes(recipe.train_tasks, recipe.training.tasks_per_step)  # it raises if they cannot be read
  key, optimizer = jax.random.key(recipe.seed), guarded_optimizer(recipe)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = jax.eval_shape(lambda: init_state(recipe.learner, optimizer, recipe.train_tasks, key))
  advance = make_advance(recipe.objective, optimizer, recipe.train_tasks, key=key, mesh=mesh, num_steps=1,
                         num_tasks=recipe.training.tasks_per_step)
  _, metrics = jax.eval_shape(advance, state, recipe.train_tasks.data)
  known = [*metrics, *(f"val_{name}" for name in ("loss", *recipe.scores) if recipe.val_tasks is not None)]
  if recipe.training.keep_best.removeprefix("-") not in ("", *known):
    raise ValueError(f"config.training.keep_best={recipe.training.keep_best!r} is not measured; choose one of "
                     f"{', '.join(known)}.")


def guarded_optimizer(recipe: Recipe) -> optax.GradientTransformation:
  """Returns the optimizer that a recipe is trained with: its own, with the gradient clipped and checked as set."""
  return guard(recipe.optimizer, clip=recipe.training.clip_gradient, skip=recipe.training.skip_nonfinite)


def dry_run(recipe: Recipe, *, say: Callable[[str], Any] = print) -> cost.Cost:
  """Returns the cost of one dispatch of `train` on one device, compiled but not run, and says it; writes nothing."""
  (key_init, key_train, _), training = root_keys(recipe), recipe.training
  steps = min(training.steps_per_dispatch, training.steps_per_row, training.steps)
  mesh = task_mesh(usable_devices(training.tasks_per_step))
  feed = _feed(recipe, mesh)
  state = jax.eval_shape(lambda: init_state(recipe.learner, guarded_optimizer(recipe), recipe.train_tasks, key_init))
  if training.spread_state:
    state = jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                         state, spread(state, mesh))
  advance = _advance(recipe, recipe.train_tasks, mesh, key_train, steps, feed)
  data = feed.like(steps) if feed else recipe.train_tasks.data
  start = time.monotonic()
  compiled = advance.lower(state, data).compile()
  say(f"Compiled {steps} step(s) a dispatch in {time.monotonic() - start:.1f} s.")
  lists = {"Validation": recipe.val_tasks, "Test": recipe.test_tasks}
  listed = {name: tasks.data for name, tasks in lists.items() if tasks is not None}
  waiting = AHEAD * cost.size(data.read) if feed else 0  # what was read for dispatches that wait while one runs
  found = cost.measure(advance, state, data, state.params, compiled, beside=waiting + cost.size(listed))
  for sentence in cost.sentences(found, steps, mesh.size):
    say(sentence)
  say(_where("Training", recipe.train_tasks.data, "from where each step fetches its own" if feed is None else
             f"which reads {cost.words(cost.size(data.read))} ahead for each dispatch and device, {feed.way}"))
  for name, lies in listed.items():
    say(_where(name, lies, "from where each episode fetches its own"))
  return found


def _where(name: str, data: Any, read: str) -> str:
  kept = sum(stored.array.nbytes for stored in stores(data))
  return (f"{name} tasks: {cost.words(kept)} of examples stay on the host, {read}." if kept else
          f"{name} tasks: {cost.words(cost.size(data))} of data on each device.")


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


def silence(words: str) -> None:
  """Says nothing: what the processes that are not the writer say."""


def root_keys(recipe: Recipe) -> PRNGKey:
  """Returns the keys `[3]` of initialisation, of training and of the validation tasks."""
  return jax.random.split(jax.random.key(recipe.seed), 3)


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
    program = _advance(recipe, tasks, mesh, key_train, num_steps, feed)
    compiled = program.lower(state, feed.like(num_steps) if feed else tasks.data).compile()
    say(f"Compiled {num_steps} step{'s' if num_steps > 1 else ''} a dispatch in {time.monotonic() - start:.1f} s.")
    wait("compiled")
    return compiled

  return state, tasks, advance


def _advance(recipe: Recipe, tasks: TaskDistribution, mesh: Mesh, key: PRNGKey, num_steps: int, feed: Feed | None
             ) -> Any:
  """Returns the program of a dispatch, to be compiled for the data of the tasks, or for what the feed gives."""
  return make_advance(recipe.objective, guarded_optimizer(recipe), feed.tasks if feed else tasks, key=key, mesh=mesh,
                      num_tasks=recipe.training.tasks_per_step, num_steps=num_steps, mapped=mapping(recipe),
                      spread_state=recipe.training.spread_state, data_specs=feed.specs if feed else None)


def _feed(recipe: Recipe, mesh: Mesh) -> Feed | None:
  if recipe.reading is None:
    return None
  return Feed(recipe.train_tasks, root_keys(recipe)[1], mesh, num_tasks=recipe.training.tasks_per_step,
              num_steps=recipe.training.steps, reading=recipe.reading)


def mapping(recipe: Recipe) -> DeviceMapping:
  """Returns how a recipe's tasks are mapped over the devices."""
  return over_tasks_by_pmap if recipe.training.pmap else over_tasks


def train(recipe: Recipe, workdir: Path, *, say: Callable[[str], Any] = print,
          stop_requested: Callable[[], bool] = lambda: False, writers: Sequence[Callable[[int], Writer]] = ()
          ) -> TrainState:
  """Returns the state at the end of training, or of what is left of it; errors as in `run`."""
  _, key_train, key_val = root_keys(recipe)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  feed = _feed(recipe, mesh)
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
