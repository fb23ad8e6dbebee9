"""The trials of a search: the trainer's own default, candidates drawn for the first round, and the second."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import COMPLETED, FULL, SUBSET, Row
from containers.train.hyperparameters import Hyperparameters as TrainersOwn

SHARE = 0.9  # of the second round's time that is planned: speeds are estimates
DEFAULT = 0  # number of the trial that is the trainer's default


@dataclass(frozen=True)
class Trial:
    """What one network is trained with. The same number in both rounds is the same choice."""

    number: int
    round: str  # SUBSET or FULL
    architecture: str
    pretrained: bool
    image_size: int
    batch_size: int
    learning_rate: float
    epochs: int
    photographs: int

    def row(self, status: str, **found) -> Row:
        """Its row of the leaderboard; ``found``: what the plan does not tell, or came otherwise."""
        nothing = {
            "validation_accuracy": None,
            "validation_log_loss": None,
            "photographs_per_second": None,
            "seconds": 0.0,
            "reason": "",
        }
        planned = asdict(self)
        return Row(trial=planned.pop("number"), status=status, **{**planned, **nothing, **found})


def first_round(hp: Hyperparameters, photographs: int) -> list[Trial]:
    """The trainer's default, then ``hp.trials`` random choices (Bergstra and Bengio, JMLR 13, 2012).

    Architectures take turns, so that a search that is cut short has seen as many of them as it could.
    ``photographs``: how many there are to train on; the same arguments give the same trials.
    """
    draw = random.Random(hp.seed)
    low, high = (math.log(rate) for rate in hp.learning_rates)
    own = TrainersOwn()
    common = {"round": SUBSET, "epochs": hp.subset_epochs, "photographs": subset_size(hp, photographs)}
    trials = [
        Trial(
            number=DEFAULT,
            architecture=own.architecture,
            pretrained=own.pretrained,
            image_size=own.image_size,
            batch_size=own.batch_size,
            learning_rate=own.learning_rate,
            **common,
        )
    ]
    for index in range(hp.trials):
        turn, place = divmod(index, len(hp.architectures))
        trials.append(
            Trial(
                number=index + 1,
                architecture=hp.architectures[place],
                pretrained=hp.pretrained == "yes" or (hp.pretrained == "both" and turn % 2 == 0),
                image_size=draw.choice(hp.image_sizes),
                batch_size=draw.choice(hp.batch_sizes),
                learning_rate=float(f"{math.exp(draw.uniform(low, high)):.2g}"),
                **common,
            )
        )
    return trials


def subset_size(hp: Hyperparameters, photographs: int) -> int:
    return min(hp.subset, photographs) if hp.subset else photographs


def second_round(
    hp: Hyperparameters, trials: Sequence[Trial], rows: Sequence[Row], photographs: int
) -> list[Trial]:
    """The best of the first round on all photographs, and the trainer's default to compare it with.

    The best comes first, so that a budget that ends early has spent what it had on it. Trials that were
    cut off are taken only where too few were completed.
    """
    scored = [row for row in rows if row.round == SUBSET and row.validation_accuracy is not None]
    ranked = sorted(
        (row for row in scored if row.trial != DEFAULT),
        key=lambda row: (row.status == COMPLETED, row.rank),
        reverse=True,
    )
    numbers = [row.trial for row in ranked[: hp.survivors]]
    numbers.insert(1, DEFAULT)
    chosen = {trial.number: trial for trial in trials}
    return [
        replace(chosen[number], round=FULL, epochs=hp.epochs, photographs=photographs) for number in numbers
    ]


def epochs_that_fit(trials: Sequence[Trial], rows: Sequence[Row], seconds: float, most: int) -> int:
    """Epochs, the same for every trial of the second round, that ``seconds`` are expected to allow.

    The first round's rows tell how fast each network trains, and what a trial costs beside that.
    """
    measured = {row.trial: row for row in rows if row.round == SUBSET and row.photographs_per_second}
    fixed = each = 0.0
    for trial in trials:
        if row := measured.get(trial.number):
            fixed += max(0.0, row.seconds - row.epochs * row.photographs / row.photographs_per_second)
            each += trial.photographs / row.photographs_per_second
    return min(most, max(1, int(SHARE * (seconds - fixed) / each))) if each else most
