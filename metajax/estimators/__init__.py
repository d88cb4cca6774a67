"""Estimators: how the gradient of a step is computed."""

from metajax.estimators.differentiate import differentiate as differentiate
