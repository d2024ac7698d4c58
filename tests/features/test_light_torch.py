"""Torch's compiler and sympy stay away until they are used, and then work as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAD = """
import sys
from uniformaly_pipeline.features.light_torch import late_compiler, without_memory
with late_compiler():
    import timm
import torch
from timm.layers import disable_compiler
"""
MODEL = "timm.create_model('vit_tiny_patch16_224', num_classes=0)"
LOADED = "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"


def printed(code: str) -> list[str]:
    """What a new process prints."""
    command = [sys.executable, "-c", HEAD + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_neither_compiler_nor_sympy_is_loaded_for_a_model_without_memory() -> None:
    code = f"""
with late_compiler(), without_memory():
    model = {MODEL}
print(all(weight.is_meta for weight in model.parameters()))
{LOADED}
"""
    assert printed(code) == ["True", "[]"]


def test_the_compiler_is_loaded_for_who_asks_afterwards() -> None:
    code = """
import torch._dynamo
print(torch._dynamo.__file__.endswith("__init__.py"), torch._dynamo is sys.modules["torch._dynamo"])
import torchvision.ops
roi_align = sys.modules["torchvision.ops.roi_align"]
print(roi_align.is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu"))
"""
    assert printed(code) == ["True True", "True"]


@pytest.mark.parametrize("wanted", ["import torch._dynamo.config", "torch._dynamo.reset"])
def test_whatever_else_is_wanted_of_the_compiler_meanwhile_loads_it(wanted: str) -> None:
    code = f"""
with late_compiler():
    import torch._dynamo
    {wanted}
import torch._dynamo
print(torch._dynamo.reset.__module__, torch._dynamo.config is sys.modules["torch._dynamo.config"])
print(type(torch._dynamo).__name__, torch._dynamo is sys.modules["torch._dynamo"])
"""
    assert printed(code) == ["torch._dynamo True", "module True"]


def test_what_is_not_to_be_compiled_works_before_and_after_the_compiler_is_there() -> None:
    code = """
with late_compiler():
    doubled = torch.compiler.disable(lambda value: 2 * value)
    tripled = torch.compiler.disable(recursive=False)(lambda value: 3 * value)
print(doubled(4), tripled(4), "torch._dynamo" in sys.modules)
import torch._dynamo
print(doubled(4), tripled(4))
print(torch.compile(lambda value: doubled(value) + 1, backend="eager")(torch.tensor(4)).item())
"""
    assert printed(code) == ["8 12 False", "8 12", "9"]


def test_where_the_compiler_is_there_already_it_stays() -> None:
    code = """
import torch._dynamo
there = torch._dynamo
with late_compiler():
    print(sys.modules["torch._dynamo"] is there, torch.compiler.disable(len)([1]))
print(sys.modules["torch._dynamo"] is there)
"""
    assert printed(code) == ["True 1", "True"]


def test_weights_with_memory_are_drawn_as_ever() -> None:
    code = f"""
torch.manual_seed(0)
drawn = {MODEL}.state_dict()
torch.manual_seed(0)
with late_compiler():
    again = {MODEL}.state_dict()
print(all(torch.equal(drawn[name], again[name]) for name in drawn), drawn["pos_embed"].std() > 0)
"""
    assert printed(code) == ["True tensor(True)"]
