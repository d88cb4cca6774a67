"""Trains and tests a recipe in a workdir, and draws its figures.

The workdir of a run contains:

  run.json            the recipe, its settings and its provenance
  metrics.csv         a row every few steps, with the means of the metrics over these steps
  tensorboard/        the same, for TensorBoard, and profiles
  checkpoints/        Orbax; damaged ones are moved to checkpoints-damaged/
  step_<n>.npz        the episodes of a step that computed a non-finite value, if any
  test.json           the test results, as means with 95 % intervals
  test_episodes.npz   the test results of every episode
  *.png               learning curves, the task-representation map, and the recipe's own figures
  report.html         all of this in one file, for reading
"""

import io
import json
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import jax

from metajax import serving
from metajax.bucket import in_bucket
from metajax.lab import session as session_lib
from metajax.lab.checkpoints import Keep
from metajax.lab.checkpoints_of_writer import open_checkpoints
from metajax.lab.patience import Patience
from metajax.lab.preemption import Preempted
from metajax.lab.profile import Profile
from metajax.lab.recipe import Recipe
from metajax.lab.reports import html
from metajax.lab.reports.figures import learning_curves, save
from metajax.lab.reports.progress import Progress
from metajax.lab.reports.writers import CsvWriter, TensorBoardWriter, Writer, combine, read_csv
from metajax.lab.session import first_state, open_session, words_of_writer, write_batch
from metajax.lab.workdir import write_arrays, write_text
from metajax.lab.working_copy import working_copy
from metajax.training.evaluation import Estimate, make_evaluate
from metajax.training.faults import NonFinite
from metajax.training.hosts import is_writer, to_host
from metajax.training.loop import Stopped, fit
from metajax.training.sharding import replicate, task_mesh
from metajax.training.step import TrainState
from metajax.types import Params

_ADVICE = ("lower the learning rate (config.training.learning_rate), clip the gradient "
           "(config.training.clip_gradient), skip such updates (config.training.skip_nonfinite), or look at the tasks "
           "of that step")


def run(recipe: Recipe, workdir: Path | str, *, say: Callable[[str], Any] = print,
        stop_requested: Callable[[], bool] = lambda: False, writers: Sequence[Callable[[int], Writer]] = (),
        shared: bool = True, profile: int = 0) -> dict[str, Estimate]:
  """Trains and tests a recipe in a workdir and draws its figures; resumes from the newest checkpoint if there is one.

  `stop_requested` is called before each dispatch and must return the same in all processes of a run. `writers` open
  further writers of metrics, given the step that the run resumes from. `shared` tells whether the processes of the run
  see the same folder; otherwise the first process has the one that counts. `profile` is the number of steps to profile,
  below `tensorboard/`. A workdir in a bucket, such as
  `gs://bucket/run1`, is copied to a local folder, and updated while the run goes on.

  Returns:
    The test results by name, `loss` and each score.

  Raises:
    metajax.training.faults.NonFinite: if a step computes a non-finite value.
    metajax.lab.checkpoints.Damaged: if there are checkpoints, but none is intact.
    metajax.lab.checkpoints.Unsaved: if a checkpoint cannot be written.
    metajax.lab.preemption.Preempted: if a stop was requested; all work is saved.
  """
  if in_bucket(workdir):
    with working_copy(workdir) as copy:
      return run(recipe, copy.folder, say=lambda words: say(copy.named(words)), stop_requested=stop_requested,
                 writers=writers, shared=False, profile=profile)
  workdir = Path(workdir)
  say = words_of_writer(say)
  say(recipe.notes)
  state = train(recipe, workdir, say=say, stop_requested=stop_requested, writers=writers, shared=shared,
                profile=profile)
  if stop_requested():
    raise Preempted("Stopped on request. Training is finished and saved; the same command runs the test.")
  tested, best = state, recipe.training.keep_best
  if best:
    tested = restore(recipe, workdir, "best", like=state, shared=shared)
    say(f"Testing the best checkpoint by {best}, that of step {int(tested.step)}.")
  results = test(recipe, tested.params, workdir, step=int(tested.step), say=say)
  if not is_writer():
    return results
  params = jax.device_put(to_host(tested.params), jax.local_devices()[0])  # they may be on all devices of a mesh
  store(recipe, params, workdir, say=say)
  figures = {"curves.png": learning_curves(read_csv(workdir / "metrics.csv")),
             **recipe.pictures(params, jax.random.key(recipe.test.seed))}
  for name, figure in figures.items():
    save(figure, workdir / name)
  say(f"Figures: {', '.join(str(workdir / name) for name in figures)}")
  html.write(workdir)
  return results


