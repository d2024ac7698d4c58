"""The one-pass encoder, against a forward pass that keeps every attention matrix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import (
    Encoded,
    Encoder,
    choose_device,
    choose_num_workers,
    choose_precision,
    encode_images,
)
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder

SMALL = {"embed_dim": 24, "depth": 4, "num_heads": 2}
MODELS = [
    pytest.param("vit_tiny_patch16_224", {}, 16, id="vit"),
    pytest.param("vit_small_patch14_reg4_dinov2", {}, 14, id="registers"),
    pytest.param("deit_tiny_distilled_patch16_224", {}, 16, id="two class tokens"),
    pytest.param("vit_tiny_patch16_224", {"qk_norm": True}, 16, id="normalised queries"),
    pytest.param("vit_small_patch16_dinov3", {}, 16, id="rotary with registers"),
    pytest.param("eva02_tiny_patch14_224", {}, 14, id="rotary"),
    pytest.param("beit_base_patch16_224", {}, 16, id="relative position bias"),
]


def make_model(backbone: Backbone, size: tuple[int, int]) -> nn.Module:
    """A model whose random weights give attention of many different values."""
    model = load_backbone(backbone, size)
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_matrix = parameter.ndim > 1
        parameter.copy_(0.25 * noise if is_matrix else 1 + 0.1 * noise)
    return model


def make_small(name: str, kwargs: dict[str, Any], size: tuple[int, int]) -> nn.Module:
    backbone = Backbone(
        name, "untrained", model_kwargs={**SMALL, **kwargs}, layers=(0,), attention_layer=0
    )
    return make_model(backbone, size)


def images_of(size: tuple[int, int], count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def encode_naively(
    model: nn.Module,
    layers: tuple[int, ...],
    attention_layer: int,
    images: torch.Tensor,
    norm: bool = False,
) -> Encoded:
    """All blocks, all attention matrices, then what METHOD asks for."""
    model = copy.deepcopy(model)
    outputs: dict[int, torch.Tensor] = {}
    matrices: dict[int, torch.Tensor] = {}
    for number, block in enumerate(model.blocks):  # type: ignore[arg-type]
        block.attn.fused_attn = False
        block.register_forward_hook(lambda *call, n=number: outputs.update({n: call[2]}))
        # Without the fused kernel, the softmax goes through this dropout.
        block.attn.attn_drop.register_forward_hook(
            lambda *call, n=number: matrices.update({n: call[2]})
        )
    model.forward_features(images)  # type: ignore[operator]
    prefix = model.num_prefix_tokens
    height, width = model.patch_embed.grid_size  # type: ignore[union-attr,misc]
    if norm:
        outputs = {layer: model.norm(outputs[layer]) for layer in layers}  # type: ignore[operator]
    features = torch.stack([outputs[layer][:, prefix:] for layer in layers]).mean(dim=0)
    attention = matrices[attention_layer].mean(dim=1)[:, 0, prefix:]
    return Encoded(features, attention.reshape(-1, height, width))


def assert_equal(actual: Encoded, expected: Encoded) -> None:
    scale = float(expected.features.abs().max())
    torch.testing.assert_close(actual.features, expected.features, rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(actual.attention, expected.attention, rtol=1e-4, atol=1e-7)


def test_default_reads_blocks_2_to_9_and_the_attention_of_block_9(tiny_backbone: Backbone) -> None:
    model = make_model(tiny_backbone, (64, 64))
    encoder = Encoder(model, tiny_backbone.layers, tiny_backbone.attention_layer, "cpu")
    encoded = encoder(images_of((64, 64)))
    assert encoded.features.shape == (2, 16, 48)
    assert encoded.attention.shape == (2, 4, 4)
    expected = encode_naively(model, tuple(range(2, 10)), 9, images_of((64, 64)))
    assert_equal(encoded, expected)
    # The comparison means something: other blocks and other tokens give other numbers.
    other = encode_naively(model, tuple(range(2, 9)), 8, images_of((64, 64)))
    assert (other.features - expected.features).abs().max() > 0.01
    assert (other.attention - expected.attention).abs().max() > 0.001
    assert float(expected.attention.std() / expected.attention.mean()) > 0.1


@pytest.mark.parametrize(("name", "kwargs", "patch"), MODELS)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_any_vit_and_any_grid(
    name: str, kwargs: dict[str, Any], patch: int, grid: tuple[int, int]
) -> None:
    size = (grid[0] * patch, grid[1] * patch)
    model = make_small(name, kwargs, size)
    encoder = Encoder(model, (1, 2), 2, "cpu")
    encoded = encoder(images_of(size))
    assert encoder.grid(size) == grid
    assert encoder.dim == 24
    assert encoded.features.shape == (2, grid[0] * grid[1], 24)
    assert_equal(encoded, encode_naively(model, (1, 2), 2, images_of(size)))
    assert float(encoded.attention.std() / encoded.attention.mean()) > 0.1


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_the_final_norm_is_applied_to_each_block_before_the_mean(name: str) -> None:
    size = (32, 48)
    model = make_small(name, {}, size)
    encoder = Encoder(model, (0, 2), 1, "cpu", norm=True)
    encoded = encoder(images_of(size))
    assert_equal(encoded, encode_naively(model, (0, 2), 1, images_of(size), norm=True))
    plain = encode_naively(model, (0, 2), 1, images_of(size))
    assert torch.equal(encoder(images_of(size)).features, encoded.features)
    assert (encoded.features - plain.features).abs().max() > 0.1
    torch.testing.assert_close(encoded.attention, plain.attention, rtol=1e-4, atol=1e-7)
    # A copy to be translated reads the same.
    assert_equal(encoder.exact(copy.deepcopy(model))(images_of(size)), encoded)


def test_attention_is_a_softmax_without_the_prefix_tokens() -> None:
    model = make_small("vit_small_patch14_reg4_dinov2", {}, (56, 56))
    attention = Encoder(model, (1,), 1, "cpu")(images_of((56, 56))).attention
    assert bool((attention > 0).all())
    assert bool((attention.sum(dim=(1, 2)) < 1).all())


@pytest.mark.parametrize(
    ("layers", "attention_layer"), [((0, 1, 2), 2), ((0, 1), 3), ((2,), 0), ((2, 0, 2), 1)]
)
def test_only_the_blocks_up_to_the_last_needed_are_computed_once(
    layers: tuple[int, ...], attention_layer: int
) -> None:
    size = (32, 48)
    model = make_small("vit_tiny_patch16_224", {}, size)
    encoder = Encoder(model, layers, attention_layer, "cpu")
    calls: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, n=number: calls.append(n))
        for number, block in enumerate(model.blocks)  # type: ignore[arg-type]
    ]
    encoded = encoder(images_of(size))
    for handle in handles:
        handle.remove()
    assert calls == list(range(max(*layers, attention_layer) + 1))
    assert_equal(
        encoded,
        encode_naively(model, tuple(sorted(set(layers))), attention_layer, images_of(size)),
    )


class _Shapes(TorchDispatchMode):
    """Writes down the shape of every tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: set[tuple[int, ...]] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.made.add(tuple(tensor.shape))
        return result


