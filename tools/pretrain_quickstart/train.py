"""Train the quick-start backbone.

    python -m tools.pretrain_quickstart.train --output build/quickstart --minutes 75

Stop it at any time; the same command resumes from the last checkpoint. With `--minutes` the
learning-rate schedule follows the clock, so it ends on time on any machine; `--steps` makes it
follow the step count, which is what makes two runs alike. `finish.py` comes after it.
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from tqdm import tqdm

from .banks import Banks, load_banks
from .compose import OBJECTS, TEXTURES, Composed, Composer
from .fetch import DEFAULT_CACHE, SourceLibrary
from .losses import LAST_WEIGHTS, WEIGHTS, Target, attention_target, view_losses
from .model import (
    MODEL_KWARGS,
    PATCH,
    TIMM_MODEL,
    Encoded,
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
MUON_RATE, ADAM_RATE, WARM_UP, WEIGHT_DECAY = 0.01, 1.5e-3, 0.02, 0.05
EMA_DECAY = 0.998
SAVE_EVERY, LOG_EVERY = 180.0, 30.0  # seconds
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

Step = Callable[[float], dict[str, float]]


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
    heads: nn.Module
    optimizers: list[torch.optim.Optimizer]
    generator: torch.Generator
    step: int = 0
    images: int = 0
    seconds: float = 0.0

    def update(self, ema_decay: float) -> None:
        """One optimiser step on the gradients at hand; the average follows, quicker at first."""
        nn.utils.clip_grad_norm_([*self.backbone.parameters(), *self.heads.parameters()], 3.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            theirs = self.backbone.parameters()
            for ours, parameter in zip(self.average.parameters(), theirs, strict=True):
                ours.lerp_(parameter, 1 - decay)

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
    optimizers = [*backbone_optimizers(backbone), _adam(heads.parameters())]
    generator = torch.Generator(device).manual_seed(seed)
    return Run(backbone, copy.deepcopy(backbone), heads, optimizers, generator)


def backbone_optimizers(backbone: VisionTransformer) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest."""
    matrices = [p for p in backbone.blocks.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=WEIGHT_DECAY)
    return [muon, _adam(p for p in backbone.parameters() if id(p) not in inside)]


def _adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=ADAM_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))


def set_rates(optimizers: list[torch.optim.Optimizer], progress: float) -> None:
    """Linear warm-up, then cosine decay to nearly nothing, twice; progress runs from 0 to 1."""
    if progress < LAST_FROM:
        progress /= LAST_FROM
        scale = min(1.0, progress / WARM_UP + 0.01) * (0.5 + 0.5 * math.cos(math.pi * progress))
    else:
        through = min(1.0, (progress - LAST_FROM) / (1 - LAST_FROM))
        scale = LAST_RATE * (0.5 + 0.5 * math.cos(math.pi * through))
    scale_rates(optimizers, max(scale, 0.005))


def scale_rates(optimizers: list[torch.optim.Optimizer], scale: float) -> None:
    """Set all learning rates to a share of their largest."""
    for optimizer in optimizers:
        rate = MUON_RATE if isinstance(optimizer, torch.optim.Muon) else ADAM_RATE
        for group in optimizer.param_groups:
            group["lr"] = scale * rate


def scattered(batch: int, grid: int, kept: int, generator: torch.Generator) -> Tensor:
    """Random positions in the grid, (batch, kept): a view that sees the whole."""
    order = torch.rand(batch, grid * grid, generator=generator, device=generator.device)
    return order.argsort(1)[:, :kept]


def window(batch: int, grid: int, side: int, generator: torch.Generator) -> Tensor:
    """Positions of a random square window, (batch, side^2): a view that sees the detail."""
    device = generator.device
    corner = torch.randint(grid - side + 1, (batch, 2), generator=generator, device=device)
    return square(corner, grid, side)


