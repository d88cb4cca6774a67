"""Readers: from files to arrays. They need the extra `data`."""

from metajax.checks import check_installed

check_installed("data", "PIL", "pyarrow")
