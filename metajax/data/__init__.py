"""Readers: from files to arrays. They need the extra `data`.

  from_arrays(inputs, targets)   classes from arrays in memory
  from_hf(dataset)               classes from a data set with columns, such as those of Hugging Face
  split_classes(data, "train")   the classes of one split
"""

from metajax.checks import check_installed

check_installed("data", "PIL", "pyarrow")

from metajax.data.hf import from_hf as from_hf  # noqa: E402
from metajax.tasks.class_data import from_arrays as from_arrays  # noqa: E402
from metajax.tasks.class_data import split_classes as split_classes  # noqa: E402
