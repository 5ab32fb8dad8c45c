"""The webhook: posts notices until each has been taken, from a thread that nothing else waits for."""

from __future__ import annotations

import contextvars
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Final

from dicom_node import logs
from dicom_node.database.engine import Database
from dicom_node.errors import NodeError
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.notices.book import NoticeBook

log = logs.get("notices.webhook")

_LOOK_S: Final = 1.0
_MOST_AT_ONCE: Final = 100
_RETRY: Final = RetryPolicy(backoff_s=2.0, max_backoff_s=300.0)
_ANSWER_BYTES: Final = 65536
_OF_THE_DOCUMENT: Final = (400, 413, 422)


class NotTakenError(Exception):
    """A POST that was not answered 2xx.

    Attributes:
        here: whether the fault lies with this document, so that others may be tried.
    """

    def __init__(self, why: str, *, here: bool) -> None:
        super().__init__(why)
        self.here = here


class Webhook:
    """Posts what the book holds unsent, oldest first; a notice that fails is tried again for ever."""

    def __init__(
        self, url: str, timeout_s: float, database: Database, book: NoticeBook, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing is sent before `start`.

        Args:
            url: where to; never logged, since such URLs hold secrets.
            timeout_s: longest wait for the connection and for each piece of the answer [s].
            database: the ledger.
            book: the notices in it.
            clock: UTC [s].
        """
        self._url = url
        self._timeout_s = timeout_s
        self._database = database
        self._book = book
        self._clock = clock
        self._opener = _opener()
        self._stop = threading.Event()
        work = partial(contextvars.copy_context().run, self._work)
        self._thread = threading.Thread(target=work, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is under way is given its time."""
        self._stop.set()
        self._thread.join(self._timeout_s)

    def send_all(self) -> bool:
        """Post everything unsent once; returns whether all of it was taken.

        Raises:
            NodeError: the ledger refused.
        """
        with self._database.read() as tx:
            unsent = self._book.unsent(tx, _MOST_AT_ONCE)
        all_taken = True
        for notice in unsent:
            if self._stop.is_set():
                return all_taken
            try:
                self._post(notice.document)
            except NotTakenError as problem:
                log.warning("notice_not_taken", reason=str(problem), waiting=len(unsent))
                all_taken = False
                if not problem.here:
                    break
                continue
            with self._database.begin() as tx:
                self._book.taken(tx, notice.document, self._clock())
        return all_taken

    def _work(self) -> None:
        failures = 0
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            try:
                failures = 0 if self.send_all() else failures + 1
            except NodeError as problem:
                failures += 1
                log.warning("notices_not_read", code=problem.code)
            pause_s = _RETRY.backoff(failures) if failures else _LOOK_S

    def _post(self, document: str) -> None:
        try:
            request = urllib.request.Request(  # noqa: S310  the configuration takes http and https only
                self._url,
                data=document.encode("ascii"),
                headers={"Content-Type": "application/json", "User-Agent": "dicom-node"},
                method="POST",
            )
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(_ANSWER_BYTES)
        except urllib.error.HTTPError as problem:
            problem.close()
            raise NotTakenError(f"HTTP status {problem.code}", here=problem.code in _OF_THE_DOCUMENT) from None
        except (OSError, http.client.HTTPException, ValueError) as problem:
            reason = problem.reason if isinstance(problem, urllib.error.URLError) else problem
            raise NotTakenError(
                type(reason).__name__ if isinstance(reason, Exception) else "URLError", here=False
            ) from None


def _opener() -> urllib.request.OpenerDirector:
    """Speaks HTTP and HTTPS with verified certificates, through the environment's proxy; follows no redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener
