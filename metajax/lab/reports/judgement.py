"""Verdicts of a comparison: whether an arm is better, as sentences, and the formatting of numbers.

Arguments `results` are the results of `metajax.lab.compare.compare`, after a round trip through JSON.
"""

import math
from typing import Any, Mapping

import numpy as np

SURE = 0.05  # significance level, divided by the number of arms compared (Bonferroni)
_SMALL_DIGITS = 5  # numbers that need more decimals are written with a power of ten


def main_measure(results: Mapping[str, Any]) -> str:
  """The measure that arms are judged by: accuracy or another score if there is one, otherwise the loss."""
  names = list(results["arms"][results["reference"]]["test"])
  return next((name for name in names if name != "loss"), "loss")


def judge(results: Mapping[str, Any]) -> dict[str, str]:
  """The verdict on each arm but the first: better, worse, no difference (not significant), nothing (inconclusive)."""
  reference, measure = results["reference"], main_measure(results)
  others = {name: arm["test"][measure]["difference"] for name, arm in results["arms"].items() if name != reference}
  return {name: _judge(gap, measure, len(others)) for name, gap in others.items()}


def verdicts(results: Mapping[str, Any]) -> list[str]:
  """A sentence for each arm but the first: whether it is better, worse, or not distinguishable from the first."""
  reference, measure, judged = results["reference"], main_measure(results), judge(results)
  return [_verdict(name, reference, measure, results["arms"], word) for name, word in judged.items()]


def in_proportion(arms: Mapping[str, Any], name: str, reference: str, measure: str) -> str:
  """The difference of an arm, over seeds, in per cent of the reference; empty if undefined.

  arms: as in results
  """
  gap, whole = arms[name]["test"][measure]["difference"], arms[reference]["test"][measure]["over_seeds"]["mean"]
  if gap["over_seeds"]["mean"] is None or not whole:
    return ""
  return f'{100 * gap["over_seeds"]["mean"] / whole:+.1f} %'


def reaching(swept: Mapping[str, Any], arm: str, reference: str, measure: str = "loss") -> int:
  """How many seeds of an arm reach, anywhere along a sweep, the reference's lowest value for the same seed.

  swept: `results["sweeps"]` of a field
  """
  lowest = [np.min(np.array([row[measure]["by_seed"] for row in swept["arms"][name]], np.float64), axis=0)
            for name in (arm, reference)]  # [seeds]; None becomes NaN, which compares as false
  return int(np.sum(lowest[0] <= lowest[1]))


def with_interval(value: Mapping[str, Any], *, scale: float = 1.0, sign: bool = False) -> str:
  """A mean ± half its interval as text, to two significant digits of the interval; four digits without an interval.

  value: `mean` and `interval`, each of which may be None
  """
  if value["mean"] is None:
    return "not finite"
  plus, mean = "+" if sign else "", scale * value["mean"]
  if value["interval"] is None or not value["interval"]:
    return f"{mean:{plus}.4g}" + ("" if value["interval"] is None else " ± 0")
  half = scale * value["interval"]
  digits = 1 - math.floor(math.log10(half))
  if digits > _SMALL_DIGITS:  # a common power of ten, so that the two can be compared at a glance
    power = math.floor(math.log10(max(abs(mean), half)))
    digits = max(digits + power, 1)
    return f"({mean / 10.0**power:{plus}.{digits}f} ± {half / 10.0**power:.{digits}f})e{power:+03d}"
  return f"{mean:{plus}.{max(digits, 0)}f} ± {half:.{max(digits, 0)}f}"


def _judge(gap: Mapping[str, Any], measure: str, num_arms: int) -> str:
  mean, interval, p = gap["over_seeds"]["mean"], gap["over_seeds"]["interval"], gap["p_value"]
  if mean is None or interval is None or p is None:
    return "nothing"
  if p >= SURE / num_arms:
    return "no difference"
  return "better" if (mean < 0) == (measure == "loss") else "worse"


def _verdict(name: str, reference: str, measure: str, arms: Mapping[str, Any], judged: str) -> str:
  gap = arms[name]["test"][measure]["difference"]
  if judged == "nothing":
    return (f'{name} against {reference}: inconclusive, because only {gap["seeds"]} pair(s) of trainings did '
            "not diverge.")
  said = (f'{measure} {with_interval(gap["over_seeds"], sign=True)} over {gap["seeds"]} seeds, '
          f'{in_proportion(arms, name, reference, measure)}, p = {gap["p_value"]:.2g}')
  words = "no difference shown by these seeds" if judged == "no difference" else judged
  return f"{name} against {reference}: {words} ({said})."
