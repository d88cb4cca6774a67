"""The report of a comparison of arms, with sentences, tables and figures: one HTML file."""

import json
from typing import Any, Mapping, Sequence

from matplotlib.figure import Figure
import numpy as np

from metajax.lab.reports import arms as figures
from metajax.lab.reports import maps
from metajax.lab.reports.judgement import main_measure, reaching, verdicts, with_interval
from metajax.lab.reports.page import heading, listing, page, paragraph, picture, png, preformatted, table

_ABOUT_MODELS = {"d_in": "d_in, unseen tasks", "d_out": "d_out, unseen tasks", "silhouette": "silhouette",
                 "calinski_harabasz": "Calinski-Harabasz"}
_TRAINED = {"episodic_loss": "loss on the query sets", "d_in": "d_in", "d_out": "d_out"}


def main_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
  """Header and rows of the results on the test episodes, one row per arm."""
  measure = main_measure(results)
  header = ["arm", f"{measure}, mean ± over seeds", "± over episodes", "median", "diverged tasks",
            f'difference to {results["reference"]} ± over seeds', "p", "± over episodes", "step time", "memory"]
  rows = []
  for name, arm in results["arms"].items():
    test = arm["test"][measure]
    gap = test.get("difference")
    rows.append([
        name, with_interval(test["over_seeds"]), _number(test["over_episodes"]["interval"]), _number(test["median"]),
        f'{100 * test["diverged"]:.2g} %' + (f', {arm["diverged_trainings"]} training(s)'
                                             if arm["diverged_trainings"] else ""),
        with_interval(gap["over_seeds"]) if gap else "", _number(gap["p_value"]) if gap else "",
        _number(gap["over_episodes"]["interval"]) if gap else "",
        f'{arm["step_ratio"]:.2f} ({arm["step_ms"]:.3g} ms)',
        f'{arm["memory_ratio"]:.2f} ({arm["memory_mib"]:.3g} MiB)'])
  return header, rows


def models_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
  """Header and rows on models of unseen tasks, one row per arm; no rows if they were not measured."""
  names = [name for name in _ABOUT_MODELS if name in results["arms"][results["reference"]]["models"]]
  rows = [[arm, *(with_interval(about["models"][name]) for name in names)] for arm, about in results["arms"].items()]
  return ["arm", *(_ABOUT_MODELS[name] for name in names)], rows if names else []


def pictures(results: Mapping[str, Any], found: Mapping[str, Mapping[str, np.ndarray]]
             ) -> dict[str, tuple[Figure, str]]:
  """Figures with their captions, by name; figures without measurements are left out.

  results: the results of `metajax.lab.compare.compare`, after a round trip through JSON
  found: the measurements of each arm, by the names of `metajax.lab.compare`
  """
  reference, measure = results["reference"], main_measure(results)
  first = results["arms"][reference]["test"][measure]
  gaps = {name: _gaps(arm["test"][measure], first) for name, arm in results["arms"].items() if name != reference}
  drawn = {"differences": (figures.differences(gaps, reference, measure),
                           "Mean and 95 % interval over seeds; one dot per seed.")}
  distances = {name: {key: arrays[f"models/{key}"] for key in ("d_in", "d_out")}
               for name, arrays in found.items() if "models/d_in" in arrays}
  if any(figures.drawable(each) for each in distances.values()):
    drawn["distances"] = (figures.distributions(distances),
                          "Distances between models of unseen tasks, all seeds together.")
  for name, arrays in found.items():
    if "models/map" in arrays:
      points, score = arrays["models/map"], results["arms"][name]["models"]["silhouette"]["mean"]
      drawn[f"map_{name}"] = (maps.task_map(points[:, 1:], points[:, 0], name),
                              f"{name}: models of ten unseen tasks, ten subsets each, the first seed. Silhouette over "
                              f"all tasks and seeds: {_number(score)}.")
  for field, swept in results["sweeps"].items():
    drawn[f"sweep_{field}"] = _sweep(field, swept, measure, reference)
  trained = {name: {key.partition("/")[2]: values for key, values in arrays.items() if key.startswith("training/")}
             for name, arrays in found.items()}
  drawn["training"] = (figures.trainings(trained, _TRAINED),
                       "Medians over seeds during training. The plain objective does not measure distances.")
  return drawn