class _Enough(Exception):
  """Training stopped early, with a state that is saved."""

  def __init__(self, state: TrainState):
    self.state = state
    super().__init__()


def train(recipe: Recipe, workdir: Path, *, say: Callable[[str], Any] = print,
          stop_requested: Callable[[], bool] = lambda: False, writers: Sequence[Callable[[int], Writer]] = (),
          shared: bool = True, profile: int = 0) -> TrainState:
  """Trains, or resumes training, and returns the final state; errors as in `run`."""
  session = open_session(recipe, say=say)
  state, tasks = session.start(), session.tasks()
  advance = session.advance(state, tasks)
  evaluate = None
  if recipe.val_tasks is not None:
    evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.val_tasks,
                             num_episodes=recipe.test.val_episodes, key=session.keys.val, mesh=session.mesh)

  begun = (workdir / "metrics.csv").exists()
  keep = Keep(recipe.training.keep_newest, recipe.training.keep_every, recipe.training.keep_best)
  with open_checkpoints(workdir / "checkpoints", keep=keep, shared=shared) as checkpoints:
    restored = checkpoints.restore(state)
    state, row = (state, None) if restored is None else (restored.state, restored.notes)
    start = int(state.step)
    if restored is None and begun:
      say(f"No checkpoint yet in {workdir}; starting again from step 0.")
    say(f"{'Resuming after step ' + str(start) if start else 'Training'}: {recipe.training.steps} steps of "
        f"{recipe.training.tasks_per_step} tasks on {session.mesh.size} device{'s' if session.mesh.size > 1 else ''}.")
    patience = Patience.of(recipe.training, workdir / "metrics.csv", start)
    writer = combine()
    if is_writer():
      further = [opened(start) for opened in writers]  # first, because they may be refused
      writer = combine(CsvWriter(workdir / "metrics.csv", start), TensorBoardWriter(workdir / "tensorboard", start),
                       *further)
    with Progress(recipe.training.steps, start_step=start, tasks_per_step=recipe.training.tasks_per_step,
                  file=None if is_writer() else io.StringIO()) as progress, Profile(
                      workdir / "tensorboard", profile if is_writer() else 0, say) as profiled:
      period = recipe.training.rows_per_checkpoint * recipe.training.steps_per_row

      def report(step, state, metrics):
        values = dict(metrics)
        due = step % period == 0 or step == recipe.training.steps
        if due and evaluate is not None:
          values |= {f"val_{name}": result.mean for name, result in evaluate(state.params).items()}
        writer.write(step, values)
        progress.update(step, values)
        checkpoints.check()
        profiled.after(step)
        if due:
          writer.flush()
          checkpoints.save(step, state, values)
          if patience.over_after(values):
            raise _Enough(state)

      try:
        if patience.over():
          raise _Enough(state)
        state = fit(state, tasks, advance, num_steps=recipe.training.steps,
                    steps_per_dispatch=recipe.training.steps_per_dispatch, steps_per_row=recipe.training.steps_per_row,
                    hooks=[report], row=row, stop_requested=stop_requested, feed=session.feed)
      except _Enough as enough:
        state = enough.state
        say(f"Stopped early after step {int(state.step)}: {patience}.")
      except Stopped as stopped:
        if stopped.step not in (0, *checkpoints.steps()):
          writer.flush()
          checkpoints.save(stopped.step, stopped.state, notes=stopped.row)
          checkpoints.wait()
        raise Preempted(f"Stopped on request and saved after {stopped.step} of {recipe.training.steps} steps; the same "
                        "command resumes it.") from None
      except NonFinite as fault:
        if is_writer():
          write_batch(workdir / f"step_{fault.step}.npz", recipe.train_tasks, session.keys.train, fault.step,
                      recipe.training.tasks_per_step)
        raise NonFinite(fault.step, fault.path, _ADVICE) from None
      finally:
        writer.close()
        session.close()
  return state


