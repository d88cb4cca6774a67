"""A stored model in use."""

from dataclasses import dataclass, field
import functools
from pathlib import Path
import tempfile
from typing import Any, Mapping

import jax
from jax import export
import jax.numpy as jnp
import numpy as np

from metajax.bucket import in_bucket, opened
from metajax.serving import store
from metajax.serving.inputs import Raw, classes_of, prepared

FILE = "model.zip"  # in a workdir
_NO_MODEL = f"{{}} has no {FILE}: it is written when a run ends; train to the end, or name another folder."


def load(path: Path | str) -> "Learned | Predictor":
  """Opens a trained model: a workdir, its `model.zip`, or a file that `Predictor.save` wrote; also one in a bucket.

  >>> model = metajax.load("runs/quickstart")                # doctest: +SKIP
  >>> predictor = model.adapt(images, ["cat", "dog"])        # doctest: +SKIP
  >>> predictor(new_images)                                  # doctest: +SKIP
  array(['dog', 'cat', 'cat'], dtype='<U3')

  Returns:
    A `Learned`, which learns tasks, or a `Predictor`, which has learned one.

  Raises:
    FileNotFoundError: if there is no such folder or file, or the folder has no model yet.
    ValueError: if the file is no model.
  """
  about, numbers, programs = _read(path)
  raw: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                         for name, value in about["raw"].items()}
  about["raw"] = Raw(**raw)
  return Learned(about, numbers, programs) if about["kind"] == "learner" else Predictor(about, numbers, programs)


def _read(path: Path | str) -> tuple[dict[str, Any], list[np.ndarray], dict[str, bytes]]:
  """Returns the content of a model in a workdir, in a file, or in either in a bucket."""
  if in_bucket(path):
    address = str(path).rstrip("/")
    place = opened(address if address.endswith(".zip") else f"{address}/{FILE}")
    if "" not in place.objects():
      raise FileNotFoundError(_NO_MODEL.format(address))
    with tempfile.TemporaryDirectory() as folder:
      place.files.get(place.root, f"{folder}/{FILE}")
      return store.read(Path(folder) / FILE)
  path = Path(path).expanduser()
  file = path / FILE if path.is_dir() else path
  if not file.is_file():
    raise FileNotFoundError(_NO_MODEL.format(path) if path.is_dir() else "expected the workdir of a finished run, or a "
                            f"model file, but there is no {path}.")
  return store.read(file)


@dataclass(frozen=True)
class _Stored:
  about: Mapping[str, Any]
  numbers: list[np.ndarray] = field(repr=False)
  programs: Mapping[str, bytes] = field(repr=False)

  @functools.cached_property
  def _calls(self) -> dict[str, Any]:
    return {name: jax.jit(export.deserialize(bytearray(program)).call) for name, program in self.programs.items()}


@dataclass(frozen=True)
class Learned(_Stored):
  """A trained learner. `about` tells its inputs, classes and notes."""

  def adapt(self, inputs: Any, targets: Any) -> "Predictor":
    """Learns a task from examples, and returns what predicts.

    Args:
      inputs: `[N, ...]`, as the training data was before scaling: uint8 images, or the columns of a table.
      targets: labels `[N]` of any kind, such as words, or reals `[N]` or `[N, outputs]`.

    Raises:
      ValueError: for another number of targets, wrong shapes, too many classes, or non-finite numbers.
    """
    about, raw = self.about, self.about["raw"]
    ready, one = prepared(raw, tuple(about["input"]), inputs)
    if one or not len(ready):
      raise ValueError(f"adapt needs at least one example, [N, ...] with targets [N], but got {np.shape(inputs)}.")
    if about["most"] and len(ready) > about["most"]:
      raise ValueError(f"the model learns from up to {about['most']} examples, but there are {len(ready)}.")
    labels: list[Any] = []
    if about["classes"]:
      known, labels = classes_of(raw, targets, about["classes"])
    else:
      known = _reals(raw, tuple(about["target"]), targets)
    if len(known) != len(ready):
      raise ValueError(f"there must be one target per example, but there are {len(ready)} examples and {len(known)} "
                       "targets.")
    learned = self._calls["adapt"](self.numbers, ready, known)
    numbers = [*self.numbers, *map(np.asarray, learned)]
    kind = {"kind": "predictor", "parameters": len(self.numbers), "labels": labels}
    return Predictor({**about, **kind}, numbers, {"predict": self.programs["predict"]})

  def save(self, path: Path | str) -> None:
    """Writes the learner to a file that `load` opens."""
    store.save(path, {**self.about, "raw": self.about["raw"]._asdict()}, self.numbers, self.programs)


