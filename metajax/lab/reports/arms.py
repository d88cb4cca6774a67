"""Figures that compare several arms, each with its own colour and line style."""

import itertools
from typing import Any, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from metajax.lab.reports.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, new_figure, style

_COLOURS = (BLACK, BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
_LINES = ("-", "--", "-.", ":")
_BINS = 60
_LOG_RATIO = 30.0  # wider ranges are drawn on a log scale
_FALLING = 4.0  # the same for training curves, whose end matters most

Curve = tuple[np.ndarray, np.ndarray]  # means [n] and half-widths of their intervals [n]


def look(index: int) -> dict[str, Any]:
  """The colour and line style of the arm at an index; the first arm is black."""
  return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _LINES[index // len(_COLOURS) % len(_LINES)]}


def differences(arms: Mapping[str, tuple[float, float, np.ndarray]], reference: str, measure: str) -> Figure:
  """The paired difference of each arm to the reference: mean, 95 % interval, and one dot per seed.

  arms: by name, the mean, half its interval, and the differences of the seeds [S]
  """
  figure = new_figure(6.2, 0.9 + 0.5 * len(arms))
  axes = figure.subplots()
  style(axes, f"Paired difference to {reference}", f"{measure} minus that of {reference}", "")
  for index, (name, (mean, interval, seeds)) in enumerate(arms.items()):
    colour = look(index + 1)["color"]
    axes.plot(seeds, np.full(len(seeds), index + 0.16), "o", color=colour, alpha=0.4, markersize=4)
    if np.isfinite(mean):
      axes.errorbar([mean], [index - 0.1], xerr=[interval if np.isfinite(interval) else 0.0], fmt="s", color=colour,
                    capsize=4)
  axes.axvline(0.0, color=GREY, linewidth=1)
  axes.set_yticks(range(len(arms)), list(arms))
  axes.set_ylim(len(arms) - 0.5, -0.5)
  return figure


def drawable(distances: Mapping[str, np.ndarray]) -> bool:
  """Whether both `d_in` and `d_out` of an arm have values that can be drawn."""
  return all(len(_positive(distances[key])) for key in ("d_in", "d_out"))


def distributions(arms: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
  """The distributions of d_in and d_out over unseen tasks, one line per arm.

  arms: by name, arrays `d_in` and `d_out` of any shape; values that are non-finite or not positive are left out

  Raises ValueError if there is nothing to draw.
  """
  panels = (("d_in", "Within a task", r"$d_\mathrm{in}$, subset to whole"),
            ("d_out", "Between tasks", r"$d_\mathrm{out}$, whole to whole"))
  kept = {key: {name: _positive(arrays[key]) for name, arrays in arms.items()} for key, _, _ in panels}
  if not any(drawable(arrays) for arrays in arms.values()):
    raise ValueError("there are no positive distances to draw.")
  figure = new_figure(9.0, 3.2)
  for axes, (key, title, label) in zip(figure.subplots(1, 2), panels):
    style(axes, title, label, "share of pairs")
    everything = np.concatenate(list(kept[key].values()))
    low, high = (float(end) for end in np.percentile(everything, [0.1, 99.9]))
    logarithmic, high = high > _LOG_RATIO * low, max(high, low * (1 + 1e-6))
    edges = np.geomspace(low, high, _BINS) if logarithmic else np.linspace(low, high, _BINS)
    for index, (name, values) in enumerate(kept[key].items()):
      if len(values):
        heights = np.histogram(values, edges)[0] / len(values)
        axes.stairs(heights, edges, label=name, linewidth=1.6, **look(index))
    if logarithmic:
      axes.set_xscale("log")
    axes.legend(fontsize=8, frameon=False)
  return figure


def sweep(values: Sequence[object], arms: Mapping[str, Curve], gaps: Mapping[str, Curve], reference: str, x_label: str,
          y_label: str, others: Mapping[str, np.ndarray] | None = None,
          medians: Mapping[str, np.ndarray] | None = None) -> Figure:
  """A result against a setting of the test, one line per arm with its 95 % band; right, the paired differences.

  values: [n] numbers, or strings, which are then equally spaced
  arms: by name, means [n] and half-widths of intervals [n]
  gaps: the same for the paired differences to the reference, for all other arms
  others: by name, the results of other methods [n], NaN where unknown; drawn in grey
  medians: by name, the medians [n] of an arm, dotted; far from the means if a few tasks dominate the mean

  Raises ValueError if lengths disagree.
  """
  if any(len(part) != len(values) for curve in (*arms.values(), *gaps.values()) for part in curve):
    raise ValueError(f"a curve over {len(values)} values needs {len(values)} means and intervals.")
  numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
  xs = np.asarray(values, np.float64) if numbers else np.arange(len(values))
  figure = new_figure(8.8, 3.4)
  left, right = figure.subplots(1, 2)
  for axes, curves, title in ((left, arms, f"{y_label} against {x_label}"),
                              (right, gaps, f"paired difference to {reference}")):
    style(axes, title, x_label, y_label)
    for name, (mean, interval) in curves.items():
      colour = look(list(arms).index(name))
      axes.plot(xs, mean, marker="o" if len(values) < 12 else None, markersize=3.5, linewidth=1.6, label=name,
                **colour)
      half = np.nan_to_num(np.asarray(interval, np.float64))
      axes.fill_between(xs, mean - half, mean + half, color=colour["color"], alpha=0.14, linewidth=0)
    if not numbers:
      axes.set_xticks(xs, [str(value) for value in values])
    elif all(isinstance(value, int) for value in values):
      axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  for name, middle in (medians or {}).items():
    left.plot(xs, middle, ":", color=look(list(arms).index(name))["color"], linewidth=1.1)
  right.axhline(0.0, color=GREY, linewidth=1)
  dashes = ((0, (1, 1)), (0, (5, 2)), (0, (5, 1, 1, 1)), (0, (9, 3)))
  for dash, (name, known) in zip(itertools.cycle(dashes), (others or {}).items()):
    left.plot(xs, known, color=GREY, linewidth=1.1, linestyle=dash, label=name)
  drawn = _positive(np.concatenate([*(mean for mean, _ in arms.values()), *(others or {}).values(),
                                    *(medians or {}).values()]))
  drawn = drawn[drawn > 1e-4 * drawn.max(initial=0.0)]  # another method may be exact, with errors near 1e-30
  if len(drawn) and drawn.max() > _LOG_RATIO * drawn.min():
    left.set_yscale("log")
    left.set_ylim(drawn.min() / 3, drawn.max() * 3)
  for axes in (left, right):
    if axes.get_legend_handles_labels()[0]:
      axes.legend(fontsize=8, frameon=False)
  return figure


def trainings(arms: Mapping[str, Mapping[str, np.ndarray]], names: Mapping[str, str]) -> Figure:
  """Training metrics against the step, one line per arm: the median over its seeds.

  arms: by name, `step` [rows] and metrics [rows, S]; arms may lack some metrics
  names: by metric, its label; one panel for each metric that any arm has

  Raises ValueError if no arm has any.
  """
  panels = {key: label for key, label in names.items() if any(key in metrics for metrics in arms.values())}
  if not panels:
    raise ValueError(f'no arm has any of the metrics {", ".join(names)}.')
  figure = new_figure(4.2 * len(panels), 3.2)
  for axes, (key, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
    style(axes, label, "meta-training step", label)
    drawn = []
    for index, (name, metrics) in enumerate(arms.items()):
      if key in metrics:
        middle = _median(metrics[key])
        axes.plot(metrics["step"], middle, linewidth=1.4, marker="o" if len(middle) == 1 else None, label=name,
                  **look(index))
        drawn.append(_positive(middle))
    everything = np.concatenate(drawn)
    if len(everything) and everything.max() > _FALLING * everything.min():
      axes.set_yscale("log")
      axes.tick_params(which="minor", labelsize=7)
    axes.legend(fontsize=8, frameon=False)
  return figure


def _median(values: np.ndarray) -> np.ndarray:
  """The median [rows] over the seeds [rows, S] that have not diverged; NaN where all have."""
  finite = np.ma.masked_invalid(values)
  return np.ma.median(finite, axis=1).filled(np.nan)


def _positive(values: np.ndarray) -> np.ndarray:
  flat = np.ravel(np.asarray(values, np.float64))
  return flat[np.isfinite(flat) & (flat > 0)]
