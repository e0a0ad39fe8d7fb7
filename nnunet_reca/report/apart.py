"""A function in a process of its own, which takes with it what it imports and allocates."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")


def apart(function: Callable[..., T], *arguments: object) -> T:
    """``function(*arguments)``, computed in a new process that ends with it; all of it must be picklable.

    Raises:
        ValueError: if the process is killed.
        Exception: whatever the function raises.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise ValueError("a process that reads the models was killed, or memory is short; try again") from error
