"""Large images in tiles: every pixel is seen, and one tile is no tile."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder, encode_images
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.features.tiles import Tiles, lay_tiles, tiling_of
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import image_scores

GRID = (4, 4)
SIZES = [(128, 64), (65, 64), (64, 65), (200, 130), (640, 48), (131, 257)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("overlap", [0, 1, 16, 30])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_cover_an_image_and_overlap_as_asked(size: tuple[int, int], overlap: int) -> None:
    tiling = lay_tiles(size, Tiles(64, overlap), GRID)
    seen = np.zeros(size[::-1], int)
    for origin in tiling.origins:
        left, top, right, bottom = map(round, tiling.box(origin))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert tiling.whole == (-(-size[1] // 16), -(-size[0] // 16))
    columns = sorted({column for _, column in tiling.origins})
    shared = [16 * (4 - (b - a)) for a, b in pairwise(columns)]
    assert all(each >= overlap for each in shared)
    # Each place of the whole grid is some tile's, and none beyond it.
    places = tiling.patches()
    assert set(places[places >= 0]) == set(range(tiling.whole[0] * tiling.whole[1]))
    for origin, row in zip(tiling.origins, places, strict=True):
        assert ((row >= 0) == tiling.counted(origin).ravel()).all()


def test_an_overlap_that_leaves_no_step_is_refused() -> None:
    with pytest.raises(InputError, match="an overlap of 60 pixels leaves no step between tiles"):
        lay_tiles((200, 200), Tiles(64, 60), GRID)


def test_what_fits_into_a_tile_is_not_cut() -> None:
    tiles = Tiles(64, 16)
    assert not tiles.cut((64, 64))
    assert tiles.cut((65, 3))
    assert tiling_of((64, 20), tiles, GRID).origins == ((0, 0),)
    assert tiling_of((64, 20), tiles, GRID).whole == GRID


def test_where_tiles_overlap_the_mean_counts() -> None:
    tiling = lay_tiles((96, 64), Tiles(64, 32), GRID)
    assert tiling.origins == ((0, 0), (0, 2))
    values = np.stack([np.full(GRID, 1.0), np.full(GRID, 4.0)]).astype(np.float32)
    assert tiling.stitch(values)[0].tolist() == [1, 1, 2.5, 2.5, 4, 4]
    values[0, 0, 2] = np.nan
    assert tiling.stitch(values)[0].tolist() == [1, 1, 4, 2.5, 4, 4]
    values[:, 0] = np.nan
    assert np.isnan(tiling.stitch(values)[0]).all()


def test_a_tile_is_its_part_of_the_image_at_the_same_scale() -> None:
    """A tile of as many pixels as the input has is the image's own pixels."""
    image = noise((64, 48))
    geometry = Preprocessing(resize=32, crop=None, tiles=Tiles(32, 8))
    inputs, counted = geometry.tensors(image, GRID)
    tiling = lay_tiles(image.size, Tiles(32, 8), GRID)
    for tensor, origin in zip(inputs, tiling.origins, strict=True):
        left, top, right, bottom = map(round, tiling.box(origin))
        part = Preprocessing(resize=[32, 32], crop=None).image_array(
            image.crop((left, top, right, bottom))
        )
        assert (tensor == part).all()
    assert counted.all()
    assert geometry.fitted_size(image.size) == image.size
    assert geometry.to_image(10, 20, image.size) == (10, 20)


def test_an_image_that_is_not_cut_is_as_without_tiles() -> None:
    image = noise((60, 40))
    tiled = Preprocessing(resize=32, crop=None, tiles=Tiles(60))
    plain = Preprocessing(resize=32, crop=None)
    inputs, counted = tiled.tensors(image, GRID)
    assert (inputs == plain.image_array(image)[None]).all()
    assert (counted == plain.counted(image.size, GRID)[None]).all()
    assert tiled.shown_size(image.size) == plain.shown_size(image.size)


