"""Train the quick-start backbone.

    python -m tools.pretrain_quickstart.train --output build/quickstart --minutes 75

Stop it at any time; the same command resumes from the last checkpoint. With `--minutes` the
learning-rate schedule follows the clock, so it ends on time on any machine; `--steps` makes it
follow the step count, which is what makes two runs alike. `--continue-from FILE` gives finished
weights another end of `--minutes`.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from tqdm import tqdm

from .banks import load_banks
from .compose import OBJECTS, TEXTURES, Composed, Composer
from .fetch import DEFAULT_CACHE, SourceLibrary
from .losses import LAST_WEIGHTS, WEIGHTS, Target, attention_target, view_losses
from .model import (
    MODEL_KWARGS,
    PATCH,
    TIMM_MODEL,
    Heads,
    build_backbone,
    encode,
    patchify,
    silence_last_blocks,
)
from .sources import read_sources
from .threads import ThreadGovernor

logger = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 224  # the size the backbone is used at
# Patches are what costs time: few early on, which buys more steps, all of them only at the end.
EARLY_UNTIL, EARLY_KEPT_SIDE, KEPT_SIDE = 0.45, 9, 12  # 81, then 144 of 784 patches a view
EARLY_SMALL_STEPS, SMALL_STEPS = 0.5, 0.2  # share of steps on images of the native 112 px
DENSE_FROM, DENSE_STEPS = 0.78, 0.5  # late on, half the steps see all patches at 224 px
# The end is for local detail on textures, which naming sources has thinned out.
LAST_FROM, LAST_RATE, LAST_EMA_DECAY = 0.887, 0.15, 0.995
# Another end of finished weights: new heads learn first, then all at a low rate; irregularity has
# to take a larger share of the features.
HEADS_ALONE, AGAIN_RATE, AGAIN_SCALE = 0.12, 0.05, 0.4
MUON_RATE, ADAM_RATE, WARM_UP, WEIGHT_DECAY = 0.01, 1.5e-3, 0.02, 0.05
EMA_DECAY = 0.998
SAVE_EVERY, LOG_EVERY = 180.0, 30.0  # seconds
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@dataclass
class Run:
    """Everything a checkpoint must hold.

    Attributes:
        backbone: The ViT in training.
        average: Its exponential moving average, which is what ships.
        heads: The training heads.
        optimizers: Muon for the blocks' matrices, AdamW for the backbone's rest and for the heads.
        generator: Source of all randomness.
        step: Steps done.
        images: Images seen.
        seconds: Training time so far, over all resumptions.
    """

    backbone: VisionTransformer
    average: VisionTransformer
    heads: Heads
    optimizers: list[torch.optim.Optimizer]
    generator: torch.Generator
    step: int = 0
    images: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the old one in place."""
        state = {
            "backbone": self.backbone.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.backbone.load_state_dict(state["backbone"])
        self.average.load_state_dict(state["average"])
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.generator.set_state(state["generator"])
        self.step, self.images = state["step"], state["images"]
        self.seconds = state["seconds"]


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the system.

    Each step frees and allocates the same large tensors; fetching fresh pages for them every time
    made training several times slower on a small virtual machine.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 256 * 2**20)


class StopSignal:
    """Turns an interrupt or a request to end into a last checkpoint."""

    def __init__(self) -> None:
        """Listen for SIGINT and SIGTERM."""
        self.given = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.given = True


def make_run(seed: int, classes: int, device: torch.device) -> Run:
    """Fresh backbone, heads and optimisers."""
    torch.manual_seed(seed)
    backbone = build_backbone(MODEL_KWARGS, seed)
    silence_last_blocks(backbone)
    backbone.to(device)
    heads = Heads(MODEL_KWARGS["embed_dim"], classes).to(device)
    matrices = [p for p in backbone.blocks.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in backbone.parameters() if id(p) not in inside]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(rest, lr=ADAM_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)),
        torch.optim.AdamW(
            heads.parameters(), lr=ADAM_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
        ),
    ]
    generator = torch.Generator(device).manual_seed(seed)
    return Run(backbone, copy.deepcopy(backbone), heads, optimizers, generator)


