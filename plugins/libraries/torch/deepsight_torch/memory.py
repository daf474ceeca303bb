"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def free_memory() -> int:
    """Bytes that can be had without swapping; where the system does not say, half of what is installed."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def allowed(device: torch.device, limit: int | None) -> int:
    """Bytes that may be used on a device: `limit`, or half of what is free."""
    if limit is not None:
        return limit
    return (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()) // 2
