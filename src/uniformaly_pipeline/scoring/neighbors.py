"""Distance to normality: the nearest vectors of a memory bank (paper section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch


class NearestNeighbors:
    """Squared Euclidean distance to the nearest vectors of a memory bank.

    Attributes:
        bank: float32 [K, D], the memory bank, shifted to mean zero.
        num_neighbors: Distances are the mean over this many nearest vectors.
        search: A faiss index factory string: ``Flat`` is exact, ``IVF64,Flat`` or ``HNSW32``
            approximate.
    """

    def __init__(self, bank: np.ndarray, search: str = "Flat", num_neighbors: int = 1) -> None:
        """Build the index: faiss's, but for an exact search without a GPU.

        Raises:
            InputError: faiss does not know ``search`` or the bank is too small for it or for
                ``num_neighbors``.
        """
        import faiss

        bank = np.asarray(bank, dtype=np.float32)
        # What all vectors share cancels in a distance but costs digits that tell.
        self._offset = bank.mean(axis=0)
        self.bank = np.ascontiguousarray(bank - self._offset)
        self.num_neighbors = num_neighbors
        self.search = search
        if num_neighbors > len(bank):
            raise InputError(
                f"scoring.num_neighbors is {num_neighbors} but the memory bank holds only "
                f"{len(bank)} vectors: lower it or raise memory_bank.coreset_ratio"
            )
        self._find: Callable[[np.ndarray, int], np.ndarray]
        if self.is_exact and faiss.get_num_gpus() == 0:
            self._find = ExactSearch(self.bank).query
        else:
            index = _faiss_index(self.bank, search)
            self._find = lambda queries, count: index.search(queries, count)[1]

    @property
    def is_exact(self) -> bool:
        """Whether the neighbours found are surely the nearest."""
        return self.search == "Flat"

    def query(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Search the bank.

        The distances are computed anew from the vectors found: faiss subtracts large products,
        which loses digits for close pairs and depends on how many queries it is given at once.

        Args:
            features: float32 [M, D].

        Returns:
            Squared distances float32 [M], mean over ``num_neighbors``, and the indices of the
            neighbours int64 [M, num_neighbors], nearest first.
        """
        if len(features) == 0:
            return np.zeros(0, np.float32), np.zeros((0, self.num_neighbors), np.int64)
        queries = np.ascontiguousarray(features - self._offset, dtype=np.float32)
        indices = self._find(queries, self.num_neighbors)
        # An approximate index may find fewer than asked for and pads with -1.
        indices = np.where(indices < 0, indices[:, :1], indices)
        squares = [_squared_lengths(queries - self.bank[column]) for column in indices.T]
        return np.stack(squares, axis=1).mean(axis=1, dtype=np.float32), indices

    def recall(self, features: np.ndarray) -> float:
        """Share of the truly nearest vectors, 0..1, that the search finds for features [M, D]."""
        if self.is_exact or len(features) == 0:
            return 1.0
        queries = np.ascontiguousarray(features - self._offset, dtype=np.float32)
        found = self._find(queries, self.num_neighbors)
        exact = ExactSearch(self.bank).query(queries, self.num_neighbors)
        return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def _squared_lengths(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def _faiss_index(bank: np.ndarray, search: str) -> Any:
    import faiss

    try:
        index = faiss.index_factory(bank.shape[1], search)
        if faiss.get_num_gpus() > 0:
            index = faiss.index_cpu_to_all_gpus(index)
        index.train(bank)
        index.add(bank)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"scoring.search: faiss cannot build the index '{search}' over "
            f"{len(bank)} vectors ({reason}); 'Flat' always works"
        ) from error
    return index
