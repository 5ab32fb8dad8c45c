"""Sparse system matrices that store one octant of rays and serve the whole sinogram."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from simulation import ray_symmetry


@dataclass(frozen=True, eq=False)
class CompressedRows:
    """A sparse matrix in compressed-row form.

    Attributes:
        starts: int32 (rows + 1,), where each row begins.
        columns: int32 (non-zeros,).
        values: float32 (non-zeros,).
        shape: (rows, columns).
    """

    starts: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    shape: tuple[int, int]

    def transposed(self) -> CompressedRows:
        """Return the transpose, again in compressed-row form."""
        csr = sparse.csr_matrix((self.values, self.columns, self.starts), shape=self.shape)
        flipped = csr.T.tocsr()
        return CompressedRows(flipped.indptr, flipped.indices, flipped.data, (self.shape[1], self.shape[0]))

    def to_torch(self, device: torch.device) -> Tensor:
        """Return a torch CSR tensor on `device`; on the CPU it shares the memory of these arrays."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.from_numpy(self.starts).to(device),
                torch.from_numpy(self.columns).to(device),
                torch.from_numpy(self.values).to(device),
                size=self.shape,
                check_invariants=False,
            )


class RowsBuilder:
    """Collects blocks of rows in place, so that building needs no second copy of a large matrix."""

    def __init__(self, rows: int, columns: int, *, largest: int) -> None:
        """Reserve room.

        Args:
            rows: rows of the matrix.
            columns: columns of the matrix.
            largest: upper bound of the non-zeros; memory beyond the true number is reserved but never touched.
        """
        self._shape = (rows, columns)
        self._columns = np.empty(largest, np.int32)
        self._values = np.empty(largest, np.float32)
        self._starts = np.zeros(rows + 1, np.int32)
        self._row = 0
        self._filled = 0

    def append(self, columns: NDArray[np.int32], values: NDArray[np.float32], keep: NDArray[np.bool_]) -> None:
        """Append rows: arrays (..., candidates, 2) whose last two axes hold one row, of which `keep` are stored."""
        counts = keep.sum(axis=(-1, -2)).reshape(-1)
        end = self._filled + int(counts.sum())
        self._columns[self._filled : end] = columns[keep]
        self._values[self._filled : end] = values[keep]
        np.cumsum(counts, out=self._starts[self._row + 1 : self._row + 1 + len(counts)])
        self._starts[self._row + 1 : self._row + 1 + len(counts)] += self._filled
        self._row, self._filled = self._row + len(counts), end

    def finish(self) -> CompressedRows:
        """Return the matrix."""
        return CompressedRows(self._starts, self._columns[: self._filled], self._values[: self._filled], self._shape)


class SymmetricRayMatrix:
    """A linear map from square images to sinograms, and its exact transpose.

    Holds the octant's rows by image columns (forward) or its transpose (adjoint); whichever is missing is made from
    the other when first asked for.
    """

    def __init__(
        self,
        octant: CompressedRows,
        *,
        transposed: bool,
        n_pixels: int,
        slots: Tensor,
        device: torch.device,
    ) -> None:
        """Hold an octant.

        Args:
            octant: rays of the octant by pixels, or pixels by rays when `transposed`.
            transposed: how `octant` lies.
            n_pixels: side of the image.
            slots: int64 (angle, detector), row of the octant * 8 + motion, where each ray of a sinogram lies.
            device: where to compute.
        """
        self._n_pixels = n_pixels
        self._octant_rows = octant.shape[1 if transposed else 0]
        self._slots = slots.to(device)
        self._device = device
        self._given = octant
        self._given_transposed = transposed
        self._matrices: dict[bool, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, y, x) to sinograms (batch, angle, detector)."""
        matrix = self._matrix(transposed=False)
        out = images.new_empty((images.shape[0], *self._slots.shape))
        for image, sinogram in zip(images, out, strict=True):
            rays = matrix @ ray_symmetry.moved_copies(image)
            if rays.device.type == "cpu":
                np.take(rays.numpy(), self._slots.numpy(), out=sinogram.numpy())
            else:
                torch.take(rays, self._slots, out=sinogram)
        return out

    def adjoint(self, sinograms: Tensor) -> Tensor:
        """Map sinograms (batch, angle, detector) to images (batch, y, x) by the transpose of `forward`."""
        matrix = self._matrix(transposed=True)
        out = sinograms.new_empty((sinograms.shape[0], self._n_pixels, self._n_pixels))
        for sinogram, image in zip(sinograms, out, strict=True):
            rays = sinogram.new_zeros((self._octant_rows, ray_symmetry.MOTIONS))
            if rays.device.type == "cpu":
                np.put(rays.numpy(), self._slots.numpy(), sinogram.numpy())
            else:
                rays.put_(self._slots, sinogram)
            image.copy_(ray_symmetry.merge_copies(matrix @ rays, self._n_pixels))
        return out

    def _matrix(self, *, transposed: bool) -> Tensor:
        matrix = self._matrices.get(transposed)
        if matrix is None:
            rows = self._given if transposed == self._given_transposed else self._given.transposed()
            matrix = self._matrices[transposed] = rows.to_torch(self._device)
        return matrix


class _Apply(torch.autograd.Function):
    """Differentiable product with a `SymmetricRayMatrix`, either way round."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: SymmetricRayMatrix, transpose: bool) -> Tensor:
        ctx.matrix, ctx.transpose = matrix, transpose
        return matrix.adjoint(values) if transpose else matrix.forward(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return apply(gradients[0].contiguous(), ctx.matrix, transpose=not ctx.transpose), None, None


def apply(values: Tensor, matrix: SymmetricRayMatrix, *, transpose: bool) -> Tensor:
    """Multiply with `matrix` (or its transpose); the gradient is the product with the other one."""
    result: Tensor = _Apply.apply(values, matrix, transpose)  # type: ignore[no-untyped-call]
    return result