def test(recipe: Recipe, params: Params, workdir: Path | str, *, name: str = "test", step: int | None = None,
         settings: Mapping[str, Any] | None = None, say: Callable[[str], Any] = print) -> dict[str, Estimate]:
  """Returns the results on the frozen test episodes, also written to `<name>.json` and `<name>_episodes.npz`.

  Args:
    recipe, params: the recipe, and the parameters to test.
    workdir: where the results are written.
    name: of the files.
    step: of the parameters, stated with the results.
    settings: those that differ from the trained run's, stated with the results.
    say: called with a message.
  """
  mesh = task_mesh()
  evaluate = make_evaluate(recipe.test_learner, recipe.loss, recipe.scores, recipe.test_tasks,
                           num_episodes=recipe.test.episodes, key=jax.random.key(recipe.test.seed), mesh=mesh,
                           measures=recipe.measures, one_at_a_time=recipe.transductive)
  results = evaluate(replicate(to_host(params), mesh))
  if not is_writer():
    return results
  summary = {
      "episodes": recipe.test.episodes, "test_seed": recipe.test.seed, "notes": recipe.notes,
      **({} if step is None else {"step": step}), **({"settings": dict(settings)} if settings else {}),
      "results": {key: {"mean": value.mean, "interval_95": value.interval} for key, value in results.items()}}
  write_arrays(Path(workdir) / f"{name}_episodes.npz", {key: value.values for key, value in results.items()})
  write_text(Path(workdir) / f"{name}.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
  say(f"Test on {recipe.test.episodes} episodes (mean ± 95 % interval): "
      + ", ".join(f"{key} {value}" for key, value in results.items()) + f"\n  {recipe.notes}")
  return results


def store(recipe: Recipe, params: Params, workdir: Path | str, *, say: Callable[[str], Any] = print) -> None:
  """Writes the trained model to `model.zip`, or says why that cannot be done; the run does not depend on it."""
  episode = jax.eval_shape(recipe.test_tasks.sample, recipe.test_tasks.data, jax.random.key(0))
  # A learner may accept as many examples as it has positions. Support and query together are learned from, too.
  for most in (0, len(episode.support.mask) + len(episode.query.mask)):
    try:
      serving.write(Path(workdir) / serving.FILE, recipe.test_learner, params, episode.support, raw=recipe.raw,
                    most=most, notes=recipe.notes)
      return
    except ValueError as error:
      reason = error
  say(f"No model.zip was written, without which metajax.load cannot open this run: {reason}")


def restore(recipe: Recipe, workdir: Path | str, checkpoint: str = "last", *, like: TrainState | None = None,
            shared: bool = True) -> TrainState:
  """Returns a state in a workdir: of the `best` checkpoint by `keep_best`, the `last` intact one, or that of a step.

  `like` is a state with the same shapes and places; by default the recipe's first state on the default device.
  `shared` tells whether all processes of the run see the same folder.

  Raises:
    ValueError, metajax.lab.checkpoints.Damaged: if there is no such checkpoint yet, it does not fit the recipe, or none
      is intact.
  """
  like = first_state(recipe, jax.random.key(recipe.seed)) if like is None else like
  return session_lib.restore_chosen(workdir, like, checkpoint, recipe.training.keep_best, shared=shared).state
