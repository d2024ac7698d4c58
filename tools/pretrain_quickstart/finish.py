"""Finish a trained quick-start backbone on the method's own score.

    python -m tools.pretrain_quickstart.finish --weights build/quickstart/quickstart.safetensors \
        --output build/finished --steps 500

Training names sources and gives local detail on textures away for it. Here damaged views of a
texture must score higher than its sound views, by distances to the nearest patch as the method
measures them, while images of objects, with litter around them, keep their features and masks. It
needs no heads. Stop and resume it as `train.py`.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .compose import OBJECTS, Composer
from .losses import FINISH_WEIGHTS, Target, attention_loss, kept_loss, product_loss
from .model import MODEL_KWARGS, PATCH, build_backbone, encode
from .train import (
    SIDE,
    Run,
    backbone_optimizers,
    export,
    full_precision,
    keep,
    make_target,
    prepare,
    scale_rates,
    scattered,
    square,
    train,
    training_parser,
    window,
)

PRODUCT_STEPS, VIEWS, SOUND_VIEWS = 0.7, 8, 4
# Shares of the steps that see all patches, of fewer images. Without them, the masks of images
# unlike the training's come to take in what lies around the object.
DENSE_PRODUCT_STEPS, DENSE_OBJECT_STEPS = 0.25, 0.5
KEPT_IMAGES = replace(OBJECTS, objects=0.55, blobs=0.25, litter=0.5)
RATE, WARM_UP, EMA_DECAY = 0.3, 0.02, 0.995
KEPT_SIDE = 12  # 144 of 784 patches a view
GRID = SIDE // PATCH


@dataclass(frozen=True)
class View:
    """What one forward pass sees.

    Attributes:
        target: What it should give.
        positions: Positions of the kept patches, (B, N), or None for the whole grid.
        is_of_products: Whether the images are `VIEWS` views of each product.
    """

    target: Target
    positions: Tensor | None
    is_of_products: bool


def load_weights(path: Path) -> VisionTransformer:
    """The backbone with exported weights."""
    backbone = build_backbone(MODEL_KWARGS, 0)
    backbone.load_state_dict({k: v.float() for k, v in load(path.read_bytes()).items()})
    return backbone


def make_run(weights: Path, seed: int, device: torch.device) -> Run:
    """Trained weights, their average and fresh optimisers; no heads."""
    backbone = load_weights(weights).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    optimizers = backbone_optimizers(backbone)
    return Run(backbone, copy.deepcopy(backbone), nn.Identity(), optimizers, generator)


def window_around(change: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Positions of square windows that hold a damaged patch, where there is one.

    Args:
        change: Colour change by damage of the whole grid's patches, (B, GRID^2).
        side: Side of the windows.
        generator: Source of randomness.

    Returns:
        Positions, (B, side^2).
    """
    spot = torch.multinomial(change + 1e-6, 1, generator=generator)
    before = torch.randint(side, (len(change), 2), generator=generator, device=change.device)
    corner = (torch.cat([spot // GRID, spot % GRID], 1) - before).clamp(0, GRID - side)
    return square(corner, GRID, side)


def views(composer: Composer, batch: int, generator: torch.Generator) -> Iterator[View]:
    """The views of one step: of products, or of all kinds of images."""

    def happens(share: float) -> bool:
        return bool(torch.rand((), generator=generator, device=generator.device) < share)

    if happens(PRODUCT_STEPS):
        dense = happens(DENSE_PRODUCT_STEPS)
        products = max(1, batch // VIEWS // (3 if dense else 1))
        target = make_target(composer.compose_products(products, VIEWS, SOUND_VIEWS, SIDE))
        if dense:
            yield View(target, None, is_of_products=True)
        else:
            positions = window_around(target.change, KEPT_SIDE, generator)
            yield View(keep(target, positions), positions, is_of_products=True)
    elif happens(DENSE_OBJECT_STEPS):
        target = make_target(composer.compose(max(1, batch // 3), SIDE))
        yield View(target, None, is_of_products=False)
    else:
        target = make_target(composer.compose(batch, SIDE))
        for positions in (
            scattered(batch, GRID, KEPT_SIDE**2, generator),
            window(batch, GRID, KEPT_SIDE, generator),
        ):
            yield View(keep(target, positions), positions, is_of_products=False)


def finish_step(
    run: Run, before: VisionTransformer, composer: Composer, batch: int, progress: float
) -> dict[str, float]:
    """One optimiser step.

    Args:
        run: What is trained.
        before: The weights it started from.
        composer: Source of the images.
        batch: Images a step.
        progress: Share of the budget spent, 0 to 1.

    Returns:
        The mean of each loss over the step's views, unweighted, by the names of `FINISH_WEIGHTS`.
    """
    cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
    scale_rates(run.optimizers, RATE * max(0.005, min(1.0, progress / WARM_UP) * cosine))
    device = run.generator.device
    logged: dict[str, list[float]] = {}
    for view in views(composer, batch, run.generator):
        target, positions = view.target, view.positions
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            encoded = encode(run.backbone, target.pixels, GRID, positions)
        encoded = full_precision(encoded)
        if view.is_of_products:
            product = product_loss(encoded.features, target.change, VIEWS, SOUND_VIEWS)
            losses = {"product": product}
        else:
            with torch.no_grad():
                wanted = encode(before, target.pixels, GRID, positions).features
            losses = {
                "kept": kept_loss(encoded.features, wanted, target),
                "attention": attention_loss(encoded.log_attention, target.attention),
            }
        torch.stack([FINISH_WEIGHTS[name] * loss for name, loss in losses.items()]).sum().backward()
        for name, loss in losses.items():
            logged.setdefault(name, []).append(float(loss.detach()))
        run.images += target.pixels.shape[0]
    run.update(EMA_DECAY)
    return {name: sum(values) / len(values) for name, values in logged.items()}


def main() -> None:
    """Fetch, train on, export."""
    parser = training_parser(__doc__.splitlines()[0], minutes=17)
    parser.add_argument("--weights", type=Path, required=True, help="what train.py wrote")
    arguments = parser.parse_args()
    governor, banks = prepare(arguments)
    device = torch.device(arguments.device)
    run = make_run(arguments.weights, arguments.seed, device)
    before = load_weights(arguments.weights).to(device)
    composer = Composer(banks, run.generator, KEPT_IMAGES)

    def step(progress: float) -> dict[str, float]:
        return finish_step(run, before, composer, arguments.batch, progress)

    if train(run, step, governor, arguments):
        card = json.loads(arguments.weights.with_suffix(".json").read_text(encoding="utf-8"))
        record = {"seed": arguments.seed, "batch": arguments.batch, "device": device.type}
        export(run, arguments.output, record | {"before": card["training"]})


if __name__ == "__main__":
    main()
