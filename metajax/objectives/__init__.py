"""Objectives: what meta-training minimises, for any learner."""

from metajax.objectives.autoregressive import autoregressive as autoregressive
from metajax.objectives.conml import conml as conml
from metajax.objectives.episodic import episodic as episodic
from metajax.objectives.reptile import reptile as reptile
from metajax.objectives.task_map import at_once, in_chunks
