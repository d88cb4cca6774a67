"""The contrastive part of ConML, on arrays of representations, for use in any JAX code."""

from metajax.contrast.equations import contrastive_loss as contrastive_loss
from metajax.contrast.equations import inner_task_distance as inner_task_distance
from metajax.contrast.equations import inter_task_distance as inter_task_distance
from metajax.contrast.info_nce import info_nce as info_nce
