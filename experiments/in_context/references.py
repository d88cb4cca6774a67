"""Predictions without meta-learning: the references of Garg et al., 2022, appendix A.3.

A reference maps the examples so far, `x [n, d]` and `y [n]` with n at least 1, and a query `[d]` to a prediction.
"""

from typing import Callable
import warnings

import numpy as np

Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def least_squares(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts by the least-squares linear function of minimum norm."""
  return float(query @ np.linalg.lstsq(x, y, rcond=None)[0])


def averaging(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts by a linear function with the weights `mean(y x)`."""
  return float(query @ (y @ x) / len(y))


def neighbours(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts the mean target of the 3 nearest examples, or of all if there are fewer."""
  nearest = np.argsort(np.sum((x - query) ** 2, axis=1))[:3]
  return float(np.mean(y[nearest]))


def lasso(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts by the Lasso with penalty 0.01, as plotted by Garg et al."""
  from sklearn.linear_model import Lasso
  return float(Lasso(alpha=0.01, fit_intercept=False, max_iter=10_000).fit(x, y).predict(query[None])[0])


def greedy_tree(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts by a greedily grown tree of depth 4 on the signs of the coordinates."""
  from sklearn.tree import DecisionTreeRegressor
  return float(DecisionTreeRegressor(max_depth=4, random_state=0).fit(np.sign(x), y).predict(np.sign(query)[None])[0])


def fitted_network(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> float:
  """Predicts by a two-layer ReLU network of 100 hidden units, fitted by 100 steps of Adam at 5e-3."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.neural_network import MLPRegressor
  network = MLPRegressor(hidden_layer_sizes=(100,), learning_rate_init=5e-3, random_state=0, alpha=0.0, shuffle=False,
                         max_iter=100, n_iter_no_change=101)  # full-batch steps, no validation set
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # it need not converge
    network.fit(x, y)
  return float(network.predict(query[None])[0])


def errors(reference: Reference, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Returns the mean squared error of a reference after each number of examples, `[n]`.

  Args:
    reference: one of the above.
    inputs, targets: `[prompts, n, d]` and `[prompts, n]`.
  """
  squares = np.zeros(targets.shape)
  for prompt, (x, y) in enumerate(zip(inputs, targets)):
    for seen in range(len(y)):
      guess = reference(x[:seen], y[:seen], x[seen]) if seen else 0.0
      squares[prompt, seen] = (guess - y[seen]) ** 2
  return squares.mean(axis=0)
