"""Estimators: how the gradient of a step is made."""

from metajax.estimators.differentiate import as_estimator as as_estimator
from metajax.estimators.differentiate import differentiate as differentiate
