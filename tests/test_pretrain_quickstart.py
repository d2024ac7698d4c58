"""The training of the quick-start backbone: what it composes, its own losses, stopping."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).parents[1]))

from tools.pretrain_quickstart import finish, train
from tools.pretrain_quickstart.banks import OBJECT_SIDE, TEXTURE_SIDE, Banks
from tools.pretrain_quickstart.compose import Composer, Mixture
from tools.pretrain_quickstart.losses import (
    Target,
    kept_loss,
    nearest_distances,
    product_loss,
)
from tools.pretrain_quickstart.sources import read_sources
from tools.pretrain_quickstart.threads import ThreadGovernor
from uniformaly_pipeline.features.encoder import Encoder

OBJECTS, TEXTURES = 2, 5


@pytest.fixture(scope="module")
def banks() -> Banks:
    """Opaque squares in one colour, and textures that differ by their colour and grain."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.zeros(OBJECTS, 4, OBJECT_SIDE, OBJECT_SIDE, dtype=torch.uint8)
    objects[:, 0, 40:150, 40:150], objects[:, 3, 40:150, 40:150] = 200, 255
    colour = torch.randint(60, 180, (TEXTURES, 3, 1, 1), generator=generator)
    grain = torch.randint(40, (TEXTURES, 3, TEXTURE_SIDE, TEXTURE_SIDE), generator=generator)
    labels = torch.arange(TEXTURES)
    return Banks(objects, labels[:OBJECTS], (colour + grain).byte(), labels, OBJECTS, TEXTURES)


def test_no_held_out_family_is_trained_on() -> None:
    for kind in ("object", "texture"):
        trained = {source.family for source in read_sources("training", kind)}
        tuning, reporting = (
            {source.family for source in read_sources("heldout", kind, half)}
            for half in ("tuning", "reporting")
        )
        assert not trained & tuning
        assert not trained & reporting
        assert not tuning & reporting


def test_views_of_a_product_are_alike_and_the_last_ones_damaged(banks: Banks) -> None:
    composer = Composer(banks, torch.Generator().manual_seed(0))
    composed = composer.compose_products(products=6, views=4, sound=2, side=112)
    assert composed.images.shape == (24, 3, 112, 112)
    assert float(composed.images.min()) >= 0
    assert float(composed.images.max()) <= 1
    labels = composed.foreground.view(6, 4)
    assert bool((labels == labels[:, :1]).all())
    change = composed.change.flatten(1).amax(1).view(6, 4)
    assert float(change[:, :2].max()) == 0
    assert float((change[:, 2:] > 0.05).float().mean()) > 0.5
    colour = composed.images.mean((2, 3)).view(6, 4, 3)
    within = colour[:, :2].diff(dim=1).abs().mean()
    between = (colour[:, None, 0] - colour[None, :, 0]).abs().mean()
    assert float(within) < 0.7 * float(between)


def test_litter_lies_behind_what_is_in_front(banks: Banks) -> None:
    def speckled(litter: float) -> tuple[float, float]:
        """Shares of the pixels behind and in front that differ much from those around them."""
        mixture = Mixture(objects=0, blobs=1, panelled=0, damage=(0, 0), litter=litter)
        composed = Composer(banks, torch.Generator().manual_seed(0), mixture).compose(12, 224)
        around = F.avg_pool2d(F.pad(composed.images, (4, 4, 4, 4), "replicate"), 9, 1)
        differs = ((composed.images - around).abs().amax(1) > 0.3).float()
        inside = F.avg_pool2d(composed.alpha, 11, 1, 5, count_include_pad=False)[:, 0]
        return float(differs[inside == 0].mean()), float(differs[inside == 1].mean())

    assert speckled(litter=0) == (0, 0)
    behind, front = speckled(litter=1)
    assert behind > 0.001
    assert front == 0


def test_distances_leave_out_the_own_view() -> None:
    features = torch.randn(2, 5, 7, 3, generator=torch.Generator().manual_seed(1))
    distances = nearest_distances(features, sound=3)
    for product in range(2):
        for view in range(5):
            others = [b for b in range(3) if b != view % 3]
            bank = features[product, others].flatten(0, 1)
            wanted = torch.cdist(features[product, view], bank).square().amin(1)
            torch.testing.assert_close(distances[product, view], wanted)


