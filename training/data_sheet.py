"""Where training images lie: folders, files and ZIPs, or a sheet (YAML) that says more about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.errors import RequestError

_SHEETS = (".yaml", ".yml")


class DataFolder(BaseModel):
    """One place with images.

    Attributes:
        path: folder, file or ZIP; in a sheet relative to the sheet.
        patient_is: `header` trusts Patient ID; `series` takes each series for a patient of its own, where a data set
            was published with one ID for everybody.
        weight: how often its images are drawn.
        attribution: whom the licence of the images asks to be named; goes into model cards.
        part: puts all its patients into one part of the split; drawn by the recipe's shares when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    patient_is: Literal["header", "series"] = "header"
    weight: float = Field(default=1.0, gt=0)
    attribution: str = ""
    part: Literal["training", "validation", "test"] | None = None


class _Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    folders: tuple[DataFolder, ...] = Field(min_length=1)


def data_folders(inputs: Sequence[Path]) -> tuple[DataFolder, ...]:
    """Folders named on a command line, sheets among them opened.

    Raises:
        RequestError: something does not exist, or a sheet is wrong; names it.
    """
    folders: list[DataFolder] = []
    for path in inputs:
        if path.suffix.lower() in _SHEETS and not path.is_dir():
            folders.extend(_read_sheet(path))
        else:
            folders.append(DataFolder(path=path))
    for folder in folders:
        if not folder.path.exists():
            raise RequestError(f"{folder.path}: no such file or folder")
    return tuple(folders)


def _read_sheet(path: Path) -> list[DataFolder]:
    try:
        sheet = _Sheet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read: {type(error).__name__}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise RequestError(f"{path}: not valid YAML") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise RequestError(f"{path}: {told}") from None
    return [folder.model_copy(update={"path": path.parent / folder.path}) for folder in sheet.folders]
