"""Names by which the node recognises its own instances, and facts about the tags it reads."""

from __future__ import annotations

NODE_MANUFACTURER = "DICOM correction node project"
"""Manufacturer (0008,0070) in our Contributing Equipment item; any installation's output carries it."""

PRIVATE_GROUP = 0x0099
PRIVATE_CREATOR = "DICOM CORRECTION NODE"
"""Private creator of our block in `PRIVATE_GROUP`; its elements are listed in the conformance statement."""

LOCALIZER = "LOCALIZER"
"""Value 3 of Image Type in CT (PS3.3 C.8.2.1.1.1); some MR vendors use it too."""