def square(corner: Tensor, grid: int, side: int) -> Tensor:
    """Positions of squares in the grid from their corners (row, column), (batch, side^2)."""
    span = torch.arange(side, device=corner.device)
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
    assert isinstance(run.heads, Heads)  # as make_run made them
    device = run.generator.device
    is_last = progress >= LAST_FROM
    composer.mixture = TEXTURES if is_last else OBJECTS
    weights = LAST_WEIGHTS if is_last else WEIGHTS
    logged: list[dict[str, Tensor]] = []
    for target, grid, positions in views(composer, batch, progress, run.generator):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            encoded = encode(run.backbone, target.pixels, grid, positions)
        losses = view_losses(full_precision(encoded), run.heads, target)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        logged.append({name: loss.detach() for name, loss in losses.items()})
        run.images += target.pixels.shape[0]
    run.update(LAST_EMA_DECAY if is_last else EMA_DECAY)
    return {name: float(sum(part[name] for part in logged)) / len(logged) for name in WEIGHTS}


def full_precision(encoded: Encoded) -> Encoded:
    """The same in float32."""
    return Encoded(**{name: value.float() for name, value in vars(encoded).items()})


def export(run: Run, folder: Path, record: dict[str, Any]) -> None:
    """Write the averaged weights in half precision, and the timm arguments beside them."""
    weights = {k: v.half().cpu().contiguous() for k, v in run.average.state_dict().items()}
    (folder / "quickstart.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    record = record | {"steps": run.step, "images": run.images, "minutes": run.seconds / 60}
    card = {"model": TIMM_MODEL, "model_kwargs": MODEL_KWARGS, "training": record}
    text = json.dumps(card, indent=2)
    (folder / "quickstart.json").write_text(text + "\n", encoding="utf-8")
    logger.info("wrote %s", folder / "quickstart.safetensors")


def train(run: Run, step: Step, governor: ThreadGovernor, arguments: argparse.Namespace) -> bool:
    """Train until the budget is spent, saving checkpoints on the way.

    Args:
        run: What is trained; continued from its checkpoint if there is one.
        step: Does one step at a progress, 0 to 1, and gives its losses by name.
        governor: Asked before each step.
        arguments: Those of `training_parser`.

    Returns:
        Whether the budget was spent; False if stopped early.
    """
    stop = StopSignal()
    checkpoint = arguments.output / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
        logger.info("resumed at step %d, %.1f minutes", run.step, run.seconds / 60)
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
            for name, loss in step(progress).items():
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
    if stop.given:
        logger.info("stopped at step %d; the same command resumes", run.step)
    return not stop.given


def training_parser(description: str, minutes: float) -> argparse.ArgumentParser:
    """The options that every training here has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, required=True, help="folder for all results")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=minutes)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=24, help="composed images a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="at most; 0 = torch's choice")
    return parser


def prepare(arguments: argparse.Namespace) -> tuple[ThreadGovernor, Banks]:
    """Set the process up and decode the training pictures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_freed_memory()
    governor = ThreadGovernor(arguments.threads or torch.get_num_threads())
    arguments.output.mkdir(parents=True, exist_ok=True)
    objects, textures = read_sources("training", "object"), read_sources("training", "texture")
    library, device = SourceLibrary(arguments.cache), torch.device(arguments.device)
    return governor, load_banks(library, objects, textures, device)


def main() -> None:
    """Fetch, train, export."""
    arguments = training_parser(__doc__.splitlines()[0], minutes=75).parse_args()
    governor, banks = prepare(arguments)
    device = torch.device(arguments.device)
    run = make_run(arguments.seed, banks.object_families + banks.texture_families, device)
    composer = Composer(banks, run.generator)

    def step(progress: float) -> dict[str, float]:
        set_rates(run.optimizers, progress)
        return train_step(run, composer, arguments.batch, progress)

    if train(run, step, governor, arguments):
        record = {"seed": arguments.seed, "batch": arguments.batch, "device": device.type}
        export(run, arguments.output, record)


if __name__ == "__main__":
    main()
