"""The training losses on one view: what each is for stands beside its weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import Encoded, Heads

WEIGHTS = {
    "class_token": 1.0,  # the class token names what is in front: it must look for objects
    "pooled": 0.5,  # so does the attention-weighted mean patch
    "patch": 0.7,  # each patch names its own source: categories part in feature space
    "attention": 0.7,  # attention spreads over the foreground, evenly over a full-frame texture
    "pixels": 1.0,  # features keep the local detail that naming sources throws away
    "irregularity": 2.5,  # damaged patches stand out along one direction of the features
}
LAST_WEIGHTS = WEIGHTS | {"irregularity": 4.0}
"""At the end of a run."""
FINISH_WEIGHTS = {
    "product": 1.0,  # damage scores higher than any sound view of the same texture
    "kept": 10.0,  # images of objects keep their features: categories stay apart
    "attention": 3.0,  # and their masks
}
"""Of `finish.py`."""

_FRONT, _BEHIND = 0.7, 0.3  # patch coverage that counts as foreground, as background
_CHANGED, _UNCHANGED = 0.025, 0.003  # mean colour change that counts as damaged, as sound
_DAMAGED_SHARE = 0.35  # of the loss; of the patches it is less than a hundredth
_SMOOTHING = 7  # BPM's kernel on the 28x28 grid
_SHARPNESS = 4  # exponent chosen on TRAINING cut-outs: BPM IoU .41 (alpha itself) -> .60
_MIN_FOREGROUND = 0.02
_SCORED = 39  # patches in an image score: the method's 5% of 784
_MARGIN, _SOFTNESS = 0.3, 0.3  # of scores, in natural logarithms of squared distances
_TEXTURE_WEIGHT = 2.0  # of full-frame textures in the attention loss: uneven, they lose patches


@dataclass(frozen=True)
class Target:
    """What one view should give, for B images and N kept patches.

    Attributes:
        pixels: Normalised pixel rows of the kept patches, (B, N, 192).
        attention: Target attention over the kept patches, unnormalised, (B, N).
        coverage: Foreground coverage of each patch, (B, N).
        change: Mean colour change by damage of each patch, (B, N).
        foreground: Family in front, (B,), -1 for none.
        background: Family behind, (B,), -1 for none.
    """

    pixels: Tensor
    attention: Tensor
    coverage: Tensor
    change: Tensor
    foreground: Tensor
    background: Tensor


def attention_target(coverage: Tensor) -> Tensor:
    """Attention whose smoothed map, cut at a tenth of its maximum, gives the foreground back.

    BPM's 7x7 mean spreads attention three patches beyond the object, so attention over the whole
    object gives too large a mask. The target therefore fades towards the outline. Padding is left
    out of the mean here: a texture that fills the frame gets an exactly even target.

    Args:
        coverage: Foreground coverage of the patch grid, (B, 1, G, G).

    Returns:
        Unnormalised target, (B, G * G), maximum 1.
    """
    kernel = _SMOOTHING if coverage.shape[-1] > 20 else _SMOOTHING // 2  # half the grid: 3x3
    depth = F.avg_pool2d(coverage, kernel, 1, kernel // 2, count_include_pad=False)
    depth = (coverage * depth).flatten(1)
    depth = depth / depth.amax(1, keepdim=True).clamp_min(1e-6)
    return depth**_SHARPNESS


def _named(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy over the rows that have a label."""
    labelled = labels >= 0
    if not bool(labelled.any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits[labelled], labels[labelled], label_smoothing=0.05)


