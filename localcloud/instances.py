"""Instance types as limits of a container: what SageMaker would give, capped to what is here."""

import os
import re
from dataclasses import dataclass

import psutil

GIB = 1024**3
# GiB of memory per vCPU, by the family's letter: https://aws.amazon.com/sagemaker/pricing/
MEMORY_PER_CPU = {"c": 2, "g": 4, "inf": 2, "m": 4, "p": 8, "r": 8, "t": 4, "trn": 4}
CPUS = {"medium": 2, "large": 2, "xlarge": 4}  # and Nxlarge: 4 N
SMALL = {"medium": 4}  # GiB, where the size says more than the family


@dataclass(frozen=True)
class Limits:
    """``cpus`` and bytes of ``memory``; None is no limit."""

    cpus: float | None = None
    memory: int | None = None


def limits(instance_type: str) -> Limits:
    """``ml.m5.xlarge`` -> 4 vCPUs and 16 GiB, or the whole machine if it has less or the type is unknown."""
    found = re.fullmatch(r"ml\.([a-z]+)\d\w*\.(?:(\d+)xlarge|(\w+))", instance_type)
    if not found or found[1] not in MEMORY_PER_CPU or not (found[2] or found[3] in CPUS):
        return Limits()
    cpus = 4 * int(found[2]) if found[2] else CPUS[found[3]]
    memory = SMALL.get(found[3], cpus * MEMORY_PER_CPU[found[1]]) * GIB
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Limits(min(cpus, here), min(memory, psutil.virtual_memory().total))