def largest_square(shapes: set[tuple[int, ...]], tokens: int) -> bool:
    """Whether some tensor holds a value for each pair of tokens."""
    return any(shape[-2:] == (tokens, tokens) for shape in shapes)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_no_attention_matrix_is_ever_made(name: str) -> None:
    size = (64, 112)
    model = make_small(name, {}, size)
    tokens = 4 * 7 + int(model.num_prefix_tokens)  # type: ignore[arg-type]
    with _Shapes() as naive:
        encode_naively(model, (1, 2), 2, images_of(size))
    assert largest_square(naive.made, tokens)
    encoder = Encoder(model, (1, 2), 2, "cpu")
    with _Shapes() as shapes:
        encoder(images_of(size))
    assert not largest_square(shapes.made, tokens)
    assert (2, 2, 1, tokens) in shapes.made  # the class token's row, for each head


def test_a_batch_that_fails_leaves_nothing_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (32, 32)
    model = make_small("vit_tiny_patch16_224", {}, size)
    encoder = Encoder(model, (1,), 1, "cpu")
    before = encoder(images_of(size))

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("out of memory")

    projection = model.blocks[1].attn.proj  # type: ignore[index,union-attr]
    with monkeypatch.context() as patch:
        patch.setattr(projection, "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            encoder(images_of(size))
    assert torch.overrides._len_torch_function_stack() == 0  # type: ignore[attr-defined]
    assert_equal(encoder(images_of(size)), before)


@pytest.mark.parametrize(("precision", "rtol"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_computes_less_exactly_and_returns_float32(
    precision: Any, rtol: float, tiny_backbone: Backbone
) -> None:
    model = make_model(tiny_backbone, (64, 64))
    exact = Encoder(model, range(2, 10), 9, "cpu", "float32")(images_of((64, 64)))
    half = Encoder(model, range(2, 10), 9, "cpu", precision)(images_of((64, 64)))
    assert half.features.dtype == half.attention.dtype == torch.float32
    error = (half.features - exact.features).abs().max() / exact.features.abs().max()
    assert 0 < float(error) < rtol


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_are_encoded_in_order_in_batches(
    batch_size: int,
    num_workers: int,
    make_dataset: Callable[..., ImageFolder],
    tiny_backbone: Backbone,
    tmp_path: Path,
) -> None:
    folder = make_dataset(tmp_path, ["nut"], train=7)
    paths = folder.files("nut/train/good")[::-1]
    preprocessing = Preprocessing(resize=32, crop=32)
    encoder = Encoder(load_backbone(tiny_backbone, (32, 32)), range(2, 10), 9, "cpu")
    batches = list(encode_images(encoder, folder, paths, preprocessing, batch_size, num_workers))
    sizes = [len(batch.features) for batch in batches]
    assert sizes == {1: [1] * 7, 3: [3, 3, 1], 8: [7]}[batch_size]
    tensors = [preprocessing.image_tensor(folder.read_image(path)) for path in paths]
    expected = encoder(torch.stack(tensors))
    features = torch.cat([batch.features for batch in batches])
    torch.testing.assert_close(features, expected.features, rtol=1e-4, atol=1e-5)


def test_device_and_precision_are_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    assert choose_device("cpu") == "cpu"
    assert choose_precision("auto") == torch.float32
    assert choose_precision("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (6, 5), (64, 8)])
def test_decoding_leaves_a_core_to_the_model(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uniformaly_pipeline.features.encoder.usable_cores", lambda: cores)
    assert choose_num_workers("auto") == workers
    assert choose_num_workers(3) == 3


def test_several_layer_choices_come_from_one_pass(tiny_backbone: Backbone) -> None:
    """Each part of the features equals those of an encoder with these layers alone."""
    model = load_backbone(tiny_backbone, (64, 64))
    images = images_of((64, 64))
    choices = [[2, 3], [5], [2, 8, 9]]
    calls: list[int] = []
    for number, block in enumerate(model.blocks):  # type: ignore[arg-type]
        block.register_forward_hook(lambda *_, number=number: calls.append(number))
    several = Encoder(model, choices, 9, "cpu")
    together = several(images)
    assert calls == list(range(10))
    dim = several.dim // 3
    for number, layers in enumerate(choices):
        alone = Encoder(model, layers, 9, "cpu")(images)
        part = together.features[..., number * dim : (number + 1) * dim]
        assert (part == alone.features).all()
        assert (together.attention == alone.attention).all()


def test_compiled_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """All needed blocks but the one whose attention is read; traced here, not translated."""
    traced: list[nn.Module] = []
    original = nn.Module.compile

    def trace(module: nn.Module) -> None:
        traced.append(module)
        original(module, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", trace)
    model = make_small("vit_tiny_patch16_224", {}, (64, 64))
    images = images_of((64, 64))
    plain = Encoder(copy.deepcopy(model), [0, 1], 2)(images)
    compiled = Encoder(model, [0, 1], 2, compile_blocks=True)(images)
    assert traced == [model.blocks[0], model.blocks[1]]  # type: ignore[index]
    torch.testing.assert_close(compiled.features, plain.features)
    torch.testing.assert_close(compiled.attention, plain.attention)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("cuda", 0, "there is no cuda (PyTorch finds no GPU, or no driver for it): set auto"),
        ("cuda:7", 0, "there is no cuda:7 (PyTorch finds no GPU"),
        ("cuda:7", 2, "there is no cuda:7 (this machine has 2, counted from 0)"),
        ("mps", 2, "there is no mps (PyTorch finds no GPU of Apple's)"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    device: str, gpus: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError) as error:
        choose_device(device)
    assert str(error.value).startswith(f"encoder.device: {expected}")
    if gpus:
        assert choose_device(f"cuda:{gpus - 1}") == f"cuda:{gpus - 1}"


def test_a_pytorch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(InputError, match="this PyTorch was built without CUDA"):
        choose_device("cuda")
