"""Sessions that search and write while a test does something beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

Database = psycopg.Connection[Any]


@contextmanager
def busy_sessions(dsn: str, works: Sequence[Callable[[Database], None]]) -> Iterator[list[BaseException]]:
    """One session for each work, which it does over and over until the end; yields what fails, as it does."""
    failures: list[BaseException] = []
    done = threading.Event()

    def repeat(work: Callable[[Database], None]) -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as own:
                while not done.is_set():
                    work(own)
        except BaseException as error:  # shown by the test
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        done.set()
        for thread in threads:
            thread.join()
