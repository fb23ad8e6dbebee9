"""A window of training steps under torch.profiler: a trace to look at, and a table of its operators."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

WARM_UP = 5  # steps in which memory is allocated and kernels are chosen
TRACE = "trace.json.gz"  # Chrome's format: open it in chrome://tracing or ui.perfetto.dev
OPERATORS = 12


class Profiler:
    """Records ``steps`` steps after the warm-up, writes ``folder/trace.json.gz``, and is done."""

    def __init__(self, steps: int, folder: Path):
        self.operators: list[dict] = []
        self._folder = folder
        kinds = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(ProfilerActivity.CUDA)
        self._gpu = len(kinds) > 1
        self._profile = profile(
            activities=kinds,
            schedule=schedule(skip_first=WARM_UP - 1, wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._write,
        )
        self._profile.start()

    def step(self) -> None:
        """A training step has ended."""
        self._profile.step()

    def close(self) -> None:
        """Ends a window that the training did not fill."""
        self._profile.stop()

    def _write(self, done: profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        done.export_chrome_trace(str(self._folder / TRACE))
        own = "self_device_time_total" if self._gpu else "self_cpu_time_total"  # microseconds
        averages = [event for event in done.key_averages() if not event.key.startswith("ProfilerStep")]
        averages.sort(key=lambda event: getattr(event, own), reverse=True)
        total = sum(getattr(event, own) for event in averages)
        self.operators = [
            {
                "name": event.key,
                "calls": event.count,
                "milliseconds": getattr(event, own) / 1000,
                "share": getattr(event, own) / max(total, 1e-9),
            }
            for event in averages[:OPERATORS]
        ]