def attention_loss(log_attention: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the attention from its target, in nats."""
    mass = target.sum(1)
    # A view may miss the object: then there is nothing to attend to.
    usable = mass > _MIN_FOREGROUND * target.shape[1]
    if not bool(usable.any()):
        return log_attention.sum() * 0.0
    wanted = target[usable] / mass[usable, None]
    divergence = F.kl_div(log_attention[usable], wanted, reduction="none").sum(1)
    full = target[usable].amin(1) > 0.99
    weight = torch.where(full, _TEXTURE_WEIGHT, 1.0)
    return (weight * divergence).sum() / weight.sum()


def irregularity_loss(logits: Tensor, change: Tensor) -> Tensor:
    """Binary cross entropy of damaged and of sound patches, weighed; faint damage is left out."""
    damaged, sound = change > _CHANGED, change < _UNCHANGED
    missed = F.softplus(-logits)[damaged].sum() / damaged.sum().clamp_min(1)
    alarms = F.softplus(logits)[sound].sum() / sound.sum().clamp_min(1)
    return _DAMAGED_SHARE * missed + (1 - _DAMAGED_SHARE) * alarms


def nearest_distances(features: Tensor, sound: int) -> Tensor:
    """Squared distance of each patch to the nearest one in other, sound views of its product.

    Every view is compared with one sound view less than there are, so that damaged views have no
    larger choice than sound ones.

    Args:
        features: Patch features of P products in V views, (P, V, N, D).
        sound: The first views of each product are sound, two at least.

    Returns:
        Distances, (P, V, N), differentiable in both ends.
    """
    products, views, patches, width = features.shape
    bank = features[:, :sound].flatten(1, 2)
    with torch.no_grad():
        distances = torch.cdist(features.flatten(1, 2), bank)
        distances = distances.view(products, views, patches, sound, patches)
        for view in range(views):
            distances[:, view, :, view % sound] = torch.inf
        nearest = distances.flatten(3).argmin(-1).flatten(1)
    rows = nearest[..., None].expand(-1, -1, width)
    neighbours = bank.gather(1, rows).view_as(features)
    return (features - neighbours).square().sum(-1)


def product_loss(features: Tensor, change: Tensor, views: int, sound: int) -> Tensor:
    """The method itself as a loss: damage must score higher than sound views of the product.

    Image scores, the mean of the largest distances, are compared by pairs of a sound and a damaged
    view. In the damaged views, each damaged patch must exceed the scores of the sound views, and no
    sound patch may: damage seen from afar would blur the anomaly map. All in logarithms: what
    counts is the ratio.

    Args:
        features: Patch features of V views of each of P products, (P * V, N, D).
        change: Mean colour change by damage of each patch, (P * V, N).
        views: V.
        sound: The first views of each product are sound.
    """
    distances = nearest_distances(features.unflatten(0, (-1, views)), sound).clamp_min(1e-6)
    scores = distances.topk(min(_SCORED, distances.shape[-1]), dim=-1).values.mean(-1).log()
    normal, anomalous = scores[:, :sound], scores[:, sound:]
    change = change.unflatten(0, (-1, views))[:, sound:]
    damaged, intact = change > _CHANGED, change < _UNCHANGED
    # Black paint on black stone is no damage.
    visible = damaged.sum(-1, keepdim=True).transpose(1, 2) > 1
    pairs = _exceeds(anomalous[:, None, :], normal[:, :, None])
    of_images = (pairs * visible).sum() / (visible.sum() * sound).clamp_min(1)
    patches, reference = distances[:, sound:].log(), normal.mean(1)[:, None, None]
    missed = (_exceeds(patches, reference) * damaged).sum() / damaged.sum().clamp_min(1)
    alarms = (_exceeds(reference + _MARGIN, patches) * intact).sum() / intact.sum().clamp_min(1)
    return of_images + missed + alarms


def kept_loss(features: Tensor, before: Tensor, target: Target) -> Tensor:
    """How far the features have moved, as a share of their variance.

    Views that the foreground fills are left out: on textures the product loss has a free hand.

    Args:
        features: Patch features, (B, N, D).
        before: Those of the weights that training started from, (B, N, D).
        target: Of the same patches.
    """
    rows = target.coverage.amin(1) < _BEHIND
    if not bool(rows.any()):
        return features.sum() * 0.0
    wanted = before[rows].flatten(0, 1)
    variance = (wanted - wanted.mean(0)).square().sum()
    return (features[rows].flatten(0, 1) - wanted).square().sum() / variance


def _exceeds(score: Tensor, reference: Tensor) -> Tensor:
    """Logistic loss of a score that should exceed a reference by a margin."""
    return F.softplus((reference + _MARGIN - score) / _SOFTNESS)


def view_losses(encoded: Encoded, heads: Heads, target: Target) -> dict[str, Tensor]:
    """All losses of one view, unweighted, by the names of `WEIGHTS`."""
    attention = encoded.log_attention.exp()[..., None]
    pooled = (attention * encoded.patches).sum(1)
    # A third of the patches suffices to name sources and saves most of the classifier's time.
    some = slice(None, None, 3)
    coverage = target.coverage[:, some]
    labels = torch.full_like(coverage, -1, dtype=torch.long)
    labels = torch.where(coverage > _FRONT, target.foreground[:, None], labels)
    labels = torch.where(coverage < _BEHIND, target.background[:, None], labels)
    labels = torch.where(target.change[:, some] > _UNCHANGED, -1, labels)
    return {
        "class_token": _named(heads.class_token(encoded.class_token), target.foreground),
        "pooled": _named(heads.pooled(pooled), target.foreground),
        "patch": _named(heads.patch(encoded.features[:, some]).flatten(0, 1), labels.flatten()),
        "attention": attention_loss(encoded.log_attention, target.attention),
        "pixels": F.mse_loss(heads.pixels(encoded.features), target.pixels),
        "irregularity": irregularity_loss(heads.irregularity(encoded.features), target.change),
    }
