"""Training with several processes: how they connect, wait for each other, and agree.

Every process runs the same program with the same arguments; it sees all devices and computes on its own. Only one
process, the writer, writes files and prints.
"""

import json
import os
import time
from typing import Any, Callable, NamedTuple

import jax
from jax.experimental import multihost_utils
import numpy as np
from orbax.checkpoint import multihost

_TIMEOUT = 20 * 60 * 1000  # milliseconds that processes wait for each other


class Hosts(NamedTuple):
  """How the processes find each other."""
  coordinator: str  # `address:port` of the first process, the same for all
  processes: int
  process: int  # index of this process, from 0


def connect(hosts: Hosts | None) -> None:
  """Connects the processes of a run; must be called before any device is used.

  Args:
    hosts: how to find the others; None lets JAX detect the cluster (TPU pod, SLURM, Kubernetes, Open MPI).

  Raises:
    ValueError: if the index of the process is out of range, or no cluster is detected.
    RuntimeError: if the other processes do not connect in time.
  """
  if hosts is None:
    try:
      jax.distributed.initialize()
    except ValueError as error:
      raise ValueError("no cluster was recognised (TPU pod, SLURM, Kubernetes, Open MPI); give the coordinator: "
                       "--hosts=<address>:<port>,<processes>,<process>.") from error
    return
  if not 0 <= hosts.process < hosts.processes:
    raise ValueError(f"process {hosts.process} is not one of {hosts.processes}: they count from 0.")
  jax.distributed.initialize(hosts.coordinator, hosts.processes, hosts.process)


def is_writer() -> bool:
  """Returns whether this process writes files and prints; exactly one does."""
  return jax.process_index() == 0


def wait(what: str) -> None:
  """Blocks until every process has reached this barrier; `what` names it, and must be the same in all processes.

  This is not a collective of the devices: gloo's first collective times out after half a minute, and compile times of
  processes may differ by more than that. So wait after compiling a program that runs on all processes.
  """
  multihost.get_barrier_sync_fn()(key=what, timeout_ms=_TIMEOUT)


def together(asked: Callable[[], bool], seconds: float = 0.5) -> Callable[[], bool]:
  """Returns a function that is true in all processes once `asked` has been true in one of them.

  Every process must call it equally often. Processes synchronise only once in several calls, as many as the slowest
  process makes in about `seconds`, because to synchronise is to wait for each other.
  """
  if jax.process_count() == 1:
    return asked
  interval, left, synced, answer = 1, 0, time.monotonic(), False

  def ask():
    nonlocal interval, left, synced, answer
    if not left:
      gathered = multihost_utils.process_allgather(np.asarray([asked(), time.monotonic() - synced], np.float32))
      # All processes gather the same values, so they compute the same answer and interval.
      answer, slowest = answer or bool(gathered[:, 0].any()), float(gathered[:, 1].max())
      interval = max(1, min(2 * interval, int(interval * seconds / max(slowest, 1e-3))))
      left, synced = interval, time.monotonic()
    left -= 1
    return answer

  return ask


def of_writer(value: Any) -> Any:
  """Returns the writer's value, anything that can be stored as JSON, in all processes; every process must call this."""
  if jax.process_count() == 1:
    return value
  text = json.dumps(value if is_writer() else None).encode()
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
  sent = np.frombuffer(text, np.uint8) if is_writer() else np.zeros(size, np.uint8)
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).astype(np.uint8).tobytes())


def to_host(tree: Any) -> Any:
  """Returns the arrays of a tree, however they are sharded over devices and processes, as NumPy arrays.

  If an array is sharded over several processes, every process must call this.
  """

  def whole(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return whole(jax.random.key_data(leaf))
    if leaf.is_fully_replicated or leaf.is_fully_addressable:
      return np.asarray(leaf)
    return multihost_utils.process_allgather(leaf, tiled=True)

  return jax.tree.map(lambda leaf: whole(leaf) if isinstance(leaf, jax.Array) else np.asarray(leaf), tree)


def lacking_platform() -> str:
  """Returns a sentence if jax has no devices, otherwise ''."""
  try:
    jax.devices()
    return ""
  except (RuntimeError, AssertionError) as error:
    named = os.environ.get("JAX_PLATFORMS", "")
    return (f"JAX_PLATFORMS={named} names a platform that this machine or this installation of jax lacks; give "
            "JAX_PLATFORMS=cpu, or unset it." if named else f"jax finds no devices ({error}); give JAX_PLATFORMS=cpu.")
