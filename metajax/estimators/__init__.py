"""Estimators: how the gradient of a step is made."""

from metajax.estimators.differentiate import differentiate as differentiate
