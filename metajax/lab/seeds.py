"""Trains several seeds of one recipe with one compiled program: the seed is an axis of the state.

Seed `s` has the initial parameters and the tasks of `lab.run.train` with that seed. `S` seeds are sharded over devices;
those of one device are vmapped. On CPU they are mapped one after the other, because eight vmapped seeds of MAML do not
fit the cache (measured: 0.95 ms per step and seed, against 0.52). If a step is large, seeds go through the program one
by one. A seed that diverges continues with NaN and does not affect the others.
"""

from contextlib import closing
from pathlib import Path
import time
from typing import Any, Callable, NamedTuple, Sequence

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from metajax.lab.checkpoints import Checkpoints, Keep
from metajax.lab.recipe import Recipe
from metajax.lab.reports.progress import Progress
from metajax.lab.reports.writers import CsvWriter, read_csv
from metajax.lab.session import first_state, guarded_optimizer, root_keys
from metajax.training.sharding import TASKS
from metajax.training.step import FAULT, TrainState, make_steps
from metajax.types import Params

SEEDS = "seeds"  # the name of the mapped axis
_SMALL = 10_000  # parameters; the steps of smaller networks are too short to parallelise over cores

Say = Callable[[str], Any]


class Trained(NamedTuple):
  """The result of training `S` seeds."""
  params: Params  # leaves [S, ...], on the host
  metrics: dict[str, np.ndarray]  # by name, [rows, S]; and `step` [rows]
  seconds: float  # time per step and seed, median over the rows
  memory: int  # bytes that a device needs for the seeds that are trained at once
  total: float  # seconds of all steps of all seeds, including those before an interruption


def at_once(recipe: Recipe, num_seeds: int) -> int:
  """Returns how many seeds to train at once: all, or one for large networks on CPU."""
  state = jax.eval_shape(lambda: first_state(recipe, jax.random.key(0)))
  size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  return num_seeds if jax.default_backend() != "cpu" or size <= _SMALL else 1


def train(recipe: Recipe, seeds: Sequence[int], folder: Path, *, group: int, vmapped: bool | None = None,
          say: Say = print) -> Trained:
  """Trains the seeds, resuming from the checkpoints in a folder.

  Args:
    recipe: the recipe; its own seed is ignored.
    seeds: the seeds.
    folder: the folder of checkpoints and metrics, with one subfolder for each group of seeds.
    group: how many seeds are trained at once, at least 1.
    vmapped: whether the seeds of a device are vmapped, or mapped one after the other; by default vmapped except on CPU.

  Raises:
    ValueError: if there are no seeds, or the group is not positive.
    metajax.lab.checkpoints.Damaged: if there are checkpoints but none is intact.
  """
  if not seeds or group < 1:
    raise ValueError("training needs at least one seed, and groups of at least 1, but got the seeds "
                     f"{list(seeds)} and groups of {group}.")
  vmapped = jax.default_backend() != "cpu" if vmapped is None else vmapped
  parts = [list(seeds[start:start + group]) for start in range(0, len(seeds), group)]
  programs: dict[tuple[int, int], Any] = {}  # by number of seeds and of steps: compiled once for all groups
  trained = [_train_group(recipe, part, folder / f"seeds_{part[0]}_to_{part[-1]}", programs, vmapped, say)
             for part in parts]
  join = lambda *leaves: np.concatenate(leaves)
  names = trained[0].metrics
  return Trained(jax.tree.map(join, *[each.params for each in trained]),
                 {name: trained[0].metrics[name] if name == "step" else
                  np.concatenate([each.metrics[name] for each in trained], axis=1) for name in names},
                 float(np.median([each.seconds for each in trained])), max(each.memory for each in trained),
                 sum(each.total for each in trained))


