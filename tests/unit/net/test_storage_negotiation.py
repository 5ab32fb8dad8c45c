from __future__ import annotations

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)
from pynetdicom import build_context

from dicom_node.dicom.transfer_syntaxes import DECODABLE
from dicom_node.net.storage_classes import is_storage, supported_contexts

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("syntax", [s for s in DECODABLE if s.is_encapsulated])
def test_every_accepted_compressed_syntax_can_be_decoded(syntax: UID) -> None:
    assert get_decoder(syntax).is_available


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (CT, True),
        ("1.2.840.10008.5.1.4.1.1.66.4", True),
        ("1.2.840.10008.5.1.4.1.1.3", True),
        ("1.2.840.10008.5.1.4.1.1.999.1", True),
        ("1.3.12.2.1107.5.9.1", True),
        ("1.2.840.10008.5.1.4.34.7", True),
        ("1.2.840.10008.5.1.4.1.2.2.1", False),
        ("1.2.840.10008.5.1.4.1.1.200.4", False),
        ("1.2.840.10008.1.20.1", False),
        ("1.2.840.10008.5.1.4.31", False),
    ],
    ids=["CT", "SEG", "retired", "future", "private", "RT", "find", "protocol find", "commitment", "worklist"],
)
def test_what_counts_as_storage(uid: str, expected: bool) -> None:
    assert is_storage(uid) is expected


def test_senders_order_is_kept_but_implicit_is_the_last_resort() -> None:
    proposed = [build_context(CT, [ImplicitVRLittleEndian, JPEGLosslessSV1, MPEG2MPML, ExplicitVRLittleEndian])]
    [context] = supported_contexts(proposed)
    assert context.transfer_syntax == [JPEGLosslessSV1, ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def test_class_proposed_in_several_contexts_keeps_all_their_syntaxes() -> None:
    proposed = [build_context(CT, s) for s in (JPEGLosslessSV1, DeflatedExplicitVRLittleEndian)]
    [context] = supported_contexts(proposed)
    assert set(context.transfer_syntax) == {JPEGLosslessSV1, DeflatedExplicitVRLittleEndian}


def test_nothing_is_offered_for_what_cannot_be_decoded() -> None:
    assert supported_contexts([build_context(CT, MPEG2MPML)]) == []
