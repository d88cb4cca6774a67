"""Optional logging to Weights & Biases; its package is imported only here, and only if it is used."""

import os
from pathlib import Path
from typing import Any, Callable, Mapping
import uuid

from metajax.lab.reports.writers import Writer

_ID = "wandb_id.txt"  # in the workdir, so that a resumed run keeps its id


class _WandbWriter:

  def __init__(self, run: Any) -> None:
    self._run = run

  def write(self, step: int, values: Mapping[str, float]) -> None:
    # Committed immediately: by default a row waits for the next one, and a crash would lose the row of the checkpoint.
    self._run.log({name: float(value) for name, value in values.items()}, step=int(step), commit=True)

  def flush(self) -> None:
    """Does nothing: rows are already in another process."""

  def close(self) -> None:
    self._run.finish()


def opener(workdir: str | os.PathLike[str], project: str, settings: Mapping[str, Any]
           ) -> Callable[[int | None], Writer]:
  """Returns a function that opens a writer to a project, given the step that a run resumes from, as `lab.run` takes it.

  The run is named after its workdir, keeps its id, and is resumed there. Rows that are computed again are identical bit
  for bit, so Weights & Biases may ignore them. With WANDB_MODE=offline, rows are written only to the workdir.

  workdir: the workdir of the run; it must exist when the writer is opened
  project: the name of the project
  settings: the nested settings of the run, stored with it

  Raises ValueError if the package wandb is not installed, or the name of the project is empty.
  """
  try:
    import wandb
  except ImportError:
    raise ValueError("Weights & Biases needs the package wandb, which is not installed; run "
                     'pip install "metajax[wandb]".') from None
  if not project:
    raise ValueError("Weights & Biases needs the name of a project, but it is empty; give a name.")

  def open_writer(resume_step: int | None) -> Writer:
    del resume_step  # the id identifies the run; wandb keeps the first copy of a row
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
