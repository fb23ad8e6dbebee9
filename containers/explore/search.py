"""The search: two rounds of trials within a budget, kept after every one of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from containers.common.errors import BinTallyError
from containers.common.recipe import FILE as RECIPE
from containers.explore import leaderboard, recipe, space
from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import FULL, NOT_TRIED, SUBSET, Row
from containers.explore.space import Trial

RESERVE = 5.0  # seconds at the end of the budget, to pack up in
LEAST = 10.0  # seconds of a trial that is worth starting
PARTS = 3  # of the first round's time: one for each of its candidates at most, a slower one is hopeless


class NothingFound(BinTallyError):
    """Not one trial was scored."""


@dataclass(frozen=True)
class Data:
    """How many photographs there are to train and to validate on, and the manifest's fingerprint."""

    train: int
    validation: int
    fingerprint: str


class Search:
    """``run`` tries what ``space`` proposes. What a resumed search finds done is not tried again."""

    def __init__(
        self,
        hp: Hyperparameters,
        data: Data,
        rows: list[Row],
        folders: list[Path],
        run_trial: Callable[[Trial, float], Row],
        stopped: Callable[[], bool],
        precision: str,
        began: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        """``folders``: where leaderboard and recipe are written; ``began``: ``clock`` at the job's start."""
        self.rows = [row for row in rows if row.status != NOT_TRIED]
        self._hp, self._data, self._folders, self._precision = hp, data, folders, precision
        self._run_trial, self._stopped = run_trial, stopped
        self._clock, self._began = clock, began

    def run(self) -> None:
        """Raises NothingFound when it ends without a single score; everything else is in the rows."""
        first = space.first_round(self._hp, self._data.train)
        self._round(first, self._hp.first_share * self._hp.budget.value, whole=False)
        second = space.second_round(self._hp, first, self.rows, self._data.train)
        epochs = next((row.epochs for row in self.rows if row.round == FULL), 0) or space.epochs_that_fit(
            second, self.rows, self._left(), self._hp.epochs
        )
        second = [replace(trial, epochs=epochs) for trial in second]
        self._round(second, self._hp.budget.value - RESERVE, whole=True)
        when = "before the job was stopped" if self._stopped() else f"within {self._hp.budget.value:.0f} s"
        untried = self._untried(first)
        self.rows += untried
        self._keep()
        if untried:
            names = ", ".join(f"trial {row.trial} ({row.architecture})" for row in untried)
            self._say(f"not tried {when}: {names}")
        if recipe.winner(self.rows) is None:
            reasons = [row.reason for row in self.rows if row.reason] or ["there was no time for one"]
            raise NothingFound(f"no trial was scored {when}; the last one says: {reasons[-1]}")
        self._say(recipe.verdict(self.rows, self._data.validation))

    def _round(self, trials: list[Trial], until: float, whole: bool) -> None:
        """Trials in turn while less than ``until`` seconds of the budget are used.

        ``whole``: whether one may take all of what is left, or a candidate one of PARTS of the round.
        """
        done = {(row.trial, row.round) for row in self.rows if row.done}
        for trial in trials:
            if (trial.number, trial.round) in done:
                continue
            most = self._left() if whole or trial.number == space.DEFAULT else until / PARTS
            seconds = min(self._left(), most)
            if self._stopped() or self._clock() - self._began >= until or seconds < LEAST:
                break
            self._try(trial, seconds)

    def _untried(self, candidates: list[Trial]) -> list[Row]:
        """A row for each candidate of the first round that has none."""
        tried = {row.trial for row in self.rows if row.round == SUBSET}
        untried = [trial for trial in candidates if trial.number not in tried]
        return [trial.row(NOT_TRIED, epochs=0, photographs=0) for trial in untried]

    def _left(self) -> float:
        return self._began + self._hp.budget.value - RESERVE - self._clock()

    def _try(self, trial: Trial, seconds: float) -> None:
        self._say(
            f"trial={trial.number} round={trial.round} architecture={trial.architecture} "
            f"pretrained={str(trial.pretrained).lower()} image_size={trial.image_size} "
            f"batch_size={trial.batch_size} learning_rate={trial.learning_rate:g} epochs={trial.epochs} "
            f"photographs={trial.photographs} starts; {self._left():.0f} s left"
        )
        row = self._run_trial(trial, seconds)
        before = [old for old in self.rows if (old.trial, old.round) == (row.trial, row.round)]
        # A score that an earlier run found is worth more than a retry without one.
        if row.validation_accuracy is not None or leaderboard.best(before) is None:
            self.rows = [old for old in self.rows if old not in before] + [row]
        self._keep()
        scores = ""
        if row.validation_accuracy is not None:
            scores = (
                f" validation_accuracy={row.validation_accuracy:.4f}"
                f" validation_log_loss={row.validation_log_loss:.4f}"
            )
        best = recipe.winner(self.rows)
        if best and best.round == row.round:
            scores += f" best_validation_accuracy={best.validation_accuracy:.4f} best_trial={best.trial}"
        self._say(
            f"trial={row.trial} round={row.round} status={row.status.replace(' ', '_')}{scores} "
            f"seconds={row.seconds:.0f}" + (f" reason: {row.reason}" if row.reason else "")
        )

    def _keep(self) -> None:
        scored = recipe.winner(self.rows) is not None
        for folder in self._folders:
            leaderboard.write(folder / leaderboard.FILE, self.rows)
            if scored:
                recipe.write(folder / RECIPE, self._recipe())

    def _recipe(self) -> dict:
        data = self._data
        return recipe.document(self.rows, self._hp, data.fingerprint, data.validation, self._precision)

    @staticmethod
    def _say(text: str) -> None:
        print(text, flush=True)
