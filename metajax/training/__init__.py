"""The compiled step, the loop, and the task axis over devices."""

from metajax.training.laws import Verdict as Verdict
from metajax.training.laws import check_learner as check_learner
from metajax.training.loop import Stopped as Stopped
from metajax.training.loop import fit as fit
from metajax.training.step import TrainState as TrainState
from metajax.training.step import init_state as init_state
from metajax.training.step import make_advance as make_advance
