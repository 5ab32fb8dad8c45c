"""Names by which the node makes itself known and recognises its own instances, and facts about the tags it reads."""

from __future__ import annotations

from typing import Final

from pydicom.uid import UID

IMPLEMENTATION_CLASS_UID: Final = UID("2.25.79844670788301760507879988414070381523")
"""In files (0002,0012) and on the network (PS3.7 D.3.3.2); constant over versions, so that the same instance received
twice is the same bytes on disk."""
IMPLEMENTATION_VERSION_NAME: Final = "DCM_CORRECT_1"
"""In files (0002,0013) and on the network."""

NODE_MANUFACTURER = "DICOM correction node project"
"""Manufacturer (0008,0070) in our Contributing Equipment item; any installation's output carries it."""

PRIVATE_GROUP = 0x0099
PRIVATE_CREATOR = "DICOM CORRECTION NODE"
"""Private creator of our block in `PRIVATE_GROUP`; its elements are listed in the conformance statement."""

LOCALIZER = "LOCALIZER"
"""Value 3 of Image Type in CT (PS3.3 C.8.2.1.1.1); some MR vendors use it too."""
