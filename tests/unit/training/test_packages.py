"""Weights packages that training leaves: the host takes them, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from correctors.hipct.inpainting import Conventions, Inpainting
from correctors.hipct.network import SinogramCnn
from correctors.hipct.working_grid import WorkingGrid
from dicom_node.contracts import WeightsRef
from dicom_node.errors import WeightsError
from dicom_node.plugins.weights import verify
from training.anatomy import Anatomy, Split
from training.package import CardEvaluation, Trained, write_package
from training.recipe import read_recipe
from training.unseen import unseen

RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "hipct" / "paper-compact.yaml"
STANDARD = tuple(float(q) for q in range(900, 1090, 10))


def anatomy(kind: str) -> Anatomy:
    """A test patient."""
    return Anatomy(kind, f"series of {kind}", kind, {"frames": np.zeros((2, 2, 2), np.int16)})  # type: ignore[arg-type]


def trained(width: int = 3) -> Trained:
    """A network that was never trained, as if it had been."""
    recipe = read_recipe(RECIPE)
    recipe = recipe.model_copy(
        update={"network": recipe.network.model_copy(update={"arguments": {"width": width, "kernel": [3, 5]}})}
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = SinogramCnn(width=width, kernel=(3, 5))
    conventions = Conventions(WorkingGrid(4.0, 80), 4.0, STANDARD, "trace").as_mapping()
    return Trained(
        recipe=recipe,
        tensors=network.state_dict(),
        conventions=conventions,
        split=Split((), (), (anatomy("real"), anatomy("procedural"))),
        step=10,
        steps_done=20,
        minutes=1.5,
        device="cpu",
        figures={"psnr_trace_only_db": 36.5},
        test_figures={"psnr_trace_only_db": 35.25},
        commit="abc",
    )


EVALUATION = CardEvaluation("dicom-node evaluate hipct", "| method | PSNR |", {"paper": {"psnr_db": 38.0}})


def reference(folder: Path, sha256: str) -> WeightsRef:
    """The package as a spec would name it."""
    return WeightsRef(package="", directory=str(folder), sha256=sha256)


def test_the_host_takes_the_package_and_the_corrector_loads_it(tmp_path: Path) -> None:
    sha256 = write_package(tmp_path, trained(), EVALUATION)
    package = verify(reference(tmp_path, sha256))
    assert package.description["architecture"]["name"] == "SinogramCnn"
    assert package.description["metrics"]["test"] == {"paper": {"psnr_db": 38.0}}
    assert isinstance(Inpainting.load(tmp_path, "cpu"), Inpainting)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["layers.0.weight"].dtype == torch.float16
    assert torch.equal(stored["layers.0.weight"], trained().tensors["layers.0.weight"].half())


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_package(tmp_path / name, trained(), EVALUATION)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_card_tells_how_it_was_trained_and_how_to_print_its_figures_again(tmp_path: Path) -> None:
    write_package(tmp_path, trained(), EVALUATION)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    said = ("20 of ", "stopped before its end", "on cpu", "of step 10", "abc", "| method | PSNR |", "35.25", "--trial")
    for words in (*said, "dicom-node evaluate hipct", "--resume", "12 cases of 1 real and 0 procedural"):
        assert words in card, words
    write_package(tmp_path, trained(), None)
    assert "No evaluation was run" in (tmp_path / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["architecture"].update(name="UNet"), "the architecture is 'UNet'"),
        (lambda d: d["architecture"]["arguments"].update(width=4), "do not fit SinogramCnn"),
        (lambda d: d["architecture"]["arguments"].update(depth=4), "do not fit SinogramCnn"),
        (lambda d: d["inputs"].pop("scale"), "does not say what its sinograms are"),
        (lambda d: d["inputs"].update(replaced="some"), "have no meaning"),
        (lambda d: d.pop("inputs"), "does not describe a network"),
    ],
)
def test_a_package_of_another_architecture_is_refused(change, told: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_package(tmp_path, trained(), None)
    path = tmp_path / "model.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(WeightsError, match=told):
        Inpainting.load(tmp_path, "cpu")


def test_an_altered_file_is_refused_by_the_host(tmp_path: Path) -> None:
    sha256 = write_package(tmp_path, trained(), None)
    card = tmp_path / "MODEL_CARD.md"
    card.write_text(card.read_text() + "better than all others\n")
    with pytest.raises(WeightsError, match=r"MODEL_CARD\.md was altered"):
        verify(reference(tmp_path, sha256))


def test_what_lists_no_series_tells_nothing_of_the_unseen(tmp_path: Path) -> None:
    from training.cases import Patients

    (tmp_path / "model.yaml").write_text("training_data: 3\n")
    with pytest.raises(WeightsError, match="does not list the series"):
        unseen(Patients((), ()), tmp_path)
