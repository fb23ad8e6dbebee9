"""Runs one trial in a process of its own, for as long as it may take."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from containers.common import paths
from containers.explore.leaderboard import COMPLETED, CUT_OFF, FAILED, STOPPED, Row
from containers.explore.space import Trial

SCORING = (0.2, 60.0)  # of a trial's time, kept to score it once its training is cut off: share, most seconds
POLL_SECONDS = 0.2


class Runner:
    """``runner(trial, seconds)``; what trials print is kept below ``output/data``."""

    def __init__(self, seed: int, environment: dict[str, str], stopped: Callable[[], bool], scratch: Path):
        """``stopped`` is asked all the time; ``scratch`` is for networks, which are not kept."""
        self._seed, self._environment, self._stopped, self._scratch = seed, environment, stopped, scratch

    def __call__(self, trial: Trial, seconds: float) -> Row:
        """Never raises for anything that the trial does; takes ``seconds`` at most."""
        name = f"{trial.number}-{trial.round}"
        folder = self._scratch / name
        folder.mkdir(parents=True)
        until = time.time() + seconds - min(SCORING[0] * seconds, SCORING[1])
        request = {"trial": asdict(trial), "seed": self._seed, "train_until": until}
        (folder / "trial.json").write_text(json.dumps(request))
        log = paths.output() / "data" / f"trial-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "containers.explore.trial", str(folder)],
                env={**os.environ, **self._environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its decoding processes end with it
            )
            killed = self._watch(process, began + seconds)
        result = _read(folder / "result.json")
        shutil.rmtree(folder, ignore_errors=True)
        status, reason = _outcome(result, killed, process.returncode, seconds)
        return trial.row(
            status,
            validation_accuracy=_rounded(result.get("accuracy"), 4),
            validation_log_loss=_rounded(result.get("log_loss"), 4),
            pretrained=result.get("pretrained", trial.pretrained),
            photographs_per_second=_rounded(result.get("photographs_per_second"), 1),
            seconds=round(time.monotonic() - began, 1),
            reason=reason,
        )

    def _watch(self, process: subprocess.Popen, deadline: float) -> str:
        """Wait for the process; why it had to be killed, if it had to."""
        killed = ""
        while process.poll() is None and not killed:
            if self._stopped():
                killed = STOPPED
            elif time.monotonic() > deadline:
                killed = CUT_OFF
            else:
                time.sleep(POLL_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what a process that has ended left behind
        process.wait()
        return killed


def _outcome(result: dict, killed: str, code: int, seconds: float) -> tuple[str, str]:
    """(status, reason) of a trial that left ``result``."""
    if "accuracy" in result:
        if result["finished"]:
            return COMPLETED, result["reason"]
        reasons = [f"its {seconds:.0f} s were over before its last epoch", result["reason"]]
        return CUT_OFF, "; ".join(filter(None, reasons))
    if killed == STOPPED:
        return STOPPED, "the job was told to stop"
    if killed == CUT_OFF:
        return CUT_OFF, f"its {seconds:.0f} s were over before it could be scored"
    if "reason" in result:
        return FAILED, result["reason"]
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return FAILED, f"its process ended {how}" + (" (out of memory?)" if code == -signal.SIGKILL else "")


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
