"""Many settings of the method on one category, from features that were encoded once.

What settings share is computed once: a smaller coreset is the beginning of a larger one, settings
that keep the same foreground have the same memory bank and distances, which a soft masking only
weighs, and the top-k ratio only averages scores anew. So an ablation costs little more than its
different memory banks (section 5.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.evaluation.category import (
    NO_PIXEL_METRICS,
    anomaly_maps,
    counted_pixels,
    pixel_metrics,
)
from uniformaly_pipeline.evaluation.clustering import (
    FeatureChoice,
    choose_features,
    cluster,
    cluster_metrics,
)
from uniformaly_pipeline.evaluation.image_metrics import detection_metrics
from uniformaly_pipeline.evaluation.metrics import SWEPT_METRICS
from uniformaly_pipeline.evaluation.pixel_metrics import AUPRO_LIMIT
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.turns import turns_of
from uniformaly_pipeline.memory_bank import coreset
from uniformaly_pipeline.memory_bank.bank import IMAGES_AT_ONCE, choose_points, collect_candidates
from uniformaly_pipeline.scoring.methods.choice import METHODS, fit_model, scorer_of
from uniformaly_pipeline.scoring.methods.interface import (
    UNIFORMALY,
    FitSettings,
    MethodName,
    SearchSettings,
    default_mode,
)
from uniformaly_pipeline.scoring.patches import score_by, score_patches, weigh_scores
from uniformaly_pipeline.scoring.scores import image_scores

DRAWS = "draw"

UNWEIGHED = BackPatchMasking(mode="off")
"""All patches count alike."""


@dataclass(frozen=True)
class Setting:
    """One way to run the method.

    Attributes:
        parameter: Dotted key of the parameter under study.
        value: Its value, as text.
        masking: Which patches count.
        layers: Blocks to average, or ``None`` for the store's only choice.
        coreset_ratio: Share of the patches in the memory bank.
        top_k_ratio: Share of the patches whose scores are averaged.
        features: Patches that stand for an image in clustering.
        shots: Number of normal images, or ``None`` for all.
        draw: Which random draw of them.
        method: Name of the method.
    """

    parameter: str
    value: str
    masking: BackPatchMasking
    coreset_ratio: float
    top_k_ratio: float
    layers: tuple[int, ...] | None = None
    features: FeatureChoice = "top_k"
    shots: int | None = None
    draw: int = 0
    method: MethodName = UNIFORMALY


@dataclass(frozen=True)
class SweepInputs:
    """What the settings are tried on.

    Attributes:
        store: Features of all patches.
        normal: Content hashes of the normal train images.
        tested: Content hashes of the test images.
        labels: int [B], 1 anomalous.
        defects: Kind of each test image [B]; empty where images are not to be clustered.
        masks: bool [K, H, W], the anomalous pixels of the images where they are known, or ``None``
            without masks.
        masked: bool [B], for which images they are known; ``None`` for all.
        preprocessing: From image to input.
        seed: Of projections, starts and draws.
        projection_dim: See :func:`.bank.build_memory_bank`.
        num_starts: See there.
        coreset_parts: See there.
        search: A faiss index factory string.
        num_neighbors: Neighbours whose distances are averaged.
        device: Torch device of the coreset.
        aupro_limit: False-positive rate at which AUPRO stops.
        rotations: Views of each of a few normal images, turned around in equal steps; 1: none.
    """

    store: FeatureStore
    normal: Sequence[str]
    tested: Sequence[str]
    labels: np.ndarray
    defects: Sequence[str] = ()
    masks: np.ndarray | None = None
    masked: np.ndarray | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    seed: int = 0
    projection_dim: int = coreset.PROJECTION_DIM
    num_starts: int = coreset.NUM_STARTS
    coreset_parts: int = 1
    search: str = "Flat"
    num_neighbors: int = 1
    device: str = "cpu"
    aupro_limit: float = AUPRO_LIMIT
    rotations: int = 1


def ablation_settings(base: Setting, values: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Every value of every parameter, one at a time around ``base``.

    Args:
        base: The setting to vary.
        values: Values by parameter, the keys of ``ablation``; ``layers`` are lists of blocks. A
            ``method`` is tried with the masking that it comes with, unless ``base`` has another
            than its own does.
    """
    settings = []
    for name, choices in values.items():
        for choice in choices:
            key = PARAMETER_KEYS[name]
            changed = replace(base, parameter=key, value=_as_text(choice))
            if name in {"kernel_size", "threshold", "mode"}:
                changed = replace(changed, masking=replace(base.masking, **{name: choice}))
            else:
                content: Any = tuple(sorted(set(choice))) if name == "layers" else choice
                field_of: dict[str, Any] = {name: content}
                changed = replace(changed, **field_of)
                if base.masking.mode == default_mode(base.method):
                    mode = default_mode(changed.method)
                    changed = replace(changed, masking=replace(base.masking, mode=mode))
            settings.append(changed)
    return settings


