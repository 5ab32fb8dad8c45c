"""How this node names its implementation to peers (PS3.7 D.3.3.2)."""

from __future__ import annotations

from typing import Final

from pydicom.uid import UID

IMPLEMENTATION_CLASS_UID: Final = UID("2.25.79844670788301760507879988414070381523")
"""Constant over versions, so that the same instance received twice is the same bytes on disk."""
IMPLEMENTATION_VERSION_NAME: Final = "DCM_CORRECT_1"
MAXIMUM_PDU: Final = 262_144
"""Largest P-DATA-TF that is offered to peers [bytes] (PS3.8 D.1)."""
