"""A network's logits, loss, accuracy and temperature on a whole split, computed by all ranks together."""

import torch
from torch.nn import functional

from containers.common import metrics
from containers.train import data, network
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters


def autocast(hp: Hyperparameters, peers: World) -> torch.autocast:
    """A context in which a network computes in ``hp.precision``."""
    return torch.autocast(peers.device.type, torch.bfloat16, enabled=hp.precision == "bf16")


@torch.no_grad()
def predict(
    weights: torch.nn.Module, photographs: data.Photographs, hp: Hyperparameters, peers: World
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a whole split in the order of its photographs, the same on every rank and for any
    number of ranks: each photograph is computed once, by one rank, and nothing is padded.

    Returns: (float32 ``[n, classes]``, int64 ``[n]``) on the CPU.
    """
    counter = network.Counter(weights, mirror=hp.mirror).to(peers.device).eval()
    rows = []
    for indices in data.shard(len(photographs), peers.rank, peers.size, hp.batch_size):
        images, _ = photographs.__getitems__(indices)
        rows.append((indices, counter.logits(images.to(peers.device)).float().cpu()))
    logits = torch.empty(len(photographs), len(network.CLASSES))
    for rank_rows in peers.gather(rows):
        for indices, values in rank_rows:
            logits[indices] = values
    return logits, photographs.labels


def evaluate(
    weights: torch.nn.Module, photographs: data.Photographs, hp: Hyperparameters, peers: World
) -> dict:
    """Accuracy on a split in ``hp.precision``, loss before and after calibration (``fit_temperature``), and
    how many photographs were given which count; see ``predict``."""
    with autocast(hp, peers):
        logits, labels = predict(weights, photographs, hp, peers)
    counted = logits.argmax(1)
    return {
        "loss": functional.cross_entropy(logits, labels).item(),
        "calibrated_loss": functional.cross_entropy(logits / fit_temperature(logits, labels), labels).item(),
        "accuracy": metrics.accuracy(counted.numpy(), labels.numpy()),
        "counted": torch.bincount(counted, minlength=len(network.CLASSES)).tolist(),
    }


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """One temperature that minimises the log loss (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"). float ``[n, classes]``, int ``[n]`` -> positive float."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], lr=0.1, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits.detach() / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.exp().detach().clamp(0.05, 20))