def set_rates(
    optimizers: list[torch.optim.Optimizer], progress: float, last_rate: float = LAST_RATE
) -> None:
    """Linear warm-up, then cosine decay to nearly nothing, twice; progress runs from 0 to 1."""
    if progress < LAST_FROM:
        progress /= LAST_FROM
        scale = min(1.0, progress / WARM_UP + 0.01) * (0.5 + 0.5 * math.cos(math.pi * progress))
    else:
        through = min(1.0, (progress - LAST_FROM) / (1 - LAST_FROM))
        scale = last_rate * (0.5 + 0.5 * math.cos(math.pi * through))
    for optimizer, rate in zip(optimizers, (MUON_RATE, ADAM_RATE, ADAM_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * max(scale, 0.005)


def another_end(optimizers: list[torch.optim.Optimizer], share: float) -> float:
    """The progress at which finished weights are trained on; sets the rates while heads learn.

    Finished weights come without their heads: these learn first, at the full rate, alone.

    Args:
        optimizers: Those of the run.
        share: How much of the additional time is spent, 0..1.
    """
    if share >= HEADS_ALONE:
        through = (share - HEADS_ALONE) / (1 - HEADS_ALONE)
        progress = LAST_FROM + (1 - LAST_FROM) * through
        set_rates(optimizers, progress, AGAIN_RATE)
        return progress
    for optimizer, rate in zip(optimizers, (0.0, 0.0, ADAM_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
    return LAST_FROM


def load_weights(run: Run, path: Path) -> None:
    """Start the backbone and its average from exported weights."""
    weights = {name: tensor.float() for name, tensor in load(path.read_bytes()).items()}
    run.backbone.load_state_dict(weights)
    run.average.load_state_dict(weights)
    run.heads.irregularity.scale = AGAIN_SCALE


def scattered(batch: int, grid: int, kept: int, generator: torch.Generator) -> Tensor:
    """Random positions in the grid, (batch, kept): a view that sees the whole."""
    order = torch.rand(batch, grid * grid, generator=generator, device=generator.device)
    return order.argsort(1)[:, :kept]


def window(batch: int, grid: int, side: int, generator: torch.Generator) -> Tensor:
    """Positions of a random square window, (batch, side^2): a view that sees the detail."""
    device = generator.device
    span = torch.arange(side, device=device)
    corner = torch.randint(grid - side + 1, (batch, 2), generator=generator, device=device)
    rows, columns = corner[:, :1] + span, corner[:, 1:] + span
    return (rows[:, :, None] * grid + columns[:, None, :]).flatten(1)


def make_target(composed: Composed) -> Target:
    """Targets on the whole grid of a composed batch."""
    mean = torch.tensor(MEAN, device=composed.images.device)[:, None, None]
    std = torch.tensor(STD, device=composed.images.device)[:, None, None]
    coverage = F.avg_pool2d(composed.alpha, PATCH)
    return Target(
        pixels=patchify((composed.images - mean) / std),
        attention=attention_target(coverage),
        coverage=coverage.flatten(1),
        change=F.avg_pool2d(composed.change, PATCH).flatten(1),
        foreground=composed.foreground,
        background=composed.background,
    )


def keep(target: Target, positions: Tensor) -> Target:
    """Restrict targets to some patches, positions (B, N)."""
    rows = positions[..., None].expand(-1, -1, target.pixels.shape[-1])
    return Target(
        pixels=target.pixels.gather(1, rows),
        attention=target.attention.gather(1, positions),
        coverage=target.coverage.gather(1, positions),
        change=target.change.gather(1, positions),
        foreground=target.foreground,
        background=target.background,
    )


def views(
    composer: Composer, batch: int, progress: float, generator: torch.Generator
) -> Iterator[tuple[Target, int, Tensor | None]]:
    """The views of one step: targets, side of the whole grid, positions of the kept patches."""
    early = progress < EARLY_UNTIL
    kept_side = EARLY_KEPT_SIDE if early else KEPT_SIDE
    kind = float(torch.rand((), generator=generator, device=generator.device))
    if progress >= DENSE_FROM and kind < DENSE_STEPS:
        yield make_target(composer.compose(max(1, batch // 3), SIDE)), SIDE // PATCH, None
    elif kind > 1 - (EARLY_SMALL_STEPS if early else SMALL_STEPS):
        side = MODEL_KWARGS["img_size"]
        size, grid = batch * 3 // 2, side // PATCH
        target = make_target(composer.compose(size, side))
        if early:
            positions = scattered(size, grid, kept_side**2, generator)
            yield keep(target, positions), grid, positions
        else:
            yield target, grid, None
    else:
        grid = SIDE // PATCH
        target = make_target(composer.compose(batch, SIDE))
        for positions in (
            scattered(batch, grid, kept_side**2, generator),
            window(batch, grid, kept_side, generator),
        ):
            yield keep(target, positions), grid, positions


def train_step(run: Run, composer: Composer, batch: int, progress: float) -> dict[str, float]:
    """One optimiser step at the rates set; gives the mean of each loss over the step's views."""
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    device = run.generator.device
    is_last = progress >= LAST_FROM
    composer.mixture = TEXTURES if is_last else OBJECTS
    weights = LAST_WEIGHTS if is_last else WEIGHTS
    logged: list[dict[str, Tensor]] = []
    for target, grid, positions in views(composer, batch, progress, run.generator):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            encoded = encode(run.backbone, target.pixels, grid, positions)
        losses = view_losses(_full_precision(encoded), run.heads, target)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        logged.append({name: loss.detach() for name, loss in losses.items()})
        run.images += target.pixels.shape[0]
    nn.utils.clip_grad_norm_([*run.backbone.parameters(), *run.heads.parameters()], 3.0)
    for optimizer in run.optimizers:
        optimizer.step()
    run.step += 1
    decay = min(LAST_EMA_DECAY if is_last else EMA_DECAY, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for ours, theirs in zip(run.average.parameters(), run.backbone.parameters(), strict=True):
            ours.lerp_(theirs, 1 - decay)
    return {name: float(sum(part[name] for part in logged)) / len(logged) for name in WEIGHTS}


def _full_precision(encoded: Any) -> Any:
    return type(encoded)(**{name: value.float() for name, value in vars(encoded).items()})


def export(run: Run, folder: Path, record: dict[str, Any]) -> None:
    """Write the averaged weights in half precision, and the timm arguments beside them."""
    weights = {k: v.half().cpu().contiguous() for k, v in run.average.state_dict().items()}
    (folder / "quickstart.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    record = record | {"steps": run.step, "images": run.images, "minutes": run.seconds / 60}
    card = {"model": TIMM_MODEL, "model_kwargs": MODEL_KWARGS, "training": record}
    text = json.dumps(card, indent=2)
    (folder / "quickstart.json").write_text(text + "\n", encoding="utf-8")


def train(
    run: Run, composer: Composer, governor: ThreadGovernor, arguments: argparse.Namespace
) -> bool:
    """Train until the budget is spent, saving checkpoints on the way; False if stopped early."""
    stop = StopSignal()
    checkpoint = arguments.output / "checkpoint.pt"
    started = time.monotonic() - run.seconds
    saved = logged = time.monotonic()
    smooth: dict[str, float] = {}
    with tqdm(total=100, unit="%", mininterval=5, bar_format="{l_bar}{bar}{postfix}") as bar:
        while True:
            if arguments.steps:
                progress = run.step / arguments.steps
            else:
                progress = run.seconds / (60 * arguments.minutes)
            if progress >= 1 or stop.given:
                break
            governor.adjust()
            if arguments.continue_from:
                position = another_end(run.optimizers, progress)
            else:
                position = progress
                set_rates(run.optimizers, position)
            losses = train_step(run, composer, arguments.batch, position)
            for name, loss in losses.items():
                smooth[name] = 0.98 * smooth.get(name, loss) + 0.02 * loss
            now = time.monotonic()
            run.seconds = now - started
            bar.n = round(100 * progress, 1)
            if now - logged > LOG_EVERY:
                logged = now
                figures = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
                bar.set_postfix_str(f"{run.step} steps {run.images} images {figures}")
            if now - saved > SAVE_EVERY:
                saved = now
                run.save(checkpoint)
    run.save(checkpoint)
    return not stop.given


def main() -> None:
    """Fetch, train, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for all results")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=75.0)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=24, help="composed images a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="at most; 0 = torch's choice")
    parser.add_argument("--continue-from", type=Path, help="exported weights to train on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_freed_memory()
    governor = ThreadGovernor(arguments.threads or torch.get_num_threads())
    arguments.output.mkdir(parents=True, exist_ok=True)

    device = torch.device(arguments.device)
    objects, textures = read_sources("training", "object"), read_sources("training", "texture")
    banks = load_banks(SourceLibrary(arguments.cache), objects, textures, device)
    run = make_run(arguments.seed, banks.object_families + banks.texture_families, device)
    composer = Composer(banks, run.generator)
    checkpoint = arguments.output / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
        logger.info("resumed at step %d, %.1f minutes", run.step, run.seconds / 60)
    elif arguments.continue_from:
        load_weights(run, arguments.continue_from)
    if not train(run, composer, governor, arguments):
        logger.info("stopped at step %d; the same command resumes", run.step)
        return
    record = {"seed": arguments.seed, "batch": arguments.batch, "device": device.type}
    export(run, arguments.output, record)
    logger.info("wrote %s", arguments.output / "quickstart.safetensors")


if __name__ == "__main__":
    main()