PARAMETER_KEYS = {
    "top_k_ratio": "scoring.top_k_ratio",
    "kernel_size": "bpm.kernel_size",
    "threshold": "bpm.threshold",
    "mode": "bpm.mode",
    "features": "clustering.features",
    "coreset_ratio": "memory_bank.coreset_ratio",
    "layers": "backbone.layers",
    "method": "scoring.method",
}

MULTICLASS_RATIO = "memory_bank.multiclass_coreset_ratio"
"""The coreset ratio of a memory bank of many classes."""


def own_values(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The run's own value of every parameter of an ablation, by dotted key and as its rows say it.

    Args:
        parameters: All resolved parameters.
    """
    own: dict[str, str] = {}
    for name, key in PARAMETER_KEYS.items():
        section = key.partition(".")[0]
        if name == "layers":
            own[key] = _as_text(sorted(set(parameters["backbones"][parameters["backbone"]][name])))
        else:
            own[key] = _as_text(parameters[section][name])
    own[MULTICLASS_RATIO] = _as_text(parameters["memory_bank"]["multiclass_coreset_ratio"])
    return own


def lowshot_settings(
    base: Setting, shots: Sequence[int | str], num_draws: int, num_normal: int
) -> list[Setting]:
    """Every number of normal images, drawn several times; numbers that are not there left out.

    Args:
        base: The setting to vary.
        shots: Numbers of normal images; ``all`` takes every one, once.
        num_draws: Times that each other number is drawn.
        num_normal: Normal images that there are.
    """
    some = [number for number in shots if number != "all" and int(number) < num_normal]
    settings = [
        replace(base, parameter="lowshot.shots", value=str(number), shots=int(number), draw=draw)
        for number in some
        for draw in range(num_draws)
    ]
    if "all" in shots:
        settings.append(replace(base, parameter="lowshot.shots", value="all"))
    return settings


def draw_images(normal: Sequence[str], shots: int | None, seed: int, draw: int) -> list[str]:
    """A draw of normal images; a smaller one is part of a larger one of the same number."""
    if shots is None:
        return list(normal)
    order = np.random.default_rng([seed, draw]).permutation(len(normal))
    return [normal[i] for i in sorted(order[:shots])]


def evaluate_settings(inputs: SweepInputs, settings: Sequence[Setting]) -> pd.DataFrame:
    """Metrics of every setting on a category.

    Memory holds the projected patches of one set of normal images, one memory bank and the test
    images' patch scores at a time.

    Returns:
        A row per setting, in the order given: ``parameter``, ``value``, ``draw``, ``bank_size``
        and :data:`SWEPT_METRICS` in 0..1, undefined ones as NaN.
    """
    rows: dict[int, dict[str, Any]] = dict(
        track(_evaluated(inputs, settings), len(settings), "Trying settings", "settings")
    )
    return _table(settings, rows)


def evaluate_shared_bank(
    of_category: Mapping[str, SweepInputs], settings: Sequence[Setting]
) -> dict[str, pd.DataFrame]:
    """Metrics of every setting on categories that are tested with one memory bank.

    Each bank is built and searched once, for the test images of all categories together; the
    metrics are of each category by itself, as in multi-class detection (Tables 4, 9 and 10).
    Memory holds the masks of all categories, a byte a pixel, and their patch scores.

    Args:
        of_category: Inputs by category; all have the same normal images, seed and sizes.
        settings: What to try.

    Returns:
        What :func:`evaluate_settings` returns, by category.

    Raises:
        ValueError: The categories differ in their normal images.
    """
    first = next(iter(of_category.values()))
    if any(list(inputs.normal) != list(first.normal) for inputs in of_category.values()):
        raise ValueError("categories with one memory bank have the same normal images")
    tested = [image for inputs in of_category.values() for image in inputs.tested]
    together = replace(first, tested=tested, labels=np.zeros(0), masks=None, masked=None)
    rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in of_category}
    for name, position, metrics in track(
        _evaluated_apart(together, of_category, settings),
        len(settings) * len(of_category),
        "Trying settings",
        "settings",
    ):
        rows[name][position] = metrics
    return {name: _table(settings, found) for name, found in rows.items()}


def _evaluated_apart(
    together: SweepInputs, of_category: Mapping[str, SweepInputs], settings: Sequence[Setting]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Category, position and metrics of each setting, from scores of all test images at once."""
    for group in _groups(settings):
        for scored in _score(together, [settings[i] for i in group]):
            end = 0
            for name, inputs in of_category.items():
                start, end = end, end + len(inputs.tested)
                of_images = scored.image_scores
                own = replace(
                    scored,
                    patch_scores=scored.patch_scores[start:end],
                    image_scores=None if of_images is None else of_images[start:end],
                )
                for position, metrics in _metrics(inputs, own):
                    yield name, group[position], metrics


def _table(settings: Sequence[Setting], rows: Mapping[int, dict[str, Any]]) -> pd.DataFrame:
    """A row per setting, in the order given."""
    table = [
        {"parameter": s.parameter, "value": s.value, DRAWS: s.draw, **rows[i]}
        for i, s in enumerate(settings)
    ]
    columns = ["parameter", "value", DRAWS, "bank_size", *SWEPT_METRICS]
    return pd.DataFrame(table, columns=columns).astype(dict.fromkeys(SWEPT_METRICS, float))


def _evaluated(
    inputs: SweepInputs, settings: Sequence[Setting]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Position and metrics of each setting; those that share a memory bank follow each other."""
    for group in _groups(settings):
        for scored in _score(inputs, [settings[i] for i in group]):
            for position, metrics in _metrics(inputs, scored):
                yield group[position], metrics


def _groups(settings: Sequence[Setting]) -> Iterator[list[int]]:
    """Positions of settings whose candidates are the same but for the masking."""

    def key(i: int) -> tuple[Any, ...]:
        return (settings[i].layers or (), settings[i].shots or 0, settings[i].draw)

    for _, positions in groupby(sorted(range(len(settings)), key=key), key=key):
        yield list(positions)


@dataclass(frozen=True)
class _Scored:
    """Test images scored by one memory bank, and the settings that share it."""

    store: FeatureStore
    patch_scores: np.ndarray
    bank_size: int
    settings: dict[int, Setting]
    image_scores: np.ndarray | None = None


def _score(inputs: SweepInputs, settings: Sequence[Setting]) -> Iterator[_Scored]:
    """Make each different model of some settings and score the test images with it."""
    first = settings[0]
    store = inputs.store
    if first.layers is not None:
        store = store.with_layers(first.layers)
    normal = draw_images(inputs.normal, first.shots, inputs.seed, first.draw)
    if first.shots is not None:
        turns = turns_of(inputs.rotations)
        normal = [key for image in normal for key in (image, *(t.key(image) for t in turns))]
    by_masking: dict[Any, dict[int, Setting]] = {}
    by_model: dict[Any, dict[int, Setting]] = {}
    for i, setting in enumerate(settings):
        if setting.method != UNIFORMALY:
            masking = setting.masking if setting.masking.heeds_attention else UNWEIGHED
            model = (setting.method, masking, setting.coreset_ratio)
            by_model.setdefault(model, {})[i] = setting
            continue
        key = _patches_that_count(store, [*normal, *inputs.tested], setting.masking)
        by_masking.setdefault(key, {})[i] = setting
    for alike in by_masking.values():
        masking = next(iter(alike.values())).masking
        if masking.weighs_distances:  # distances come first, weights after
            masking = UNWEIGHED
        candidates = collect_candidates(store, normal, masking, inputs.projection_dim, inputs.seed)
        ratios = sorted({setting.coreset_ratio for setting in alike.values()})
        for ratio, kept in _coresets(inputs, candidates.points, ratios):
            # What a stored bank would hold: metrics equal those of the other pipelines.
            bank = candidates.features(kept).astype(store.header.dtype)
            distances = score_patches(
                store,
                inputs.tested,
                bank,
                masking,
                search=inputs.search,
                num_neighbors=inputs.num_neighbors,
            ).arrays["patch_scores"]
            sharing = {i: s for i, s in alike.items() if s.coreset_ratio == ratio}
            for weighing, weighed in _by_weights(sharing).items():
                scores = weigh_scores(store, inputs.tested, distances, weighing)
                yield _Scored(store, scores, len(bank), weighed)
    for (method, masking, ratio), alike in by_model.items():
        yield _score_by_method(inputs, store, normal, method, masking, ratio, alike)


def _score_by_method(
    inputs: SweepInputs,
    store: FeatureStore,
    normal: Sequence[str],
    method: MethodName,
    masking: BackPatchMasking,
    ratio: float,
    settings: dict[int, Setting],
) -> _Scored:
    """Make another method's model and score the test images with it."""
    fitting = FitSettings(
        coreset_ratio=ratio,
        projection_dim=inputs.projection_dim,
        num_starts=inputs.num_starts,
        coreset_parts=inputs.coreset_parts,
        seed=inputs.seed,
        device=inputs.device,
    )
    model = fit_model(method, store, normal, masking, fitting)
    searching = SearchSettings(inputs.search, inputs.num_neighbors)
    scored = score_by(
        lambda: scorer_of(method, model, searching), store, inputs.tested, masking
    ).arrays
    bank_size = len(model.arrays["memory_bank"])
    return _Scored(store, scored["patch_scores"], bank_size, settings, scored.get("image_scores"))


def _by_weights(settings: dict[int, Setting]) -> dict[BackPatchMasking, dict[int, Setting]]:
    """Settings by what their masking multiplies distances with; ``off`` stands for nothing."""
    groups: dict[BackPatchMasking, dict[int, Setting]] = {}
    for i, setting in settings.items():
        masking = setting.masking
        weighing = replace(masking, threshold=0.0) if masking.weighs_distances else UNWEIGHED
        groups.setdefault(weighing, {})[i] = setting
    return groups


def _coresets(
    inputs: SweepInputs, points: np.ndarray, ratios: Sequence[float]
) -> Iterator[tuple[float, np.ndarray]]:
    """The patches to keep for each of some increasing ratios, 1 keeping all."""
    partial = [ratio for ratio in ratios if ratio < 1]

    def choose(ratio: float) -> np.ndarray:
        return choose_points(
            points,
            ratio,
            num_starts=inputs.num_starts,
            parts=inputs.coreset_parts,
            seed=inputs.seed,
            device=inputs.device,
        )[0]

    # The largest greedy coreset begins with the smaller ones; one in two rounds does not.
    largest = choose(partial[-1]) if partial and inputs.coreset_parts == 1 else None
    for ratio in ratios:
        if ratio == 1:
            yield ratio, np.arange(len(points))
        elif largest is None:
            yield ratio, choose(ratio)
        else:
            yield ratio, largest[: coreset.coreset_size(len(points), ratio)]


def _patches_that_count(
    store: FeatureStore, content_hashes: Sequence[str], masking: BackPatchMasking
) -> Any:
    """Equal for maskings that keep the same patches of these images."""
    return np.packbits(store.foreground(content_hashes, masking)).tobytes()


def _metrics(inputs: SweepInputs, scored: _Scored) -> Iterator[tuple[int, dict[str, Any]]]:
    flat = scored.patch_scores.reshape(len(inputs.tested), -1)
    pixels = NO_PIXEL_METRICS
    method = METHODS[next(iter(scored.settings.values())).method]
    if inputs.masks is not None and method.localises:
        grids = scored.patch_scores
        known = grids if inputs.masked is None else grids[inputs.masked]
        maps = anomaly_maps(known, inputs.preprocessing)
        counted = counted_pixels(known, inputs.preprocessing) if np.isnan(known).any() else None
        pixels = pixel_metrics(inputs.masks, maps, inputs.aupro_limit, counted)
    grouped: dict[tuple[FeatureChoice, float], dict[str, float | None]] = {}
    for position, setting in scored.settings.items():
        scores = scored.image_scores
        if scores is None:
            scores = image_scores(flat, setting.top_k_ratio)
        found = detection_metrics(inputs.labels, scores)
        metrics: dict[str, Any] = {
            "bank_size": scored.bank_size,
            "image_auroc": found.auroc,
            "image_ap": found.ap,
            "image_f1_max": found.f1_max,
            **pixels,
        }
        if len(inputs.defects) and method.localises:
            kind = (setting.features, setting.top_k_ratio)
            if kind not in grouped:
                chosen = image_features(scored.store, inputs.tested, flat, *kind)
                num_clusters = len(set(inputs.defects))
                grouped[kind] = cluster_metrics(inputs.defects, cluster(chosen, num_clusters))
            metrics |= grouped[kind]
        yield position, metrics


def image_features(
    store: FeatureStore,
    content_hashes: Sequence[str],
    patch_scores: np.ndarray,
    choice: FeatureChoice,
    top_k_ratio: float,
) -> np.ndarray:
    """The feature that stands for each image in clustering (section 5.4.1).

    Args:
        store: Features of all patches.
        content_hashes: The images.
        patch_scores: float32 [B, N], zeros for background.
        choice: Which patches stand for an image.
        top_k_ratio: Share of all patches.

    Returns:
        float32 [B, D].
    """
    every = BackPatchMasking(mode="off")
    grid = store.grid_of(content_hashes)
    chosen = []
    for first in range(0, len(content_hashes), IMAGES_AT_ONCE):
        hashes = content_hashes[first : first + IMAGES_AT_ONCE]
        loaded = store.load(hashes, every, grid)
        ends = np.searchsorted(loaded.image, range(1, len(hashes)))
        for image, places, scores in zip(
            np.split(loaded.features, ends),
            np.split(loaded.patch, ends),
            patch_scores[first:],
            strict=False,
        ):
            chosen.append(choose_features(image, scores[places], choice, top_k_ratio))
    return np.stack(chosen)


def summarise_sweep(tables: Mapping[str, pd.DataFrame], spread_over_draws: bool) -> pd.DataFrame:
    """Mean metrics of each setting over categories, and their deviation.

    Args:
        tables: What :func:`evaluate_settings` returned, by category.
        spread_over_draws: The deviation is that of the draws' means over categories; otherwise
            that of the categories, as in a leaderboard.

    Returns:
        A row per setting in order of appearance: ``parameter``, ``value``, ``num_categories``,
        and for each metric ``<metric>`` and ``<metric>_std`` (population); where some mean is not
        over all categories also ``<metric>_count``, over how many. Metrics undefined everywhere are
        left out.
    """
    tables = dict(tables)
    rows = pd.concat(
        [table.assign(category=name) for name, table in tables.items()], ignore_index=True
    )
    setting = ["parameter", "value"]
    outer = DRAWS if spread_over_draws else "category"
    # Tables of earlier versions have fewer.
    metrics = [name for name in SWEPT_METRICS if name in rows and rows[name].notna().any()]
    within = rows.groupby([*setting, outer], sort=False)[metrics].mean()
    groups = within.groupby(setting, sort=False)
    mean, std = groups.mean(), groups.std(ddof=0).add_suffix("_std")
    known = rows.groupby([*setting, "category"], sort=False)[metrics].mean()
    over = known.groupby(setting, sort=False).count()
    # Of none there is no mean, as of the pixels of a method that scores whole images.
    is_partial = (over > 0) & (over < len(tables))
    over = over.loc[:, is_partial.any()].add_suffix("_count")
    columns = [f"{name}{suffix}" for name in metrics for suffix in ("", "_std", "_count")]
    both = pd.concat([mean, std, over], axis=1)
    both = both[[column for column in columns if column in both]]
    count = rows.groupby(setting, sort=False)["category"].nunique().rename("num_categories")
    order = rows[setting].drop_duplicates()
    order = order.assign(_rank=_rank(order, tables)).sort_values("_rank", kind="stable")
    return order[setting].join(count, on=setting).join(both, on=setting).reset_index(drop=True)


def _rank(order: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[int]:
    """Place of each setting in the longest list: small categories lack some numbers of images."""
    longest = max(tables.values(), key=len)
    places: dict[tuple[str, str], int] = {}
    for key in zip(longest["parameter"], longest["value"], strict=True):
        places.setdefault(key, len(places))
    keys = zip(order["parameter"], order["value"], strict=True)
    return [places.get(key, len(places)) for key in keys]


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
