"""The common style of all figures, how they are saved, and the learning curves.

Figures are built without pyplot, so there is no global state and no window system, and any thread may draw them.
"""

import os
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

# The colour-blind-safe palette of Okabe and Ito.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#777777"

_LOG_RATIO = 30.0  # wider ranges are drawn on a log scale
_MANY_POINTS = 40  # curves with at least this many points are smoothed, without markers


class _Line(NamedTuple):
  column: str
  label: str
  colour: str


_LOSS = (_Line("loss", "total", BLUE), _Line("episodic_loss", "episodic", ORANGE),
         _Line("val_loss", "validation", GREEN))
_ACCURACY = (_Line("accuracy", "training tasks", BLUE), _Line("val_accuracy", "validation tasks", VERMILION))
_MSE = (_Line("mse", "training tasks", BLUE), _Line("val_mse", "validation tasks", VERMILION))
_DISTANCE = (_Line("d_in", r"$d_\mathrm{in}$, within a task", BLUE),
             _Line("d_out", r"$d_\mathrm{out}$, between tasks", VERMILION))


def new_figure(width: float, height: float) -> Figure:
  """An empty figure of the given size in inches, with a layout that avoids overlaps."""
  figure = Figure(figsize=(width, height), facecolor="white")
  figure.set_layout_engine("constrained", wspace=0.05)
  return figure


def style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
  """Gives the axes the common look."""
  axes.set_title(title, fontsize=11, loc="left")
  axes.set_xlabel(x_label, fontsize=9)
  axes.set_ylabel(y_label, fontsize=9)
  axes.tick_params(labelsize=8, length=3, color=GREY)
  axes.grid(True, color="#DDDDDD", linewidth=0.6)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(GREY)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
  """Writes the figure as a PNG of 150 dots per inch, atomically; the folder is created if necessary."""
  target = Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  partial = target.with_name(target.name + ".tmp")
  FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=150, bbox_inches="tight")
  os.replace(partial, target)


def learning_curves(metrics: Mapping[str, np.ndarray]) -> Figure:
  """The loss, the score and the distances of ConML against the step, as far as there is data.

  metrics: columns [rows], as from `writers.read_csv`: `step`, and any of `loss`, `episodic_loss`, `accuracy`, `mse`,
    `d_in`, `d_out`, `val_loss`, `val_accuracy`, `val_mse`; NaN where not measured. Other columns are not drawn.

  Raises ValueError if there is no `step`, or nothing to draw.
  """
  if "step" not in metrics:
    raise ValueError('learning curves need a column "step".')
  candidates = [
    ("Loss", "loss (mean per task)", _LOSS, 1.0),
    ("Accuracy", "correct queries (%)", _ACCURACY, 100.0),
    ("Squared error", "mean squared error (target units²)", _MSE, 1.0),
    ("Distances between models", "mean distance (representation units)", _DISTANCE, 1.0),
  ]
  panels = [panel for panel in candidates if any(np.isfinite(metrics.get(line.column, ())).any() for line in panel[2])]
  if not panels:
    raise ValueError(f"none of the columns {sorted(metrics)} is a learning curve.")
  figure = new_figure(4.3 * len(panels), 3.2)
  for axes, (title, label, lines, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
    style(axes, title, "meta-training step", label)
    _draw_lines(axes, metrics, lines, unit)
  return figure


def in_context_errors(errors: Mapping[str, np.ndarray], title: str) -> Figure:
  """The error against the number of in-context examples, for a learner (the first curve) and references.

  errors: by name, the mean squared error [n] after 0, 1, ..., n - 1 examples

  Raises ValueError if there is no curve, or their lengths differ.
  """
  if len({len(curve) for curve in errors.values()}) != 1:
    raise ValueError(f"curves of in-context errors need one length, not {[len(c) for c in errors.values()]}.")
  figure = new_figure(5.2, 3.6)
  axes = figure.subplots()
  style(axes, title, "in-context examples", "mean squared error (target units²)")
  looks = zip((BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK), ("-", "--", "-.", ":", "--", "-.", ":"))
  for (name, curve), (colour, line) in zip(errors.items(), looks):
    axes.plot(np.arange(len(curve)), curve, line, color=colour, linewidth=1.8, label=name.replace("_", " "))
  # A reference that solves a task exactly has errors of 1e-30; only a few decades below the worst error matter.
  worst = max(float(np.max(curve)) for curve in errors.values())
  axes.set_yscale("log")
  axes.set_ylim(1e-4 * worst, 2 * worst)
  axes.legend(fontsize=8, frameon=False)
  return figure


def _draw_lines(axes: Axes, metrics: Mapping[str, np.ndarray], lines: Sequence[_Line], unit: float) -> None:
  drawn = []
  for line in lines:
    values = unit * np.asarray(metrics.get(line.column, np.full(len(metrics["step"]), np.nan)), np.float64)
    measured = np.isfinite(values)
    steps, values = np.asarray(metrics["step"])[measured], values[measured]
    if len(values) >= _MANY_POINTS:
      axes.plot(steps, values, color=line.colour, alpha=0.22, linewidth=0.8)
      values = _smooth(values, len(values) // 25)
      axes.plot(steps, values, color=line.colour, linewidth=1.6, label=line.label)
    elif len(values):
      axes.plot(steps, values, color=line.colour, linewidth=1.6, marker="o", markersize=3.5, label=line.label)
    drawn.append(values)
  everything = np.concatenate(drawn)
  # A log scale would be misleading for percentages, which are bounded on both sides.
  if unit == 1.0 and everything.min() > 0 and everything.max() > _LOG_RATIO * everything.min():
    axes.set_yscale("log")
  axes.legend(fontsize=8, frameon=False)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
  """The centred moving average [n] over about `width` values, fewer at the ends."""
  window = np.ones(2 * (width // 2) + 1)
  return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")
