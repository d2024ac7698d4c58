"""Pictures of clusters: a t-SNE embedding and contact sheets, as in the paper's Fig. 8 and 9."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from uniformaly_pipeline.evaluation.clustering import match_clusters
from uniformaly_pipeline.reporting.figures.pictures import GROUND, contact_sheet
from uniformaly_pipeline.reporting.figures.style import (
    ANOMALOUS_COLOUR,
    COLOURS,
    INK,
    MARKERS,
    sized_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 8
_TILE_PX = 112
_HEADING_PX = 26
_HEADING_FONT_PX = 14
_PERPLEXITY = 30.0
_LEGEND_COLUMNS = 3
_LEGEND_ROW_INCHES = 0.17
_NAME_CHARACTERS = 24


def embed_2d(features: np.ndarray, seed: int) -> np.ndarray:
    """Place images in a plane so that similar ones are close, by t-SNE.

    Args:
        features: float [n, D], a vector per image.
        seed: Seed of t-SNE.

    Returns:
        float32 [n, 2]; for fewer than 4 images, which t-SNE cannot place, their principal
        components, and zeros where all vectors are equal.

    Raises:
        ValueError: A feature is NaN or infinite.
    """
    features = np.asarray(features, np.float32)
    if not np.isfinite(features).all():
        raise ValueError("a feature to embed is not a finite number")
    count = len(features)
    if count == 0 or (features == features[0]).all():
        return np.zeros((count, 2), np.float32)
    if count < 4:
        return _principal_components(features)
    # scikit-learn takes a second to import, which "kedro registry list" need not wait for.
    from sklearn.manifold import TSNE

    # A third of the images, as neighbours; t-SNE itself demands less than all of them.
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    if features.shape[1] < 2:
        # Its start by principal components needs two.
        features = np.pad(features, ((0, 0), (0, 1)))
    model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    places: np.ndarray = model.fit_transform(features)
    return places.astype(np.float32)


def cluster_figure(
    embedding: np.ndarray, truth: Sequence[str], found: Sequence[int], title: str
) -> Figure:
    """Draw the same points twice: by their true kind and by the cluster found.

    A cluster is drawn like the kind that it is matched to, so that a point that looks otherwise on
    the right than on the left is in the wrong cluster.

    Args:
        embedding: float [n, 2].
        truth: Kind of each image [n].
        found: Cluster of each image [n].
        title: Name of the category.

    Returns:
        The figure; without images it says so.

    Raises:
        ValueError: The numbers of points, kinds and clusters differ.
    """
    _check_lengths(len(embedding), truth, found)
    kinds, clusters = sorted(set(truth)), sorted({int(number) for number in found})
    rows = math.ceil(max(len(kinds), len(clusters)) / _LEGEND_COLUMNS)
    # The legends grow downwards: the points keep their room.
    height = 3.5 + _LEGEND_ROW_INCHES * rows
    figure = sized_figure(7.6, height)
    # An empty title would still take room.
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=10, color=INK, parse_math=False)
    left, right = figure.subplots(1, 2)
    matched = match_clusters(truth, np.asarray(found)) if clusters else {}
    style_of_kind = {kind: number for number, kind in enumerate(kinds)}
    style_of_cluster = _cluster_styles(clusters, matched, style_of_kind)
    _draw_groups(left, "true kind", embedding, list(truth), style_of_kind)
    names = {number: f"cluster {number}" for number in clusters}
    _draw_groups(
        right,
        "cluster found",
        embedding,
        [names[int(number)] for number in found],
        {names[number]: style for number, style in style_of_cluster.items()},
    )
    return figure


def standardised(features: np.ndarray) -> np.ndarray:
    """Features with mean 0 and deviation 1 in every dimension, as the authors embed them.

    Args:
        features: float [n, D].

    Returns:
        float32 [n, D]; zeros in a dimension in which all are equal.
    """
    features = np.asarray(features, np.float64)
    spread, differs = features.std(axis=0), np.ptp(features, axis=0) > 0
    centred = features - features.mean(axis=0)
    divided: np.ndarray = np.divide(centred, spread, out=np.zeros_like(centred), where=differs)
    return divided.astype(np.float32)


def cluster_maps_figure(
    maps: Mapping[str, tuple[np.ndarray, Sequence[int]]], truth: Sequence[str], title: str
) -> Figure:
    """Draw the same images by several choices of features, as in the paper's Fig. 8.

    Above by their true kind, below by the cluster found, each drawn like the kind that it is
    matched to.

    Args:
        maps: By the name of the choice: the images' places, float [n, 2], and clusters [n].
        truth: Kind of each image [n].
        title: Name of the category.

    Returns:
        The figure.

    Raises:
        ValueError: The numbers of points, kinds and clusters differ.
    """
    kinds = sorted(set(truth))
    style_of_kind = {kind: number for number, kind in enumerate(kinds)}
    rows = math.ceil(len(kinds) / 2)
    figure = sized_figure(3.1 * len(maps), 5.6 + 2 * _LEGEND_ROW_INCHES * rows)
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, color=INK, parse_math=False)
    above, below = figure.subplots(2, len(maps), squeeze=False)
    for upper, lower, (name, (embedding, found)) in zip(above, below, maps.items(), strict=True):
        _check_lengths(len(embedding), truth, found)
        clusters = sorted({int(number) for number in found})
        matched = match_clusters(truth, np.asarray(found)) if clusters else {}
        styles = _cluster_styles(clusters, matched, style_of_kind)
        _draw_groups(upper, f"{name}: true kind", embedding, truth, style_of_kind, columns=2)
        names = {number: f"cluster {number}" for number in clusters}
        groups = [names[int(number)] for number in found]
        styled = {names[number]: style for number, style in styles.items()}
        _draw_groups(lower, f"{name}: cluster found", embedding, groups, styled, columns=2)
    return figure


def cluster_sheets(
    images: Sequence[Image.Image | np.ndarray],
    truth: Sequence[str],
    found: Sequence[int],
    limit: int = 24,
) -> Image.Image:
    """A contact sheet of each cluster, one below the other.

    Images are captioned by their kind; those whose kind is not the cluster's most frequent one
    come last and are framed. Where a cluster has more than ``limit`` images, both sorts are
    thinned out alike.

    Args:
        images: PIL images or uint8 arrays [H, W, 3].
        truth: Kind of each image.
        found: Cluster of each image.
        limit: Images of a cluster shown at most; 0 shows the headings alone.

    Returns:
        An RGB image.

    Raises:
        ValueError: The numbers of images, kinds and clusters differ, or ``limit`` is negative.
    """
    _check_lengths(len(images), truth, found)
    if limit < 0:
        raise ValueError(f"cannot show {limit} images of a cluster")
    members: dict[int, list[int]] = {}
    for position, number in enumerate(found):
        members.setdefault(int(number), []).append(position)
    sheets = [
        _sheet(number, members[number], images, truth, limit) for number in sorted(members)
    ] or [_heading_strip("no images")]
    width = max(sheet.width for sheet in sheets)
    whole = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)), GROUND)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def cluster_heading(number: int, kinds: Sequence[str]) -> str:
    """What a cluster holds, in one line.

    Args:
        number: The cluster.
        kinds: Kind of each of its images, at least one.

    Example:
        >>> cluster_heading(2, ["scratch", "scratch", "dent"])
        'cluster 2: 3 images, mostly scratch (2)'
    """
    kind, count = Counter(kinds).most_common(1)[0]
    images = "1 image" if len(kinds) == 1 else f"{len(kinds)} images"
    share = f"all {kind}" if count == len(kinds) else f"mostly {kind} ({count})"
    return f"cluster {number}: {images}, {share}"


def _check_lengths(number: int, truth: Sequence[str], found: Sequence[int]) -> None:
    if not number == len(truth) == len(found):
        raise ValueError(f"{number} images, {len(truth)} kinds and {len(found)} clusters")


def _principal_components(features: np.ndarray) -> np.ndarray:
    """The first two principal components of a few vectors [n, D], n >= 2: float32 [n, 2]."""
    centred = features - features.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    components = (left * lengths)[:, :2]
    # Either sign is a principal component: fix the one that is told.
    components *= np.where(components[0] < 0, -1, 1)
    return np.pad(components, ((0, 0), (0, 2 - components.shape[1]))).astype(np.float32)


def _cluster_styles(
    clusters: Sequence[int], matched: Mapping[int, str], style_of_kind: Mapping[str, int]
) -> dict[int, int]:
    """The style of each cluster: that of its kind; unmatched ones get styles of their own."""
    styles = {}
    spare = len(style_of_kind)
    for number in clusters:
        if number in matched:
            styles[number] = style_of_kind[matched[number]]
        else:
            styles[number] = spare
            spare += 1
    return styles


def bank_figure(embedding: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw the vectors of a memory bank by the class they are of, as in the paper's Fig. 10.

    Args:
        embedding: float [n, 2].
        classes: Class of each vector [n].
        title: What the bank is of.
    """
    figure = sized_figure(5.6, 5.0)
    styles = {name: number for number, name in enumerate(sorted(set(classes)))}
    axes = figure.subplots()
    _draw_groups(axes, "", embedding, classes, styles, scale=0.35)
    axes.set_title(title, fontsize=10, loc="left", color=INK, parse_math=False)
    return figure


