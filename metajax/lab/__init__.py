"""Runs, compares, replays and reports recipes. It needs the extra `lab`."""

from metajax.checks import check_installed

check_installed("lab", "flatbuffers", "grain", "matplotlib", "rich", "scipy", "sklearn", "tensorboardX")
