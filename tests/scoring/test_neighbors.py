"""Distances to normality."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.scoring.neighbors import NearestNeighbors


def scattered(seed: int, count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def squared_distances(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """[M, K] in double precision."""
    return cdist(queries.astype(np.float64), bank.astype(np.float64), "sqeuclidean")


# --- nearest neighbours ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_neighbors", [1, 3, 50])
def test_nearest_neighbours_are_those_of_brute_force(num_neighbors: int) -> None:
    bank, queries = scattered(0, 50, 8), scattered(1, 40, 8)
    all_squares = squared_distances(queries, bank)
    order = np.argsort(all_squares, axis=1)[:, :num_neighbors]
    distances, indices = NearestNeighbors(bank, num_neighbors=num_neighbors).query(queries)
    assert (indices == order).all()
    expected = np.take_along_axis(all_squares, order, axis=1).mean(axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert distances.dtype == np.float32


def test_a_vector_of_the_bank_is_at_distance_0() -> None:
    bank = 100 + scattered(0, 300, 64)
    distances, indices = NearestNeighbors(bank).query(bank)
    assert (distances == 0).all()
    assert (indices[:, 0] == np.arange(300)).all()


def test_what_all_vectors_share_costs_no_digits() -> None:
    # Products of large numbers hide small differences; for many queries faiss uses products.
    bank, queries = 100 + scattered(0, 500, 768), 100 + scattered(1, 300, 768)
    distances, _ = NearestNeighbors(bank).query(queries)
    expected = squared_distances(queries, bank).min(axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_queries_do_not_depend_on_each_other(parts: int) -> None:
    neighbors, queries = NearestNeighbors(scattered(0, 300, 768)), scattered(1, 200, 768)
    together, _ = neighbors.query(queries)
    apart = [neighbors.query(part)[0] for part in np.array_split(queries, parts)]
    np.testing.assert_allclose(np.concatenate(apart), together, rtol=1e-6)


def test_no_queries_give_no_distances() -> None:
    distances, indices = NearestNeighbors(scattered(0, 5, 3), num_neighbors=2).query(
        np.zeros((0, 3), np.float32)
    )
    assert distances.shape == (0,)
    assert indices.shape == (0, 2)


@pytest.mark.parametrize("search", ["IVF8,Flat", "HNSW16"])
def test_an_approximate_index_is_close_and_its_distances_are_true(search: str) -> None:
    bank, queries = scattered(0, 400, 8), scattered(1, 60, 8)
    squares = squared_distances(queries, bank)
    distances, indices = NearestNeighbors(bank, search).query(queries)
    np.testing.assert_allclose(distances, squares[np.arange(60), indices[:, 0]], rtol=1e-5)
    # IVF looks into one cell of eight; still most of the nearest are found.
    assert np.mean(indices[:, 0] == squares.argmin(axis=1)) > 0.4
    assert (distances >= squares.min(axis=1) * (1 - 1e-5)).all()


def test_an_approximate_index_that_finds_too_few_still_gives_true_distances() -> None:
    far_apart = np.concatenate([scattered(0, 39, 4), 100 + scattered(1, 1, 4)])
    neighbors = NearestNeighbors(far_apart, "IVF2,Flat", num_neighbors=5)
    distances, indices = neighbors.query(np.full((1, 4), 100, np.float32))
    assert indices.min() >= 0
    squares = squared_distances(np.full((1, 4), 100.0), far_apart)[0]
    assert distances[0] == pytest.approx(squares[indices[0]].mean(), rel=1e-5)


def test_more_neighbours_than_vectors_are_refused() -> None:
    with pytest.raises(InputError, match=r"scoring\.num_neighbors is 6 .* holds only 5 vectors"):
        NearestNeighbors(scattered(0, 5, 3), num_neighbors=6)


@pytest.mark.parametrize("search", ["Nonsense", "IVFx", "IVF64,Flat", "PQ3"])
def test_an_index_that_cannot_be_built_is_one_clear_line(search: str) -> None:
    with pytest.raises(InputError) as error:
        NearestNeighbors(scattered(0, 20, 8), search)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"scoring.search: faiss cannot build the index '{search}'")
    assert "20 vectors" in message
    # Not where in faiss's code it was met.
    assert not re.search(r"faiss::|\.cpp", message)


@pytest.mark.parametrize("search", ["IVF2,PQ4x0", "HNSW0"])
def test_an_index_that_counts_none_of_something_does_not_end_the_process(search: str) -> None:
    with pytest.raises(InputError, match=f"the index '{search}' counts 0 of something"):
        NearestNeighbors(scattered(0, 20, 8), search)


def test_recall_tells_how_many_of_the_nearest_an_approximate_search_finds() -> None:
    rng = np.random.default_rng(0)
    bank, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (800, 200))
    one_list = NearestNeighbors(bank, "IVF16,Flat", 2)
    found = one_list.query(queries)[1]
    exact = NearestNeighbors(bank, "Flat", 2).query(queries)[1]
    expected = np.mean([len(set(a) & set(b)) / 2 for a, b in zip(found, exact, strict=True)])
    assert one_list.recall(queries) == pytest.approx(expected)
    assert 0.1 < expected < 0.9
    assert NearestNeighbors(bank, "IVF1,Flat", 2).recall(queries) == 1.0
    assert NearestNeighbors(bank, "Flat", 2).recall(queries) == 1.0


def test_recall_of_no_features_is_full() -> None:
    neighbors = NearestNeighbors(scattered(0, 40, 4), "IVF4,Flat")
    assert neighbors.recall(np.zeros((0, 4), np.float32)) == 1.0


def test_recall_is_measured_where_the_bank_is() -> None:
    # Far from the origin: what is searched for must be shifted as the bank is.
    bank, queries = 50 + scattered(0, 300, 6), 50 + scattered(1, 100, 6)
    neighbors = NearestNeighbors(bank, "IVF8,Flat")
    nearest = squared_distances(queries, bank).argmin(axis=1)
    share = np.mean(neighbors.query(queries)[1][:, 0] == nearest)
    assert neighbors.recall(queries) == pytest.approx(share)
    assert share > 0.3


def test_the_bank_is_shifted_to_mean_0_and_the_one_given_left_as_it_was() -> None:
    bank = 7 + scattered(0, 50, 4)
    before = bank.copy()
    neighbors = NearestNeighbors(bank)
    np.testing.assert_allclose(held(neighbors, bank), bank - bank.mean(axis=0), atol=1e-5)
    assert (bank == before).all()
    assert (neighbors.search, neighbors.num_neighbors, neighbors.is_exact) == ("Flat", 1, True)
    assert not NearestNeighbors(bank, "HNSW8").is_exact


def test_as_many_neighbours_as_vectors_are_found() -> None:
    bank = scattered(0, 5, 3)
    distances, indices = NearestNeighbors(bank, num_neighbors=5).query(bank[:1])
    assert sorted(indices[0].tolist()) == [0, 1, 2, 3, 4]
    assert distances[0] == pytest.approx(squared_distances(bank[:1], bank).mean(), rel=1e-5)


def test_a_gpu_searches_the_whole_bank_with_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    moved: list[Any] = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(
        faiss, "index_cpu_to_all_gpus", lambda index: moved.append(index) or index, raising=False
    )
    bank, queries = scattered(0, 60, 4), scattered(1, 9, 4)
    on_gpu = NearestNeighbors(bank, num_neighbors=2).query(queries)
    assert len(moved) == 1
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    for found, expected in zip(
        on_gpu, NearestNeighbors(bank, num_neighbors=2).query(queries), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(moved) == 1


def test_no_gpu_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    def refuse(index: Any) -> Any:
        raise AssertionError("there is no GPU")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", refuse, raising=False)
    NearestNeighbors(scattered(0, 60, 4), "IVF2,Flat").query(scattered(1, 3, 4))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_bank_of_any_precision_is_computed_with_in_float32(dtype: type) -> None:
    bank, queries = (100 + scattered(0, 60, 8)).astype(dtype), 100 + scattered(1, 9, 8)
    neighbors = NearestNeighbors(bank)
    assert held(neighbors, bank).dtype == np.float32
    expected = squared_distances(queries, bank).min(axis=1)
    np.testing.assert_allclose(neighbors.query(queries)[0], expected, rtol=1e-4)


@pytest.mark.parametrize("search", ["Flat", "HNSW8"])
def test_features_of_any_precision_are_searched_for_in_float32(search: str) -> None:
    neighbors, queries = NearestNeighbors(scattered(0, 60, 8), search), scattered(1, 9, 8)
    expected = neighbors.query(queries)
    found = neighbors.query(queries.astype(np.float64))
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()


def test_the_first_neighbour_stands_for_those_that_are_not_found() -> None:
    far_apart = np.concatenate([scattered(0, 38, 4), 100 + scattered(1, 2, 4)])
    neighbors = NearestNeighbors(far_apart, "IVF2,Flat", num_neighbors=5)
    indices = neighbors.query(far_apart[38:39])[1][0].tolist()
    assert indices == [38, 39, 38, 38, 38]


def held(neighbors: NearestNeighbors, bank: np.ndarray) -> np.ndarray:
    """The vectors as they are held, in the bank's order."""
    return neighbors._vectors(np.arange(len(bank)))


def test_the_bank_is_held_once() -> None:
    bank = np.random.default_rng(0).standard_normal((640, 64)).astype(np.float16)
    neighbors = NearestNeighbors(bank)
    copies: dict[int, int] = {}
    seen: set[int] = set()

    def look_at(thing: object) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            copies[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, np.ndarray):
            copies[thing.ctypes.data] = thing.nbytes
        else:
            for part in [getattr(thing, "__self__", None), *vars(thing).values()]:
                if hasattr(part, "__dict__") or isinstance(part, np.ndarray) or callable(part):
                    look_at(part)

    look_at(neighbors)
    large = [size for size in copies.values() if size >= 4 * bank.size]
    assert len(large) == 1
