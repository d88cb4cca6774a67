"""Keeps the memory that one step frees for the next step, instead of returning it to the system."""

import ctypes
import os
import sys

# glibc's malloc.h: https://man7.org/linux/man-pages/man3/mallopt.3.html
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1  # never trim


def keep_freed_memory() -> bool:
  """Makes the C library keep freed memory for this process; returns whether it will.

  XLA:CPU allocates its working memory anew for each step. glibc returns blocks of more than 32 MiB to the system, which
  must clear every page before it is used again. The command lines call this; call it in a notebook that trains on CPU,
  before anything is computed. The process then keeps its peak memory. Nothing changes without glibc, or if the
  environment already configures its allocator (`MALLOC_...`, `GLIBC_TUNABLES`).
  """
  if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
    return False
  change = getattr(ctypes.CDLL(None), "mallopt", None)
  # One arena only: XLA:CPU allocates in its own threads. The extra arenas that glibc opens for threads hold no block of
  # more than 64 MiB and map larger ones anew, whatever the other settings.
  settings = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1)
  return change is not None and all(change(*setting) for setting in settings)
