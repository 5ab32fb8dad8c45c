"""What the ledger keeps about the verification of a delivery, and what counts as one."""

from __future__ import annotations

from typing import Final

FIND_FAILED: Final = "C-FIND failed"
"""The peer offers to tell what it has, and then does not: part of the text of such a verification."""


def is_verified(text: str | None) -> bool:
    """Whether the peer was asked, as far as it can be: one without C-FIND never says more than its C-STORE status."""
    return bool(text) and FIND_FAILED not in str(text)
