"""`dicom-node`: the command line. Exit 0: done. 1: the work failed. 2: the request was wrong."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

from dicom_node import logs
from dicom_node.errors import NodeError, RequestError

_USAGE = 2
"""Exit status of the argument parser for wrong arguments; also that of a `RequestError`."""


def main() -> None:
    """Entry point: errors of the node become a message and an exit status, never a traceback."""
    # Spawned processes import this module again; the commands, and all they import, are not for them.
    logs.configure(level="warning")
    logs.catch_strays()
    logs.forbid_core_dumps()
    try:
        from dicom_node.commands.application import app

        app()
    except NodeError as error:
        _fail(str(error), error.code, _USAGE if isinstance(error, RequestError) else 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; Python flushes later
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  a traceback would print the exception's text, which may quote headers
        _fail(f"the node itself failed: {logs.place(error)}; please report this", type(error).__name__, 1)
    except SystemExit as end:
        if end.code == _USAGE and "--json" in sys.argv:  # the parser has told stderr what is wrong
            _document("wrong arguments; stderr says which", "UsageError")
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str, code: str, status: int) -> NoReturn:
    if "--json" in sys.argv:
        _document(message, code)
    sys.stderr.write(f"dicom-node: {message}\n".encode(errors="replace").decode())
    sys.exit(status)


def _document(message: str, code: str) -> None:
    sys.stdout.write(json.dumps({"error": message, "code": code}, indent=1) + "\n")


if __name__ == "__main__":
    main()
