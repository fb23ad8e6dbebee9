"""Photographs of a channel as batches of uint8, sharded over the ranks."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from containers.common import class_folders, manifest, photograph
from containers.common.errors import DataError
from containers.train.network import CLASSES


class Photographs(Dataset):
    """An ImageFolder tree ``<count>/NAME.jpg``, decoded by the card's resize rule.

    Kept decoded in memory where all of it fits in ``cache_megabytes``: decoding then happens
    once, not once an epoch, and needs no worker processes.
    """

    def __init__(self, folder: Path, input_size: tuple[int, int], cache_megabytes: int):
        """input_size: (height, width) in pixels."""
        self.rule = photograph.resize_rule(input_size)
        listed = class_folders.listed(folder)
        self.paths = [path for path, _ in listed]
        self.names = [path.stem for path in self.paths]
        self.labels = torch.tensor([CLASSES.index(count) for _, count in listed])
        self.cache = None
        if len(self) * math.prod(input_size) * 3 <= cache_megabytes * 2**20:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
                self.cache = torch.stack(list(pool.map(self._decode, range(len(self)))))

    def _decode(self, index: int) -> torch.Tensor:
        path = self.paths[index]
        try:
            return torch.from_numpy(photograph.resize(photograph.decode(path.read_bytes()), self.rule).copy())
        except photograph.PhotographError as error:
            raise DataError(f"{path}: {error}") from None

    def files(self) -> dict[str, Path]:
        """The photographs' files by name."""
        return dict(zip(self.names, self.paths, strict=True))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(uint8 ``[height, width, 3]``, ``index``, by which ``names`` and ``labels`` know it)."""
        pixels = self._decode(index) if self.cache is None else self.cache[index]
        return pixels, torch.tensor(index)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """A whole batch at once: one gather where the photographs are in memory."""
        pixels = (
            torch.stack([self._decode(i) for i in indices]) if self.cache is None else self.cache[indices]
        )
        return pixels, torch.tensor(indices)


def prior_shift(photographs: Photographs, records: list[manifest.Row]) -> torch.Tensor:
    """What to add to each photograph's logits in training, so that its source teaches nothing.

    Extras hold other shares of each count than the photographs that are validated and tested on; a network
    would learn to recognise where a photograph is from, and to guess by it. With the difference of the log
    priors added, it has nothing to gain from that (logit adjustment: Menon et al. 2021, "Long-tail Learning
    via Logit Adjustment", here by source). Returns: float ``[n, classes]``, zero for the main list.
    """
    sources = {row.name: row.source for row in records}
    extra = torch.tensor([sources.get(name) == manifest.EXTRA for name in photographs.names])
    shift = torch.zeros(len(photographs), len(CLASSES))
    if extra.any() and not extra.all():
        # One more of each count, so that none is impossible.
        log_prior = [
            (torch.bincount(photographs.labels[of], minlength=len(CLASSES)) + 1.0).log()
            for of in (extra, ~extra)
        ]
        of_extras, of_main = (values - values.logsumexp(0) for values in log_prior)
        shift[extra] = of_extras - of_main
    return shift


class TrainingBatches(Sampler):
    """This rank's batches of an epoch: shuffled by (seed, epoch), the same number for every rank.

    The remainder that does not fill one batch on every rank is left out of that epoch. ``fresh``: each epoch
    has ``length`` photographs of its own, those of the first before those of the second.
    """

    def __init__(self, length: int, batch_size: int, rank: int, world: int, seed: int, fresh: bool = False):
        if batch_size % world:
            raise DataError(f"batch_size {batch_size} cannot be shared by {world} processes evenly")
        if length < batch_size:
            raise DataError(f"{length} training photographs do not fill one batch of {batch_size}")
        self.length, self.batch, self.rank, self.world, self.seed = length, batch_size, rank, world, seed
        self.fresh, self.epoch, self.first = fresh, 0, 0

    def start(self, epoch: int, first_step: int) -> None:
        """Choose the epoch, and the step to begin it at when it was interrupted."""
        self.epoch, self.first = epoch, first_step

    def __len__(self) -> int:
        return self.length // self.batch

    def __iter__(self):
        order = torch.randperm(
            self.length, generator=torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        )
        if self.fresh:
            order += self.epoch * self.length
        for step in range(self.first, len(self)):
            yield order[step * self.batch : (step + 1) * self.batch][self.rank :: self.world].tolist()


def shard(length: int, rank: int, world: int, batch_size: int) -> list[list[int]]:
    """This rank's batches of an evaluation: together the ranks see each photograph exactly once."""
    mine = list(range(rank, length, world))
    return [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]


def loader(photographs: Photographs, batches, workers: int) -> DataLoader:
    """workers: processes that decode, where the photographs are not in memory already."""
    workers = workers if photographs.cache is None else 0
    return DataLoader(
        photographs,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_already_a_batch,
        worker_init_fn=_apart,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _already_a_batch(batch):
    return batch


def _apart(worker: int) -> None:
    """Leave the trainer's process group, all of which torchrun sends SIGTERM: the trainer ends its step, and
    needs its workers for that."""
    os.setpgid(0, 0)
