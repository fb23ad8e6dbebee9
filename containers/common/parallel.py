"""Work in processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, chunk: int = 16
) -> Iterator[Result]:
    """``work`` on every item, in order; both it and the items must be picklable.

    Processes are spawned: a fork would copy the caller's threads (a progress bar's) in whatever
    state they are. Ctrl-C is the caller's alone to handle, so that it is reported once.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield from pool.map(work, items, chunksize=chunk)
    finally:
        pool.shutdown(cancel_futures=True)