def test_settings_without_tiles_are_told_as_they_were() -> None:
    """A store or bank that was made before there were tiles is as good as ever."""
    assert "tiles" not in Preprocessing().to_dict()
    settings = Preprocessing(32, None, tiles=Tiles(64, 8)).to_dict()
    assert settings["tiles"] == {"size": 64, "overlap": 8}
    assert Preprocessing(**settings) == Preprocessing(32, None, tiles=Tiles(64, 8))


@pytest.mark.parametrize("size", [(60, 40), (64, 64), (65, 10), (200, 150), (7, 500)])
def test_inputs_are_counted_without_cutting(size: tuple[int, int]) -> None:
    for tiles in (None, Tiles(64), Tiles(64, 24)):
        geometry = Preprocessing(resize=32, crop=None, tiles=tiles)
        inputs, _ = geometry.tensors(noise(size), GRID)
        assert geometry.num_inputs(size, GRID) == len(inputs)


# --- from images to scores ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    backbone = Backbone("vit_tiny_patch16_224", "untrained", None, kwargs, (0, 1), 1)
    return Encoder(load_backbone(backbone, (32, 32)), backbone.layers, 1, "cpu")


def stored(
    encoder: Encoder,
    folder: ImageFolder,
    path: Path,
    geometry: Preprocessing,
    masking: BackPatchMasking | None = None,
    batch_size: int = 1,
) -> tuple[FeatureStore, list[str]]:
    """A store of all images of a folder, and their keys."""
    header = StoreHeader({}, "", geometry.to_dict(), "float32", GRID, encoder.dim, "float32",
                         vars(masking) if masking else None)  # fmt: skip
    images = {folder.content_hash(name): name for name in folder.files()}

    def encode(names: list[str]) -> Any:
        return encode_images(encoder, folder, names, geometry, batch_size=batch_size, num_workers=0)

    update_store(path, FeatureStream(header, images, encode, 1))
    return FeatureStore(path), list(images)


def test_what_all_tiles_take_is_estimated_before_they_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone
) -> None:
    """An image in 12 tiles takes 12 times the disk and time of one that is not cut."""
    noise((200, 150)).save(tmp_path / "a.png")
    folder = ImageFolder(str(tmp_path))
    geometry = Preprocessing(resize=32, crop=None, tiles=Tiles(64))
    stream = feature_stream(
        folder,
        {folder.content_hash("a.png"): "a.png"},
        tiny_backbone,
        geometry,
        BackPatchMasking("off"),
        device="cpu",
        num_workers=0,
        sizes={"a.png": (200, 150)},
    )
    assert stream.inputs_of(stream.images) == 12
    one = stream.header.estimate_bytes(1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=11 * one))
    with pytest.raises(InputError, match="the feature store needs up to"):
        update_store(tmp_path / "store", stream)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12 * one))
    store = FeatureStore(update_store(tmp_path / "store", stream))
    assert len(store.load(list(stream.images), BackPatchMasking("off")).features) <= 12 * 4


MASKINGS = [None, BackPatchMasking("binary", 3, 0.2)]


