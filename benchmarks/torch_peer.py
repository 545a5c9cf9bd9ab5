"""What the programs that time PyTorch share. Does not import torch, which takes seconds."""
import os
import statistics
import sys
import time

# Without these, glibc returns large blocks to the system and gets them back as page faults: up to
# 60 ms of a step. 32 MiB is the largest threshold that it accepts; what is larger would still be
# mapped each time, so mapping is switched off.
MALLOC = {
    "MALLOC_TOP_PAD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_MMAP_MAX_": "0",
}


def tune_malloc():
    """Starts the program again with MALLOC in its environment, which glibc reads at the start."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})


def lap_times(call, count):
    """Milliseconds of each of `count` calls."""
    laps = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        laps.append(1e3 * (time.perf_counter() - start))
    return laps


def median_time(call, seconds):
    """Milliseconds of a call: the median of as many as fit in `seconds`, after two others."""
    lap_times(call, 2)
    laps = []
    end = time.perf_counter() + seconds
    while len(laps) < 3 or time.perf_counter() < end:
        laps += lap_times(call, 1)
    return statistics.median(laps)