def _draw_groups(
    axes: Axes,
    title: str,
    embedding: np.ndarray,
    groups: Sequence[str],
    styles: Mapping[str, int],
    scale: float = 1.0,
    columns: int = _LEGEND_COLUMNS,
) -> None:
    """Draw each group's points in its style, in the order of ``styles``, with a legend."""
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.07)
    for spine in axes.spines.values():
        spine.set_color("#BBBBBB")
    if not groups:
        axes.text(
            0.5, 0.5, "no images", ha="center", va="center", color=INK, transform=axes.transAxes
        )
        return
    labels = np.asarray(groups)
    for name, style in styles.items():
        points = embedding[labels == name]
        marker = MARKERS[style % len(MARKERS)]
        axes.scatter(
            points[:, 0],
            points[:, 1],
            # Stars and pluses look smaller than they are.
            s=scale * (48 if marker in "*PX" else 30),
            color=COLOURS[style % len(COLOURS)],
            marker=marker,
            linewidths=0.5 * scale,
            edgecolors="white",
            label=_shortened(name),
        )
    legend = axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=columns,
        frameon=False,
        fontsize=8,
        handletextpad=0.1,
        columnspacing=0.9,
    )
    for text in legend.get_texts():
        # A dollar sign in a folder's name starts no formula.
        text.set_parse_math(False)


