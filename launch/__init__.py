"""Command lines. They need the extra `lab`."""

import sys

from launch import interrupted as interrupted
from metajax.checks import check_installed

try:
  check_installed("lab", "grain", "matplotlib", "ml_collections", "rich", "scipy", "sklearn", "tensorboardX")
except ImportError as error:
  sys.exit(f"error: {error}")