def test_product_loss_asks_for_distance_of_the_damage_only() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(8, 60, 4, generator=generator)  # two products' views
    features[2:4], features[6:8] = features[0:2], features[4:6]
    change = torch.zeros(8, 60)
    change[2:4, :9] = change[6:8, :9] = 0.2  # the damaged half of two products
    hidden = product_loss(features, change, views=4, sound=2)

    seen = features.clone()
    seen[2:4, :9] += 30
    seen[6:8, :9] += 30
    found = product_loss(seen, change, views=4, sound=2)
    assert float(found) < 0.2 * float(hidden)
    # Only ratios of distances count, so features cannot grow their way to a lower loss.
    torch.testing.assert_close(product_loss(7 * features, change, views=4, sound=2), hidden)

    alarms = features.clone()
    alarms[0, 20:29] += 30  # a sound view that stands out as much costs
    assert float(product_loss(alarms, change, views=4, sound=2)) > float(hidden)
    blurred = seen.clone()
    blurred[2:4, 9:18] += 30  # and so do sound patches beside the damage
    assert float(product_loss(blurred, change, views=4, sound=2)) > 2 * float(found)


def test_product_loss_without_visible_damage_is_of_false_alarms_only() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(4, 20, 4, generator=generator, requires_grad=True)
    change = torch.full((4, 20), 0.01)  # neither visible nor sound
    assert float(product_loss(features.detach(), change, views=4, sound=2)) == 0
    loss = product_loss(features, torch.zeros(4, 20), views=4, sound=2)
    loss.backward()
    assert float(loss.detach()) > 0
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_kept_loss_counts_images_of_objects_only() -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(2, 40, 4, generator=generator)
    coverage = torch.ones(2, 40)
    coverage[0, 20:] = 0  # an object, and a texture that fills the frame
    change = torch.zeros(2, 40)
    nothing = torch.full((2,), -1)
    target = Target(torch.zeros(2, 40, 192), coverage, coverage, change, nothing, nothing)

    free = before.clone()
    free[1] += 1
    assert float(kept_loss(free, before, target)) == 0
    moved = before.clone()
    moved[0] = before[0].mean(0)
    assert float(kept_loss(moved, before, target)) == pytest.approx(1)


def test_windows_hold_the_damage() -> None:
    grid, side = finish.GRID, 12
    change = torch.zeros(40, grid * grid)
    spots = torch.randint(grid * grid, (20,), generator=torch.Generator().manual_seed(3))
    change[torch.arange(20), spots] = 0.3
    positions = finish.window_around(change, side, torch.Generator().manual_seed(4))
    assert positions.shape == (40, side * side)
    assert bool((positions[:20] == spots[:, None]).any(1).all())
    rows, columns = positions // grid, positions % grid
    assert bool((rows.amax(1) - rows.amin(1) == side - 1).all())
    assert bool((columns.amax(1) - columns.amin(1) == side - 1).all())


def test_training_sees_the_features_of_the_method() -> None:
    """In any order of the patches: each keeps the position it has in the grid."""
    backbone = train.build_backbone(train.MODEL_KWARGS, 0).eval()
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(5))
    positions = train.scattered(2, 14, 196, torch.Generator().manual_seed(6))
    pixels = train.patchify(images)
    shuffled = pixels.gather(1, positions[..., None].expand_as(pixels))
    with torch.no_grad():
        whole = train.encode(backbone, pixels, 14, None)
        seen = train.encode(backbone, shuffled, 14, positions)

    wanted = Encoder(backbone, tuple(range(2, 10)), 9, "cpu", "float32")(images)
    features = torch.as_tensor(wanted.features).reshape(2, 196, 128)
    attention = torch.as_tensor(wanted.attention).reshape(2, 196)
    attention = attention / attention.sum(1, keepdim=True)
    torch.testing.assert_close(whole.features, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.log_attention.exp(), attention, rtol=1e-3, atol=1e-6)
    rows = positions[..., None].expand_as(features)
    torch.testing.assert_close(seen.features, features.gather(1, rows), rtol=1e-4, atol=1e-5)