def _shortened(name: str) -> str:
    # Matplotlib leaves names that begin with an underscore out of legends.
    name = name.lstrip("_") or name.replace("_", "-")
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"


def _sheet(
    number: int,
    members: Sequence[int],
    images: Sequence[Image.Image | np.ndarray],
    truth: Sequence[str],
    limit: int,
) -> Image.Image:
    """One cluster under its heading."""
    kinds = [truth[position] for position in members]
    majority = Counter(kinds).most_common(1)[0][0]
    ordered = sorted(members, key=lambda position: truth[position] != majority)
    shown = ordered
    if len(ordered) > limit:
        # Evenly spaced, so that the shares of the kinds are kept.
        spaced = np.linspace(0, len(ordered) - 1, limit).round().astype(int)
        shown = [ordered[place] for place in spaced]
    heading = cluster_heading(number, kinds)
    if len(shown) < len(members):
        heading += f"; {len(shown)} shown"
    strip = _heading_strip(heading)
    if not shown:
        return strip
    tiles = [_tile(images[position], truth[position] != majority) for position in shown]
    body = contact_sheet(tiles, _COLUMNS, [truth[position] for position in shown], _TILE_PX)
    size = (max(strip.width, body.width), strip.height + body.height)
    sheet = Image.new("RGB", size, GROUND)
    sheet.paste(strip, (0, 0))
    sheet.paste(body, (0, strip.height))
    return sheet


def _heading_strip(text: str) -> Image.Image:
    """A line of text on the ground of the sheets, as wide as the text needs."""
    font = ImageFont.load_default(size=_HEADING_FONT_PX)
    strip = Image.new("RGB", (math.ceil(font.getlength(text)) + 16, _HEADING_PX), GROUND)
    ImageDraw.Draw(strip).text((8, 7), text, fill="white", font=font)
    return strip


def _tile(image: Image.Image | np.ndarray, is_stranger: bool) -> Image.Image:
    """An image fitted into a tile; a stranger gets a dashed frame."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    tile = ImageOps.contain(picture.convert("RGB"), (_TILE_PX, _TILE_PX))
    if is_stranger:
        _dashed_frame(tile)
    return tile


def _dashed_frame(tile: Image.Image, width: int = 5, dash: int = 14) -> None:
    """Draw a frame along a tile's border, dashed on white: it shows on any picture."""
    along = np.add.outer(np.arange(tile.height), np.arange(tile.width)) % dash < dash * 2 // 3
    border = np.ones((tile.height, tile.width), bool)
    border[width:-width, width:-width] = False
    pixels = np.asarray(tile).copy()
    pixels[border] = 255
    pixels[border & along] = [int(ANOMALOUS_COLOUR[i : i + 2], 16) for i in (1, 3, 5)]
    tile.paste(Image.fromarray(pixels))
