"""A trained model in use: learned tasks, predictions in the caller's labels, files to take elsewhere.

A model is stored as exported programs with its parameters, so that it runs without its recipe, its data set and its
code; see `store`. `metajax.load` opens one.
"""

from metajax.serving.inputs import Raw as Raw
from metajax.serving.model import FILE as FILE
from metajax.serving.model import Learned as Learned
from metajax.serving.model import Predictor as Predictor
from metajax.serving.model import load as load
from metajax.serving.store import write as write
