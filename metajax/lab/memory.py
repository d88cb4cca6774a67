"""What a process does with the memory that one step frees and the next one needs."""

import ctypes
import os
import sys

# glibc's malloc.h: https://man7.org/linux/man-pages/man3/mallopt.3.html
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1  # to trim


def keep_freed_memory() -> bool:
  """Asks the C library to keep what is freed, for all of this process, and returns whether it will.

  XLA:CPU takes what a step works in anew for each step. glibc gives blocks of more than 32 MiB back to the system, so
  that every page of them is first cleared by the system and then written to. The command lines ask for it; ask for it
  in a notebook that trains on a CPU, before anything is computed. What the process has needed at its peak it then
  keeps. Nothing is changed where there is no glibc, or where the environment sets glibc's allocator already
  (`MALLOC_...`, `GLIBC_TUNABLES`).
  """
  if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
    return False
  change = getattr(ctypes.CDLL(None), "mallopt", None)
  # One arena: those that glibc opens for further threads, and XLA:CPU allocates in its own, hold no block of more than
  # 64 MiB and map each of these anew, whatever was asked for.
  settings = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1)
  return change is not None and all(change(*setting) for setting in settings)