def _train_group(recipe: Recipe, seeds: list[int], folder: Path, programs: dict[tuple[int, int], Any],
                 vmapped: bool, say: Say) -> Trained:
  training = recipe.training
  mesh = _mesh(len(seeds), training.tasks_per_step)
  put = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
  keys = [root_keys(seed) for seed in seeds]
  start = [first_state(recipe, key.init) for key in keys]
  state = put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *start), PartitionSpec(SEEDS))
  key_data = put(jnp.stack([jax.random.key_data(key.train) for key in keys]), PartitionSpec(SEEDS))
  data = put(recipe.train_tasks.data, PartitionSpec())

  def program(num_steps):
    which = len(seeds), num_steps
    if which not in programs:
      began = time.monotonic()
      programs[which] = _advance(recipe, mesh, num_steps, vmapped).lower(state, data, key_data).compile()
      say(f"Compiled {num_steps} step(s) per dispatch in {time.monotonic() - began:.1f} s.")
    return programs[which]

  with Checkpoints(folder / "checkpoints", keep=Keep(1)) as checkpoints:
    restored = checkpoints.restore(state)
    state = state if restored is None else restored.state
    done = int(np.asarray(state.step)[0])
    program(min(training.steps_per_dispatch, training.steps_per_row, training.steps))  # compiled before timing starts
    period = training.rows_per_checkpoint * training.steps_per_row
    with closing(CsvWriter(folder / "metrics.csv", done)) as writer, Progress(
        training.steps, start_step=done, tasks_per_step=training.tasks_per_step * len(seeds)) as progress:
      while done < training.steps:
        row = min(training.steps_per_row - done % training.steps_per_row, training.steps - done)
        state, metrics, seconds = _row(program, state, data, key_data, row, training.steps_per_dispatch)
        done += row
        columns = {f"{name} {seed}": value for name, values in metrics.items() for seed, value in zip(seeds, values)}
        writer.write(done, {"seconds": seconds / row / len(seeds), **columns})
        progress.update(done, {name: float(np.mean(values)) for name, values in metrics.items()})
        if done % period == 0 or done == training.steps:
          writer.flush()
          checkpoints.save(done, state)
  table = read_csv(folder / "metrics.csv")
  names = dict.fromkeys(name.rpartition(" ")[0] for name in table if " " in name)
  memory = programs[min(programs, key=lambda which: (-which[0], -which[1]))].memory_analysis()
  return Trained(jax.device_get(state.params),
                 {"step": table["step"], **{name: np.stack([table[f"{name} {seed}"] for seed in seeds], axis=1)
                                            for name in names}},
                 float(np.median(table["seconds"])), memory.temp_size_in_bytes + memory.argument_size_in_bytes,
                 float(np.sum(table["seconds"] * np.diff(table["step"], prepend=0))) * len(seeds))


def _row(program: Callable[[int], Any], state: TrainState, data: Any, key_data: jax.Array, steps: int, per_dispatch: int
         ) -> tuple[TrainState, dict[str, np.ndarray], float]:
  """Returns the state after a row of steps, the means of its metrics `[S]`, and the seconds it took."""
  weights = [min(per_dispatch, steps - start) for start in range(0, steps, per_dispatch)]
  programs = [program(weight) for weight in weights]
  began, means = time.monotonic(), []
  for advance in programs:
    state, metrics = advance(state, data, key_data)
    means.append(metrics)
  found = jax.device_get(means)
  seconds = time.monotonic() - began
  average = lambda name: np.average([each[name] for each in found], axis=0, weights=weights)
  with np.errstate(invalid="ignore"):  # diverged seeds are NaN
    return state, {name: average(name) for name in found[0]}, seconds


def _advance(recipe: Recipe, mesh: Mesh, num_steps: int, vmapped: bool) -> Any:
  """Returns the jitted `(state [S], data, key_data [S]) -> (state [S], metrics [S])`; the state is donated."""
  steps = make_steps(recipe.objective, guarded_optimizer(recipe), recipe.train_tasks,
                     share=recipe.training.tasks_per_step // mesh.shape[TASKS], num_steps=num_steps)

  def one(state, data, key_data):
    state, metrics = steps(state, data, jax.random.wrap_key_data(key_data))
    return state, {name: jnp.mean(values) for name, values in metrics.items() if name != FAULT}

  def several(states, data, key_data):
    if key_data.shape[0] > 1 and vmapped:
      return jax.vmap(one, in_axes=(0, None, 0))(states, data, key_data)
    if key_data.shape[0] > 1:
      return lax.map(lambda state_and_key: one(state_and_key[0], data, state_and_key[1]), (states, key_data))
    # A single seed is not mapped: batched convolutions are slower even for a batch of one, and so are those in a loop.
    state, metrics = one(jax.tree.map(lambda leaf: leaf[0], states), data, key_data[0])
    return jax.tree.map(lambda leaf: leaf[None], (state, metrics))

  sharded = PartitionSpec(SEEDS)
  mapped = jax.shard_map(several, mesh=mesh, in_specs=(sharded, PartitionSpec(), sharded), out_specs=sharded,
                         check_vma=False)  # for the same reason as in sharding.over_tasks
  return jax.jit(mapped, donate_argnums=0)


def _mesh(num_seeds: int, num_tasks: int) -> Mesh:
  """Returns a mesh that shards seeds first, which need no communication, and then the tasks of a seed.

  CPU devices shard seeds only: XLA already uses all cores for a single seed.
  """
  devices = jax.devices()
  across = max(n for n in range(1, len(devices) + 1) if num_seeds % n == 0)
  left = 1 if jax.default_backend() == "cpu" else len(devices) // across
  along = max(n for n in range(1, left + 1) if num_tasks % n == 0)
  return jax.make_mesh((across, along), (SEEDS, TASKS), axis_types=(AxisType.Auto,) * 2,
                       devices=devices[:across * along])