@dataclass(frozen=True)
class Predictor(_Stored):
  """A learned task, called with queries."""

  def __call__(self, queries: Any) -> Any:
    """Returns predictions of queries `[Q, ...]` as an array `[Q]` or `[Q, outputs]`, or of one query without its axis.

    They are in the caller's labels or, for reals, in the units of the training data.

    Raises:
      ValueError: for a wrong shape or non-finite numbers.
    """
    outputs, one = self._outputs(queries)
    if not self.about["classes"]:
      raw = self.about["raw"]
      values = outputs.astype(np.float64) * raw.target_scale + raw.target_centre
      return values[0] if one else values
    labels = np.asarray(self.about["labels"])
    found = labels[np.argmax(outputs[:, :len(labels)], axis=1)] if len(outputs) else labels[:0]
    return found[0] if one else found

  def probabilities(self, queries: Any) -> np.ndarray:
    """Returns the distribution over `labels`, `[Q, labels]`, or `[labels]` for one query.

    Raises:
      ValueError: as for a call, or if the model predicts reals.
    """
    if not self.about["classes"]:
      raise ValueError("this model predicts reals and has no probabilities; call it for its predictions.")
    outputs, one = self._outputs(queries)
    shares = np.asarray(jax.nn.softmax(jnp.asarray(outputs[:, :len(self.labels)]), axis=1))
    return shares[0] if one else shares

  @property
  def labels(self) -> list[Any]:
    """The caller's labels, in the order of `probabilities`."""
    return list(self.about["labels"])

  def save(self, path: Path | str) -> None:
    """Writes the predictor to a file that `load` opens. Labels must be words or numbers."""
    store.save(path, {**self.about, "raw": self.about["raw"]._asdict()}, self.numbers, self.programs)

  def export(self) -> bytes:
    """Returns a program of `jax.export` that needs jax alone: float32 queries `[q, ...]` to probabilities or reals.

    Queries are scaled inside: images are in [0, 1], `[q, H, W, C]` of the model's size; vectors are as given to a call.

    >>> run = jax.export.deserialize(bytearray(program)).call    # doctest: +SKIP
    """
    raw, count = self.about["raw"], self.about["parameters"]
    predict = export.deserialize(bytearray(self.programs["predict"])).call

    def function(queries):
      if raw.scale:
        queries = (queries - jnp.asarray(raw.centre, jnp.float32)) / jnp.asarray(raw.scale, jnp.float32)
      outputs = predict(self.numbers[:count], self.numbers[count:], queries)
      if self.about["classes"]:
        return jax.nn.softmax(outputs[:, :len(self.labels)], axis=1)
      return outputs * raw.target_scale + raw.target_centre

    size, = export.symbolic_shape("q")
    return store.exported(function, jax.ShapeDtypeStruct((size, *self.about["input"]), jnp.float32))

  def _outputs(self, queries: Any) -> tuple[np.ndarray, bool]:
    ready, one = prepared(self.about["raw"], tuple(self.about["input"]), queries)
    count = self.about["parameters"]
    if not len(ready):  # symbolic numbers are at least one
      ready = np.zeros((1, *ready.shape[1:]), np.float32)
      return np.asarray(self._calls["predict"](self.numbers[:count], self.numbers[count:], ready))[:0], False
    return np.asarray(self._calls["predict"](self.numbers[:count], self.numbers[count:], ready)), one


def _reals(raw: Raw, shape: tuple[int, ...], targets: Any) -> np.ndarray:
  array = np.asarray(targets)
  if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
    raise ValueError(f"targets must be finite numbers, but they are {array.dtype} with NaN, infinite or other entries.")
  array = array[:, None] if shape == (1,) and array.ndim == 1 else array
  if array.shape[1:] != shape:
    raise ValueError(f"targets must be [N, {', '.join(map(str, shape))}], but they are {list(np.shape(targets))}.")
  return ((array.astype(np.float64) - raw.target_centre) / raw.target_scale).astype(np.float32)
