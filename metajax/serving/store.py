"""Writes a trained learner as programs and numbers that need neither its code nor its data.

A file is a zip archive: `model.json` (what it is), `numbers.npz` (parameters or a learned task, as a list of arrays)
and programs of `jax.export` for CPU, GPU and TPU. The numbers of examples are symbolic, so any number will do:

  adapt    (parameters, inputs [n, ...], targets [n, ...])   -> a learned task, a list of arrays
  predict  (parameters, learned task, inputs [q, ...])       -> outputs [q, ...]
"""

import io
import json
from pathlib import Path
from typing import Any, Callable, Mapping
import zipfile

import jax
from jax import export
import jax.numpy as jnp
import numpy as np

from metajax.serving.inputs import Raw
from metajax.types import Examples, Learner, Params

PLATFORMS = ("cpu", "cuda", "tpu")
VERSION = 1


def write(path: Path | str, learner: Learner, params: Params, task: Examples, *, raw: Raw = Raw(), most: int = 0,
          notes: str = "") -> None:
  """Writes a trained learner to a file that `load` opens.

  Args:
    path: the file, replaced if it exists.
    learner: the learner as it is tested.
    params: its parameters.
    task: the support set of one of its tasks, arrays or their shapes; only shapes and dtypes are read.
    raw: what inputs and targets were before they became those of the learner.
    most: the most examples that the learner accepts, such as a transformer; 0: any number.
    notes: a sentence to keep with it.

  Raises:
    ValueError: if the learner cannot be exported for any number of examples.
  """
  shapes: tuple[Params, Examples] = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, task))
  leaves, structure = jax.tree.flatten(params)
  try:
    programs = _programs(learner, structure, *shapes, most=most)
  except Exception as error:  # whatever a learner's functions do with a symbolic number
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise ValueError(f"the learner cannot be exported for any number of examples ({reason}).") from error
  outputs = programs.pop("outputs")
  about = {
      "version": VERSION, "kind": "learner", "notes": notes, "raw": raw._asdict(), "most": most,
      "input": list(task.inputs.shape[1:]), "target": list(task.targets.shape[1:]),
      "classes": outputs[-1] if jnp.issubdtype(task.targets.dtype, jnp.integer) else 0}
  save(path, about, [np.asarray(leaf) for leaf in leaves], programs)


def save(path: Path | str, about: Mapping[str, Any], numbers: list[np.ndarray], programs: Mapping[str, bytes]) -> None:
  """Writes the parts of a file, which is complete or not there."""
  arrays = io.BytesIO()
  np.savez(arrays, **{str(index): leaf for index, leaf in enumerate(numbers)})  # type: ignore[arg-type]
  partial = Path(f"{path}.partial")
  with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("model.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    archive.writestr("numbers.npz", arrays.getvalue())
    for name, program in programs.items():
      archive.writestr(name, program)
  partial.replace(path)


def read(path: Path | str) -> tuple[dict[str, Any], list[np.ndarray], dict[str, bytes]]:
  """Returns the parts of a file that `save` wrote.

  Raises:
    ValueError: if it is no such file, or of a newer version.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      about = json.loads(archive.read("model.json"))
      with np.load(io.BytesIO(archive.read("numbers.npz")), allow_pickle=False) as stored:
        numbers = [stored[str(index)] for index in range(len(stored.files))]
      programs = {name: archive.read(name) for name in archive.namelist()
                  if name not in ("model.json", "numbers.npz")}
  except (zipfile.BadZipFile, KeyError, ValueError) as error:
    raise ValueError(f"{path} must be a model written by metajax, but cannot be read ({error}).") from error
  if about["version"] > VERSION:
    raise ValueError(f"{path} was written by a newer metajax (format {about['version']}, this one reads up to "
                     f"{VERSION}); update metajax.")
  return about, numbers, programs


def _programs(learner: Learner, structure: Any, params: Params, task: Examples, *, most: int) -> dict[str, Any]:
  like = lambda size, leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype)
  whole = lambda x: jnp.ones(x.shape[:1], bool)
  leaves = jax.tree.leaves(params)

  def adapt(leaves, inputs, targets):
    params = structure.unflatten(leaves)
    features = learner.embed(params, inputs, whole(inputs))
    return learner.adapt(params, Examples(features, targets, whole(inputs)), jax.random.key(0))

  def shapes(names):
    """Returns symbolic numbers of examples, the shapes of a support set, and those of a learned task."""
    sizes = export.symbolic_shape(names, constraints=[f"n <= {most}"] if most else [])
    support = like(sizes[0], task.inputs), like(sizes[0], task.targets)
    return sizes, support, jax.eval_shape(adapt, leaves, *support)

  _, support, learned = shapes("n")
  adapted: Any = jax.tree.structure(learned)
  keeps_examples = any(
      export.is_symbolic_dim(size) for leaf in jax.tree.leaves(learned) for size in leaf.shape)

  def predict(leaves, learned, inputs):
    params = structure.unflatten(leaves)
    features = learner.embed(params, inputs, whole(inputs))
    return learner.predict(params, adapted.unflatten(learned), features, whole(inputs))

  queries, = export.symbolic_shape("q")
  if keeps_examples:
    (_, queries), _, learned = shapes("n, q")
  given = leaves, jax.tree.leaves(learned), like(queries, task.inputs)
  return {"adapt": exported(lambda *arguments: jax.tree.leaves(adapt(*arguments)), leaves, *support),
          "predict": exported(predict, *given), "outputs": jax.eval_shape(predict, *given).shape}


def exported(function: Callable, *shapes: Any) -> bytes:
  """Returns the program of a function for all platforms."""
  return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())
