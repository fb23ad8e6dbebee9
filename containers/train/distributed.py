"""One process or many: what the launcher's environment says, and the few collectives that are needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """This process among its peers. A world of one needs no process group."""

    rank: int
    size: int
    device: torch.device

    @property
    def chief(self) -> bool:
        return self.rank == 0

    def gather(self, value) -> list:
        """Every rank's picklable value, in the order of ranks, on every rank."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; all ranks get the same answer."""
        if self.size == 1:
            return flag
        tensor = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return bool(tensor.item())

    def share(self, module: torch.nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)


@contextmanager
def world() -> Iterator[World]:
    """DDP whenever the environment says so: torchrun sets ``WORLD_SIZE``, ``RANK``, ``LOCAL_RANK``.

    NCCL on GPUs, gloo on CPUs. The group is torn down on the way out, also after an error.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    torch.set_num_threads(cores())  # more threads than cores only wait for each other
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=10))
    try:
        yield World(rank, size, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def cores() -> int:
    """This process's share of the machine's."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