class Interrupted:
    """A request to stop that comes after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @property
    def given(self) -> bool:
        self.steps -= 1
        return self.steps < 0


def pre_training(banks: Banks) -> tuple[train.Run, train.Step]:
    run = train.make_run(0, OBJECTS + TEXTURES, torch.device("cpu"))
    composer = Composer(banks, run.generator)

    def step(progress: float) -> dict[str, float]:
        train.set_rates(run.optimizers, progress)
        return train.train_step(run, composer, 2, progress)

    return run, step


def finishing(banks: Banks, weights: Path) -> tuple[train.Run, train.Step]:
    run = finish.make_run(weights, 0, torch.device("cpu"))
    before = finish.load_weights(weights)
    composer = Composer(banks, run.generator, finish.KEPT_IMAGES)
    return run, lambda progress: finish.finish_step(run, before, composer, 2, progress)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    train.export(train.make_run(0, 3, torch.device("cpu")), folder, {"seed": 0})
    return folder / "quickstart.safetensors"


@pytest.mark.parametrize("training", ["train", "finish"])
def test_a_stopped_run_resumes_where_it_was(
    training: str,
    banks: Banks,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 5
    # Few patches: whole grids take their time.
    monkeypatch.setattr(finish, "KEPT_SIDE", 4)
    monkeypatch.setattr(finish, "DENSE_PRODUCT_STEPS", 0.0)
    monkeypatch.setattr(finish, "DENSE_OBJECT_STEPS", 0.0)
    monkeypatch.setattr(train, "DENSE_FROM", 1.0)

    def part(folder: Path, stop_after: int) -> tuple[train.Run, bool]:
        monkeypatch.setattr(train, "StopSignal", lambda: Interrupted(stop_after))
        folder.mkdir(exist_ok=True)
        is_finish = training == "finish"
        run, step = finishing(banks, weights) if is_finish else pre_training(banks)
        arguments = Namespace(output=folder, steps=steps, minutes=0.0)
        return run, train.train(run, step, ThreadGovernor(1), arguments)

    whole, ended = part(tmp_path / "whole", 2 * steps)
    assert ended
    first, ended = part(tmp_path / "parts", 2)
    assert (first.step, ended) == (2, False)
    resumed, ended = part(tmp_path / "parts", 2 * steps)
    assert ended
    assert resumed.step == whole.step == steps
    assert resumed.images == whole.images > 0
    for name, tensor in whole.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], tensor, msg=name)


@pytest.mark.parametrize("dense", [0.0, 1.0])
@pytest.mark.parametrize("losses", [{"product"}, {"kept", "attention"}])
def test_finishing_steps_train_the_weights(
    dense: float,
    losses: set[str],
    banks: Banks,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finish, "KEPT_SIDE", 4)
    monkeypatch.setattr(finish, "DENSE_PRODUCT_STEPS", dense)
    monkeypatch.setattr(finish, "DENSE_OBJECT_STEPS", dense)
    monkeypatch.setattr(finish, "PRODUCT_STEPS", float("product" in losses))
    run, step = finishing(banks, weights)
    composer = Composer(banks, run.generator, finish.KEPT_IMAGES)
    for view in finish.views(composer, 2, run.generator):
        assert (view.positions is None) == bool(dense)
        assert view.is_of_products == ("product" in losses)
    before = {name: tensor.clone() for name, tensor in run.backbone.state_dict().items()}
    assert set(step(0.5)) == losses
    moved = {n for n, t in run.backbone.state_dict().items() if not torch.equal(t, before[n])}
    assert {"pos_embed", "blocks.0.attn.qkv.weight", "blocks.9.mlp.fc2.weight"} <= moved
    assert run.images > 0


def test_weights_are_exported_in_half_precision_and_taken_up_again(weights: Path) -> None:
    exported = train.make_run(0, 3, torch.device("cpu")).average.state_dict()
    again = finish.load_weights(weights).state_dict()
    for name, tensor in exported.items():
        torch.testing.assert_close(again[name], tensor.half().float())


def test_rates_fall_twice() -> None:
    run = train.make_run(0, 3, torch.device("cpu"))
    rates = []
    for progress in (0.1, 0.5, train.LAST_FROM - 1e-6, train.LAST_FROM, 1.0):
        train.set_rates(run.optimizers, progress)
        muon, adam, heads = (float(o.param_groups[0]["lr"]) for o in run.optimizers)
        assert heads == adam
        assert muon / train.MUON_RATE == pytest.approx(adam / train.ADAM_RATE)
        rates.append(muon)
    assert rates[0] > rates[1] > rates[2] < rates[3] > rates[4] > 0
