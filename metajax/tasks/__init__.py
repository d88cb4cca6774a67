"""Task distributions: pure, compiled draws of one task, from a formula or from arrays."""

from metajax.tasks.classes import class_tasks as class_tasks
from metajax.tasks.functions import function_tasks as function_tasks
from metajax.tasks.groups import group_tasks as group_tasks
from metajax.tasks.ragged import ragged_tasks as ragged_tasks
from metajax.tasks.sampling import sample_batch as sample_batch
from metajax.tasks.sinusoids import sinusoids as sinusoids
