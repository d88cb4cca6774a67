"""Metrics to Weights & Biases, for who asks for it: its package is imported here, when it is, and nowhere else."""

import os
from pathlib import Path
from typing import Any, Callable, Mapping
import uuid

from metajax.lab.reports.writers import Writer

_ID = "wandb_id.txt"  # in the workdir: a run that is gone on with is the same run there


class _WandbWriter:

  def __init__(self, run: Any) -> None:
    self._run = run

  def write(self, step: int, values: Mapping[str, float]) -> None:
    # At once: by default a row waits for the next one, and a crash would lose that of the checkpoint.
    self._run.log({name: float(value) for name, value in values.items()}, step=int(step), commit=True)

  def flush(self) -> None:
    """Does nothing: another process has every row already."""

  def close(self) -> None:
    self._run.finish()


def opener(workdir: str | os.PathLike[str], project: str, settings: Mapping[str, Any]
           ) -> Callable[[int | None], Writer]:
  """Returns what opens a writer to a project, given the step that the run goes on from, as `runs.run` takes it.

  A run is called as its workdir, has one id for good, and goes on where it was; rows computed again are those that it
  has, to the bit, so that Weights & Biases may pass them over. WANDB_MODE=offline writes to the workdir alone.

  workdir: of the run; it exists by the time that the writer is opened
  project: its name
  settings: of the run, nested, kept beside it

  Raises ValueError if the package wandb is not installed, or the project has no name.
  """
  try:
    import wandb
  except ImportError:
    raise ValueError("Weights & Biases needs the package wandb, which is not installed; run "
                     'pip install "metajax[wandb]".') from None
  if not project:
    raise ValueError("Weights & Biases needs the name of a project, but was given an empty one.")

  def open_writer(resume_step: int | None) -> Writer:
    del resume_step  # the id says which run it is; of its rows wandb keeps the first
    folder = Path(workdir)
    if not (folder / _ID).exists():
      (folder / _ID).write_text(uuid.uuid4().hex, encoding="ascii")
    try:
      run = wandb.init(project=project, name=folder.resolve().name, id=(folder / _ID).read_text(encoding="ascii"),
                       config=dict(settings), dir=str(folder), resume="allow")
    except wandb.errors.Error as error:
      raise ValueError(f"Weights & Biases refused the run: {error}. With WANDB_MODE=offline it stays in {folder} "
                       "until wandb sync sends it.") from error
    return _WandbWriter(run)

  return open_writer