@pytest.mark.parametrize("masking", MASKINGS)
def test_one_tile_that_covers_all_is_no_tile(
    encoder: Encoder, tmp_path: Path, masking: BackPatchMasking | None
) -> None:
    """Features, attention, bank and scores are bitwise those without tiles."""
    for i, size in enumerate([(64, 64), (64, 40), (30, 60)]):
        noise(size, i).save(tmp_path / f"{i}.png")
    folder = ImageFolder(str(tmp_path))
    plain, tiled = (
        stored(encoder, folder, tmp_path / name, Preprocessing(32, None, tiles=tiles), masking)
        for name, tiles in (("plain", None), ("tiled", Tiles(64, 16)))
    )
    keys = plain[1]
    chosen = masking or BackPatchMasking()
    for store in (plain[0], tiled[0]):
        assert store.grid_of(keys) == GRID
    np.testing.assert_array_equal(plain[0].attention(keys), tiled[0].attention(keys))
    found, expected = (store.load(keys, chosen) for store in (tiled[0], plain[0]))
    for name in ("features", "image", "patch"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    banks = [
        build_memory_bank(store, keys, chosen, coreset_ratio=0.5).arrays["memory_bank"]
        for store in (plain[0], tiled[0])
    ]
    np.testing.assert_array_equal(*banks)
    scored = [
        score_patches(store, keys, banks[0], chosen).arrays["patch_scores"]
        for store in (plain[0], tiled[0])
    ]
    np.testing.assert_array_equal(*scored)


@pytest.mark.parametrize("masking", MASKINGS)
def test_scores_of_tiles_are_stitched_and_counted_over_the_whole_image(
    encoder: Encoder, tmp_path: Path, masking: BackPatchMasking | None
) -> None:
    """As plain means have it: each tile scored by itself, the mean where they overlap."""
    sizes = {"a.png": (100, 64), "b.png": (48, 40)}
    for i, (name, size) in enumerate(sizes.items()):
        noise(size, i).save(tmp_path / name)
    folder, tiles = ImageFolder(str(tmp_path)), Tiles(64, 16)
    geometry = Preprocessing(32, None, tiles=tiles)
    store, _ = stored(encoder, folder, tmp_path / "store", geometry, masking)
    keys = [folder.content_hash(name) for name in sizes]
    chosen = masking or BackPatchMasking("off")
    bank = build_memory_bank(store, keys[1:], chosen, coreset_ratio=1)
    assert bank.metadata["grid"] == [4, 4]
    scored = score_patches(store, keys, bank.arrays["memory_bank"], chosen, keep_neighbors=True)
    grids = scored.arrays["patch_scores"]
    assert grids.shape == (2, 4, 7)
    assert np.isnan(grids[1, :, 4:]).all()

    image = folder.read_image("a.png")
    inputs, counted = geometry.tensors(image, GRID)
    tiling = lay_tiles(image.size, tiles, GRID)
    values = []
    import torch

    for tensor, known in zip(inputs, counted, strict=True):
        encoded = encoder(torch.from_numpy(tensor)[None])
        attention = np.where(known, encoded.attention.numpy()[0], np.nan)[None]
        foreground = chosen.foreground(attention)[0]
        squares = torch.cdist(
            encoded.features[0].double(), torch.from_numpy(bank.arrays["memory_bank"]).double()
        )
        distances = (squares.amin(dim=1) ** 2).numpy()
        kept = np.where(foreground, distances, np.nan)
        values.append(kept.reshape(GRID))
    expected = np.nan_to_num(tiling.stitch(np.stack(values).astype(np.float32)))
    np.testing.assert_allclose(grids[0], expected, rtol=1e-3, atol=1e-4)
    top = np.sort(expected.ravel())[-round(0.1 * 28) :].mean()
    assert image_scores(grids.reshape(2, -1), 0.1)[0] == pytest.approx(top, rel=1e-3)
    # What was compared with what is known for every patch that counts.
    foreground = store.foreground(keys, chosen)[0].reshape(4, 7)
    assert ((scored.arrays["neighbors"][0] >= 0) == foreground).all()


def test_tiles_do_not_depend_on_the_batch_or_on_what_is_stored_already(
    encoder: Encoder, tmp_path: Path
) -> None:
    noise((100, 64)).save(tmp_path / "a.png")
    folder, geometry = ImageFolder(str(tmp_path)), Preprocessing(32, None, tiles=Tiles(64, 16))
    one, keys = stored(encoder, folder, tmp_path / "one", geometry)
    noise((64, 128), 3).save(tmp_path / "b.png")
    stored(encoder, folder, tmp_path / "one", geometry)
    both, _ = stored(encoder, folder, tmp_path / "both", geometry, batch_size=3)
    masking = BackPatchMasking()
    for key in keys:
        found, expected = (
            FeatureStore(store.path).load([key], masking).features for store in (both, one)
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)
