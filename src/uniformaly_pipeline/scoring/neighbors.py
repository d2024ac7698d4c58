"""Distance to normality: the nearest vectors of a memory bank (paper section 4.2)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.memory_bank.array_search import ArraySearch
from uniformaly_pipeline.memory_bank.exact_search import ExactSearch

_COUNT_OF_NONE = re.compile(r"(?<!\d)0+(?!\d)")

_IN_FAISS = re.compile(r"^Error in .*? at \S+:\d+: (Error: '.*' failed: )?")
"""Where in its code faiss met an error, which says nothing to those who chose the index."""


class NearestNeighbors:
    """Squared Euclidean distance to the nearest vectors of a memory bank.

    Attributes:
        num_neighbors: Distances are the mean over this many nearest vectors.
        search: A faiss index factory string: ``Flat`` is exact, ``IVF64,Flat`` or ``HNSW32``
            approximate.
    """

    def __init__(
        self,
        bank: np.ndarray,
        search: str = "Flat",
        num_neighbors: int = 1,
        *,
        loads_torch: bool = True,
    ) -> None:
        """Build the index: faiss's, but for an exact search without a GPU.

        Args:
            bank: The memory bank [K, D], float16 or float32; one copy in float32 is kept of it.
            search: A faiss index factory string.
            num_neighbors: Nearest vectors that count.
            loads_torch: Whether an exact search may load torch, which takes seconds, and look for
                GPUs; numpy finds the same neighbours in some more time for each query.

        Raises:
            InputError: faiss does not know ``search`` or the bank is too small for it or for
                ``num_neighbors``.
        """
        centred = np.array(bank, dtype=np.float32, order="C")
        # What all vectors share cancels in a distance but costs digits that tell.
        self._offset = centred.mean(axis=0)
        centred -= self._offset
        self._size = len(centred)
        self.num_neighbors = num_neighbors
        self.search = search
        if num_neighbors > len(bank):
            raise InputError(
                f"scoring.num_neighbors is {num_neighbors} but the memory bank holds only "
                f"{len(bank)} vectors: lower it or raise memory_bank.coreset_ratio"
            )
        self._find: Callable[[np.ndarray, int], np.ndarray]
        self._vectors: Callable[[np.ndarray], np.ndarray] = centred.__getitem__
        if self.is_exact and (not loads_torch or _num_gpus() == 0):
            exact = _exact_search(centred, loads_torch)
            # It holds them in an order of its own.
            self._find, self._vectors = exact.query, exact.vectors
        else:
            index = _faiss_index(centred, search)
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
        squares = [_squared_lengths(queries - self._vectors(column)) for column in indices.T]
        return np.stack(squares, axis=1).mean(axis=1, dtype=np.float32), indices

    def recall(self, features: np.ndarray) -> float:
        """Share of the truly nearest vectors, 0..1, that the search finds for features [M, D]."""
        if self.is_exact or len(features) == 0:
            return 1.0
        queries = np.ascontiguousarray(features - self._offset, dtype=np.float32)
        found = self._find(queries, self.num_neighbors)
        every = self._vectors(np.arange(self._size))
        exact = _exact_search(every).query(queries, self.num_neighbors)
        return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def _num_gpus() -> int:
    """GPUs that faiss can use; a detector on a line may do without faiss."""
    if find_spec("faiss") is None:
        return 0
    import faiss

    return int(faiss.get_num_gpus())


def _exact_search(bank: np.ndarray, loads_torch: bool = True) -> ExactSearch | ArraySearch:
    """Exact search in torch, or in numpy where torch is not there or not wanted."""
    has_torch = sys.modules.get("torch") or (loads_torch and find_spec("torch"))
    return ExactSearch(bank) if has_torch else ArraySearch(bank)


def _squared_lengths(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def _faiss_index(bank: np.ndarray, search: str) -> Any:
    if find_spec("faiss") is None:
        raise InputError(
            f"scoring.search is '{search}', which takes faiss: install uniformaly-pipeline[cpu] "
            "or [gpu], or choose 'Flat'"
        )
    if _COUNT_OF_NONE.search(search):
        # faiss divides by some of them, which ends the process.
        raise InputError(f"scoring.search: the index '{search}' counts 0 of something")
    import faiss

    try:
        index = faiss.index_factory(bank.shape[1], search)
        if faiss.get_num_gpus() > 0:
            index = faiss.index_cpu_to_all_gpus(index)
        index.train(bank)
        index.add(bank)
    except (RuntimeError, TypeError) as error:
        reason = _IN_FAISS.sub("", str(error).strip().splitlines()[-1])
        raise InputError(
            f"scoring.search: faiss cannot build the index '{search}' over "
            f"{len(bank)} vectors ({reason}); 'Flat' always works"
        ) from error
    return index
