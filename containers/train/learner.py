"""One of the networks that a training makes from the same start, and what moves its weights."""

import math

import torch
from timm.utils import ModelEmaV3

from containers.train.hyperparameters import Hyperparameters
from containers.train.network import Counter, classifiers


class Learner:
    """Optimizer, schedule and moving average of ``counter``'s network; ``best`` is its average when it was
    best on validation by calibrated loss."""

    def __init__(self, counter: Counter, hp: Hyperparameters, steps: int, epochs: int):
        """It learns for ``epochs`` of ``steps`` each."""
        self._network = counter.network
        self.averaged = ModelEmaV3(counter.network, decay=hp.ema_decay, use_warmup=True)
        self.best = self.averaged.module.state_dict()
        self._optimizer = torch.optim.AdamW(parameter_groups(counter, hp), lr=hp.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, warmup_cosine(hp, steps, epochs))

    @property
    def learning_rate(self) -> float:
        return self._schedule.get_last_lr()[0]

    def zero_grad(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, number: int) -> None:
        """Follow the gradients; ``number`` counts this network's steps from 0."""
        self._optimizer.step()
        self._schedule.step()
        self.averaged.update(self._network, step=number)

    def keep(self) -> None:
        """The average is the best so far."""
        self.best = copied(self.averaged.module)

    def state_dict(self) -> dict:
        return {
            "network": self._network.state_dict(),
            "averaged": self.averaged.module.state_dict(),
            "best": self.best,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        self._network.load_state_dict(state["network"])
        self.averaged.module.load_state_dict(state["averaged"])
        self.best = state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights as they are now."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def parameter_groups(counter: Counter, hp: Hyperparameters) -> list[dict]:
    """Weight decay on matrices and kernels, none on biases and normalisation; the head at its own rate."""
    head = {id(p) for classifier in classifiers(counter.network) for p in classifier.parameters()}
    groups: dict[tuple[float, float], list] = {}
    for p in counter.parameters():
        if p.requires_grad:
            rate = hp.learning_rate * (hp.head_learning_rate if id(p) in head else 1)
            groups.setdefault((rate, hp.weight_decay if p.ndim > 1 else 0.0), []).append(p)
    return [{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in groups.items()]


def warmup_cosine(hp: Hyperparameters, steps_per_epoch: int, epochs: int):
    """Linear warm-up, then a cosine to zero at the last step or, with ``hp.decay`` above 1, beyond it."""
    warmup, last = hp.warmup_epochs * steps_per_epoch, hp.decay * epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, last - warmup))))

    return factor
