"""What the receiver accepts: every storage class, also private and unknown ones, in syntaxes the node can decode.

Private and not yet standardised storage classes are kept as well: a scanner that sends one object that nobody here
understands must not lose the rest of its study. What cannot be read later lands in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext

from dicom_node.dicom.transfer_syntaxes import DECODABLE

LAST_RESORT: Final = (ExplicitVRBigEndian, ImplicitVRLittleEndian)
"""Taken only when nothing else is proposed: implicit VR loses the VR of private elements (PS3.5 A.1)."""
VERIFICATION: Final = "1.2.840.10008.1.1"
_STANDARD_ROOT: Final = "1.2.840.10008."
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_KNOWN: Final = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def is_storage(abstract_syntax: str) -> bool:
    """Whether an abstract syntax is, or must be taken for, a storage SOP class (PS3.4 B.5, PS3.6 A).

    Known classes, everything under the storage root that the dictionary does not call otherwise (retired and future
    ones), and every private UID.
    """
    if abstract_syntax in _KNOWN or not abstract_syntax.startswith(_STANDARD_ROOT):
        return True
    name = UID(abstract_syntax).name
    return abstract_syntax.startswith(_STORAGE_ROOT) and (name == abstract_syntax or "Storage" in name)


def supported_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """The acceptor's contexts for one association request.

    Each storage class gets the proposed syntaxes that can be decoded, in the proposer's own order (so that it need
    not transcode), last resorts last. What is left out is rejected by the negotiation (PS3.8 9.3.3.2).

    Args:
        proposed: contexts of the A-ASSOCIATE-RQ; several may share an abstract syntax.
    """
    wanted: dict[str, list[UID]] = {}
    for context in proposed:
        name = str(context.abstract_syntax)
        if name == VERIFICATION or is_storage(name):
            wanted.setdefault(name, []).extend(s for s in context.transfer_syntax if s in DECODABLE)
    return [
        build_context(name, sorted(dict.fromkeys(syntaxes), key=_is_last_resort))
        for name, syntaxes in wanted.items()
        if syntaxes
    ]


def _is_last_resort(syntax: str) -> bool:
    return syntax in LAST_RESORT
