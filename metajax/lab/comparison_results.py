"""The results of a comparison, from what was measured of each arm: means, intervals, paired differences."""

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from metajax.lab import statistics

Found = dict[str, np.ndarray]  # all that was measured of an arm, see `compare._measure`


class Sweep(NamedTuple):
  """A setting of the test that takes several values, with the same trained models."""
  field: str
  values: tuple[Any, ...]
  references: Mapping[str, Mapping[Any, float]] = {}  # by name and value, what others get, to be drawn beside


def summarise(found: Mapping[str, Found], sweeps: Sequence[Sweep]) -> dict[str, Any]:
  """Returns what is kept of a comparison, from what was measured of each arm; the first is the reference."""
  reference = next(iter(found))
  first = found[reference]
  arms: dict[str, Any] = {}
  for name, arrays in found.items():
    arms[name] = {
        "test": _against(arrays, first, "test", None if name == reference else reference),
        "models": {key.partition("/")[2]: statistics.over_seeds(_per_seed(arrays[key]))
                   for key in arrays if key.startswith("models/") and key != "models/map"},
        "step_ms": 1e3 * float(arrays["seconds"]), "step_ratio": float(arrays["seconds"] / first["seconds"]),
        "memory_mib": float(arrays["memory"]) / 2**20, "memory_ratio": float(arrays["memory"] / first["memory"]),
        "training_minutes": float(arrays["minutes"][0]), "all_minutes": float(arrays["minutes"][1]),
        "diverged_trainings": int(arrays["diverged_trainings"])}
  swept = {}
  for sweep in sweeps:
    rows = {name: [_against(arrays, first, f"sweep/{sweep.field}/{place}", None if name == reference else reference)
                   for place in range(len(sweep.values))] for name, arrays in found.items()}
    others = {name: [known.get(value) for value in sweep.values] for name, known in sweep.references.items()}
    swept[sweep.field] = {"values": list(sweep.values), "references": others, "arms": rows, "gains": {
        name: _gains(sweep, arrays, first) for name, arrays in found.items() if name != reference}}
  return {"reference": reference, "arms": arms, "sweeps": swept}


def _against(arrays: Found, first: Found, prefix: str, reference: str | None) -> dict[str, Any]:
  """Returns the summary of each measure of an arm and, where it is not the reference, the difference to it."""
  gone, first_gone = (statistics.diverged(each[f"{prefix}/loss"], first[f"{prefix}/loss"]) for each in (arrays, first))
  found: dict[str, Any] = {}
  for key in (key for key in arrays if key.startswith(f"{prefix}/")):
    found[key[len(prefix) + 1:]] = {
        **statistics.summary(arrays[key], gone)._asdict(), "by_seed": _masked(arrays[key], gone).tolist(),
        **({"difference": statistics.difference(arrays[key], gone, first[key], first_gone)._asdict()}
           if reference else {})}
  return found


def _gains(sweep: Sweep, arrays: Found, first: Found) -> dict[str, Any] | None:
  """Returns, of the loss along a sweep of numbers, the two measures of Wu et al., 2025, section 5.3.

  None where the reference's loss does not fall along it, as it does along a number of examples.
  """
  if not all(isinstance(value, (int, float)) for value in sweep.values):
    return None

  def curves(each):  # [S, values]
    losses = [[arrays[f"sweep/{sweep.field}/{place}/loss"] for arrays in (each, first)]
              for place in range(len(sweep.values))]
    return np.stack([_masked(loss, statistics.diverged(loss, theirs)) for loss, theirs in losses], axis=1)

  of_first, own = curves(first), curves(arrays)
  if not np.argmin(of_first.mean(axis=0)):
    return None
  pairs = [statistics.gains(np.asarray(sweep.values), theirs, ours) for theirs, ours in zip(of_first, own)]
  return {"relative_minimum": statistics.over_seeds(np.array([pair[0] for pair in pairs])),
          "spared": statistics.over_seeds(np.array([pair[1] for pair in pairs]))}


def _masked(values: np.ndarray, gone: np.ndarray) -> np.ndarray:
  """Returns the means `[S]` over the episodes that have not diverged."""
  return np.ma.mean(np.ma.masked_array(np.asarray(values, np.float64), gone), axis=1).filled(np.nan)


def _per_seed(values: np.ndarray) -> np.ndarray:
  return np.asarray(values, np.float64).reshape(len(values), -1).mean(axis=1)


def as_json(tree: Any) -> Any:
  """Returns nested results as JSON has them: named tuples become mappings, and what is not finite becomes None."""
  if hasattr(tree, "_asdict"):
    tree = tree._asdict()
  if isinstance(tree, Mapping):
    return {str(name): as_json(value) for name, value in tree.items()}
  if isinstance(tree, (list, tuple)):
    return [as_json(value) for value in tree]
  if isinstance(tree, (float, np.floating)):
    return float(tree) if np.isfinite(tree) else None
  return tree