def report(results: Mapping[str, Any], drawn: Mapping[str, tuple[Figure, str]]) -> str:
  """The page.

  results: the results of `metajax.lab.compare.compare`, after a round trip through JSON
  drawn: the figures of `pictures`
  """
  reference = results["reference"]
  show = lambda *starts: [picture(png(figure), caption, half=name.startswith("map_"), whole=len(figure.axes) == 1)
                          for name, (figure, caption) in drawn.items() if name.startswith(starts)]
  parts = [
      listing(verdicts(results)),
      paragraph(f'{results["notes"]} {len(results["seeds"])} seeds, {results["steps"]:,} training steps. For each '
                "seed, all arms share initial parameters, training tasks and test episodes, and are compared in pairs. "
                "Intervals are 95 % confidence intervals. p is from the paired t-test over seeds and not corrected for "
                "the number of arms; the sentences above are (Bonferroni). Tasks that diverged (with a non-finite "
                f"loss, or one above 100 times the 95th percentile of {reference}) are left out of means and "
                "differences, and counted."),
      table(*main_table(results)), *show("differences")]
  header, rows = models_table(results)
  if rows:
    parts += [heading("Models of unseen tasks"), table(header, rows), *show("distances", "map_")]
  if results["sweeps"]:
    parts += [heading("The same models under other test settings"), *show("sweep_")]
  kept = {key: value for key, value in results.items() if key not in ("arms", "sweeps")}
  parts += [heading("Training"), *show("training"),
            heading("Settings"), preformatted(json.dumps(kept, indent=1, ensure_ascii=False))]
  return page("Does it help? " + ", ".join(results["arms"]), parts)


def _gaps(test: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[float, float, np.ndarray]:
  mean, interval = (np.nan if value is None else value for value in test["difference"]["over_seeds"].values())
  seeds = np.array(test["by_seed"], np.float64) - np.array(first["by_seed"], np.float64)  # None becomes NaN
  return mean, interval, seeds


def _sweep(field: str, swept: Mapping[str, Any], measure: str, reference: str) -> tuple[Figure, str]:
  column = lambda means, key: np.array([mean[key] for mean in means], np.float64)  # None becomes NaN
  curve = lambda means: (column(means, "mean"), column(means, "interval"))
  curves = {name: curve([row[measure]["over_seeds"] for row in rows]) for name, rows in swept["arms"].items()}
  gaps = {name: curve([row[measure]["difference"]["over_seeds"] for row in rows])
          for name, rows in swept["arms"].items() if name != reference}
  gone = {name: max(row[measure]["diverged"] for row in rows) for name, rows in swept["arms"].items()}
  said = "; ".join(f"{name} {100 * share:.2g} %" for name, share in gone.items() if share > 0)
  gains = [_gain(name, field, swept, reference) for name, each in swept["gains"].items()
           if each and each["relative_minimum"]["mean"] is not None] if measure == "loss" else []
  caption = ("Means and 95 % bands over seeds. Dotted, on the left: medians, which are robust to a few tasks."
             + (f" Tasks that diverged, at worst: {said}." if said else "")
             + (f' {"; ".join(gains)}.' if gains else ""))
  others = {name: np.array(known, np.float64) for name, known in swept["references"].items()}
  medians = {name: np.array([row[measure]["median"] for row in rows], np.float64)
             for name, rows in swept["arms"].items()}
  return figures.sweep(swept["values"], curves, gaps, reference, field, measure, others, medians), caption


def _gain(name: str, field: str, swept: Mapping[str, Any], reference: str) -> str:
  gains, there = swept["gains"][name], reaching(swept, name, reference)
  seeds = len(swept["arms"][name][0]["loss"]["by_seed"])
  said = f'{name}: lowest loss {with_interval(gains["relative_minimum"])} times that of {reference}'
  if gains["spared"]["mean"] is None:
    return f"{said}, which it never reaches"
  return (f'{said}, which {there} of {seeds} seeds reach at a {field} {with_interval(gains["spared"], sign=True)} from '
          f"that of {reference}")


def _number(value: float | None) -> str:
  return "not finite" if value is None else f"{value:.3g}"


def columns(text: Sequence[Sequence[str]]) -> str:
  """Rows of cells as lines of text, with aligned columns."""
  widths = [max(len(row[index]) for row in text) for index in range(len(text[0]))]
  return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in text)
