"""Connections that have not asked for an association yet, few enough that nobody can fill the node with silence."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from dicom_node.net.connection import Connection

MOST_PENDING: Final = 64
"""At once in each receiver process; a scanner asks within milliseconds."""


class Pending:
    """The newest stay: whoever has been silent the longest makes room for the next."""

    def __init__(self, most: int = MOST_PENDING) -> None:
        self._most = most
        self._waiting: OrderedDict[int, Connection] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, connection: Connection) -> bool:
        """Note a connection. Returns whether an older one had to go for it; its thread finds that its peer has left."""
        with self._lock:
            self._waiting[id(connection)] = connection
            if len(self._waiting) <= self._most:
                return False
            _, oldest = self._waiting.popitem(last=False)
        oldest.abandon()
        return True

    def remove(self, connection: Connection) -> None:
        """It has asked, or has gone."""
        with self._lock:
            self._waiting.pop(id(connection), None)
