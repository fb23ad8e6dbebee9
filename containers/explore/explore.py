"""The exploration: photographs in, ``leaderboard.csv`` and ``recipe.json`` out.

Entry point of the image, under SageMaker's contract for training jobs: channels ``train``, ``validation``
and ``manifest``, hyperparameters as in ``hyperparameters.py``. On SIGTERM the trial that runs is given up,
and what was found before stays. With checkpoints of an earlier run the search goes on after its trials.
"""

import contextlib
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from containers.common import job, manifest, paths
from containers.common.errors import BinTallyError, SettingsError
from containers.common.files import write_whole
from containers.explore import hyperparameters, leaderboard, machine, photographs
from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import Row
from containers.explore.runner import Runner
from containers.explore.search import Data, Search

STATE = "search.json"  # beside the leaderboard in checkpoints: what its rows are trials of


def explore(hp: Hyperparameters, stop: job.Stop, began: float) -> None:
    """``began``: ``time.monotonic()`` at the job's start. Raises BinTallyError; OSError for a full disk."""
    channels = {name: photographs.listed(paths.channel(name)) for name in ("train", "validation")}
    rows = manifest.read(paths.channel("manifest") / manifest.FILE)
    data = Data(len(channels["train"]), len(channels["validation"]), manifest.fingerprint(rows))
    found = earlier(hp, data)
    hub = machine.hub_environment()
    listed = len(hp.architectures)
    searched = f"{hp.trials} of {listed}" if hp.trials < listed else listed
    print(
        f"{hp.profile} search of {searched} architectures: {data.train} photographs to train "
        f"on, {data.validation} to validate, {hp.budget.value:.0f} s on {machine.device()}",
        flush=True,
    )
    if finished := sum(row.done for row in found):
        print(f"resumed after {finished} finished trial(s)", flush=True)
    if hub:
        print(
            "no model hub answers: architectures whose ImageNet weights are neither installed nor cached "
            "are searched from scratch",
            flush=True,
        )

    def stopped() -> bool:
        return stop.asked

    with tempfile.TemporaryDirectory(prefix="explore-") as scratch:
        Search(
            hp,
            data,
            found,
            folders=[paths.checkpoints(), paths.model()],  # a job that fails leaves no model
            run_trial=Runner(hp.seed, hub, stopped, Path(scratch)),
            stopped=stopped,
            precision=machine.precision(),
            began=began,
        ).run()
    if stop.asked:
        print("stopped by SIGTERM; with the same checkpoints the search goes on from here", flush=True)


def earlier(hp: Hyperparameters, data: Data) -> list[Row]:
    """The rows of an earlier run of the same search; raises SettingsError for those of another one."""
    folder = paths.checkpoints()
    folder.mkdir(parents=True, exist_ok=True)
    # Another budget goes on with the same search: it only goes further.
    search = json.loads(json.dumps({**asdict(hp), "budget": None, "data": data.fingerprint}))
    state = folder / STATE
    if not state.exists():
        write_whole(state, json.dumps(search))
        return []
    before = json.loads(state.read_text())
    if different := sorted(name for name in search if search[name] != before.get(name)):
        raise SettingsError(
            f"the checkpoints are of a search with another {', '.join(different)}: use its own, or others"
        )
    board = folder / leaderboard.FILE
    return leaderboard.read(board) if board.exists() else []


def main() -> int:
    began = time.monotonic()
    stop = job.Stop()
    signal.signal(signal.SIGTERM, stop.ask)
    try:
        config = paths.base() / "input" / "config" / "hyperparameters.json"
        given = json.loads(config.read_text()) if config.exists() else {}
        explore(hyperparameters.parse(given), stop, began)
    except (BinTallyError, OSError) as error:
        with contextlib.suppress(OSError):  # a full disk has no room for the failure file, either
            job.failed(error, f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
