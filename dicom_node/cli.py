"""`dicom-node`: the command line. Exit 0: done. 1: the work failed. 2: the request was wrong."""

from __future__ import annotations

import json
import sys

from dicom_node import logs
from dicom_node.errors import NodeError, RequestError


def main() -> None:
    """Entry point: errors of the node become a message and an exit status, never a traceback."""
    # Spawned processes import this module again; the commands, and all they import, are not for them.
    from dicom_node.commands.application import app

    logs.configure(level="warning")
    try:
        app()
    except NodeError as error:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": str(error), "code": error.code}, indent=1) + "\n")
        sys.stderr.write(f"dicom-node: {error}\n")
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
