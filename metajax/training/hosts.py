"""Several processes that train as one: who they are, how they find each other, and what they must agree on.

Every process runs the same program on the same arguments and sees all devices; it computes for its own. Whatever a
process does to the world besides (files, words) is done by one of them, the writer.
"""

import time
from typing import Any, Callable, NamedTuple

import jax
from jax.experimental import multihost_utils
import numpy as np
from orbax.checkpoint import multihost

_PATIENCE = 20 * 60 * 1000  # milliseconds that processes wait for each other


class Hosts(NamedTuple):
  """Where the processes meet."""
  coordinator: str  # `address:port` of the first process, the same for all
  processes: int
  process: int  # this one, from 0


def connect(hosts: Hosts | None) -> None:
  """Joins the processes of a run, before any device is touched.

  Args:
    hosts: where to meet; None asks the cluster (TPU pod, SLURM, Kubernetes, Open MPI), as jax does.

  Raises:
    ValueError: if a number is not possible, or there is no cluster to ask.
    RuntimeError: if the others do not come in time.
  """
  if hosts is None:
    try:
      jax.distributed.initialize()
    except ValueError as error:
      raise ValueError("no cluster was recognised (TPU pod, SLURM, Kubernetes, Open MPI); say where the processes "
                       "meet: --hosts=<address>:<port>,<processes>,<process>.") from error
    return
  if not 0 <= hosts.process < hosts.processes:
    raise ValueError(f"process {hosts.process} is not one of {hosts.processes}: they count from 0.")
  jax.distributed.initialize(hosts.coordinator, hosts.processes, hosts.process)


def is_writer() -> bool:
  """Returns whether this process writes files and speaks; exactly one does."""
  return jax.process_index() == 0


def wait(what: str) -> None:
  """Returns when every process has come here; `what` names the place, and is the same for all.

  Not a collective of the devices: those give up after half a minute (gloo's, as they first meet), and processes that
  compile may be further apart than that. So wait after compiling what they will run together.
  """
  multihost.get_barrier_sync_fn()(key=what, timeout_ms=_PATIENCE)


def together(asked: Callable[[], bool], seconds: float = 0.5) -> Callable[[], bool]:
  """Returns a question that all processes answer alike: yes, once one of them has been answered yes.

  Every process must ask as often as the others. They talk after as many questions as the slowest of them asks in about
  `seconds`, since to talk means to wait for each other.
  """
  if jax.process_count() == 1:
    return asked
  silence, left, heard, answer = 1, 0, time.monotonic(), False

  def ask():
    nonlocal silence, left, heard, answer
    if not left:
      said = multihost_utils.process_allgather(np.asarray([asked(), time.monotonic() - heard], np.float32))
      # What all have heard is the same for all, and so is what they make of it.
      answer, slowest = answer or bool(said[:, 0].any()), float(said[:, 1].max())
      silence = max(1, min(2 * silence, int(silence * seconds / max(slowest, 1e-3))))
      left, heard = silence, time.monotonic()
    left -= 1
    return answer

  return ask


def to_host(tree: Any) -> Any:
  """Returns the arrays of a tree, spread over whatever devices of whatever processes, as NumPy arrays of this process.

  Every process must ask, if an array is spread over several.
  """

  def whole(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return whole(jax.random.key_data(leaf))
    if leaf.is_fully_replicated or leaf.is_fully_addressable:
      return np.asarray(leaf)
    return multihost_utils.process_allgather(leaf, tiled=True)

  return jax.tree.map(lambda leaf: whole(leaf) if isinstance(leaf, jax.Array) else np.asarray(leaf), tree)
