"""Half precision, only where scores stay what they are: ``encoder.precision: auto`` on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

import torch

from uniformaly_pipeline.features.encoder import Encoded, Encoder, Precision
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels

logger = logging.getLogger(__name__)

HALF_PRECISIONS: tuple[Precision, ...] = ("float16", "bfloat16")
"""What is tried, in this order: bfloat16 has fewer digits, but no feature overflows it."""

TOLERANCE = 1.5e-3
"""Largest relative difference of an image score in the check: less than the 2e-3 that a run is
promised, since it has more images than the few of the check."""

GROUP = 4
"""Neighbouring images that are compared with each other; the check takes two groups."""

TOP_K_RATIO = 0.05
"""Share of an image's patches whose scores are averaged."""


def choose_half_precision(
    encode: Callable[[Precision], Encoded],
    masking: BackPatchMasking,
    num_parts: int = 1,
    group: int = GROUP,
) -> Precision:
    """The first half precision that keeps scores within :data:`TOLERANCE`, else float32.

    Args:
        encode: Encodes the same images, two or more in each group, in this precision.
        masking: Which patches count.
        num_parts: Layer choices that lie side by side in the features; each must keep its scores.
        group: Images that follow each other and are compared with each other.

    Returns:
        The precision; the log says why.
    """
    full = image_scores(encode("float32"), masking, num_parts, group)
    for name in HALF_PRECISIONS:
        half = image_scores(encode(name), masking, num_parts, group)
        difference = largest_difference(half, full)
        if difference <= TOLERANCE:
            logger.info("encoder.precision: %s, which changes scores by at most %.1e of "
                        "themselves on %d images", name, difference, full.shape[1])  # fmt: skip
            return name
        logger.info("encoder.precision: not %s, which changes scores by up to %.1e of themselves "
                    "where %.1e is allowed", name, difference, TOLERANCE)  # fmt: skip
    logger.info("encoder.precision: float32, since half precision would change scores")
    return "float32"


def image_scores(
    encoded: Encoded, masking: BackPatchMasking, num_parts: int, group: int
) -> torch.Tensor:
    """Score each image against all patches of the others of its group, as a run does (section 4.2).

    Args:
        encoded: Features [B, N, D] and attention of the images.
        masking: Which patches count.
        num_parts: Layer choices that lie side by side in the features.
        group: Images of a group, which follow each other.

    Returns:
        float64 [parts, B], means of the highest squared distances; not finite where features
        are not.
    """
    features = encoded.features.double().cpu()
    attention = encoded.attention.float().cpu()
    foreground, weights = masking.foreground(attention), masking.weights(attention).double()
    count = max(1, round(TOP_K_RATIO * features.shape[1]))
    scores = []
    for part in features.chunk(num_parts, dim=2):
        for i in range(len(part)):
            first = i - i % group
            others = [j for j in range(first, min(first + group, len(part))) if j != i]
            bank = part[others][foreground[others]]
            distances = torch.zeros(part.shape[1], dtype=torch.float64)
            if len(bank) and foreground[i].any():
                searched = torch.cdist(part[i][foreground[i]], bank).amin(dim=1) ** 2
                distances[foreground[i]] = searched * weights[i][foreground[i]]
            scores.append(distances.topk(count).values.mean())
    return torch.stack(scores).reshape(num_parts, -1)


def largest_difference(half: torch.Tensor, full: torch.Tensor) -> float:
    """Largest difference relative to the scores ``full``; infinite where one is not finite."""
    relative = (half - full).abs() / full.abs().clamp_min(torch.finfo(full.dtype).tiny)
    return float(torch.nan_to_num(relative, nan=torch.inf).max())


def check_on_images(
    encoder: Encoder,
    folder: ImageFolder,
    images: Collection[str],
    preprocessing: Preprocessing,
    masking: BackPatchMasking,
    levels: Mapping[str, Levels] | None = None,
) -> Precision:
    """Choose the precision of a model on a few images of the run.

    Half of them are the first by name, half come from the middle; neighbours by name are mostly
    of one folder, and so alike, which is where rounding weighs most.

    Args:
        encoder: The encoder; its :attr:`~.encoder.Encoder.dtype` is float32 afterwards.
        folder: Where the images are.
        images: Relative paths of the run's images.
        preprocessing: From image to input.
        masking: Which patches count.
        levels: Black and white of deep images by path.
    """
    if len(images) < 2 * GROUP:
        logger.info("encoder.precision: float32, for there are too few images to check another")
        return "float32"
    names = sorted(images)
    middle = max(GROUP, len(names) // 2)
    chosen = names[:GROUP] + names[middle : middle + GROUP]
    pictures = [
        preprocessing.image_tensor(folder.read_image(name, (levels or {}).get(name, Levels())))
        for name in chosen
    ]

    def encode(precision: Precision) -> Encoded:
        encoder.dtype = getattr(torch, precision)
        batches = [encoder(picture[None]) for picture in pictures]
        encoder.dtype = torch.float32
        return Encoded(
            torch.cat([batch.features for batch in batches]),
            torch.cat([batch.attention for batch in batches]),
        )

    return choose_half_precision(encode, masking, len(encoder.layer_choices))
