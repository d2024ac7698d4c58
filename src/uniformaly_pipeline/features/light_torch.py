"""Torch, torchvision and timm without the parts that take seconds to load and are not used.

torchvision and timm ask ``torch._dynamo`` for two small functions while they are imported, which
loads all of torch's compiler, though nothing is compiled unless ``encoder.compile`` says so. A
model without memory for its weights has them "drawn" by torch's reference implementations, which
load sympy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE, UTILS = "torch._dynamo", "torch._dynamo.utils"


class _StandIn(ModuleType):
    """A module that is loaded as soon as anything is wanted of it but what it has itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the import system, which asks any module
            raise AttributeError(name)
        return getattr(_loaded(self.__name__), name)


@contextmanager
def without_memory() -> Iterator[None]:
    """While it lasts, torch makes tensors of no values, on its device ``meta``.

    Drawing weights is left out: torch loads sympy for it, and there is nothing to draw.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    own = torch.Tensor
    steps = (own.normal_, own.uniform_, own.erfinv_, own.clamp_)

    class Undrawn(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func in steps or getattr(func, "__module__", "") == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    with torch.device("meta"), Undrawn():
        yield


@contextmanager
def late_compiler() -> Iterator[None]:
    """While it lasts, who imports torch's compiler gets a stand-in that loads it on use.

    For the imports of torchvision and timm. Nothing happens where the compiler is loaded already,
    and afterwards ``import torch._dynamo`` loads it as ever.
    """
    import torch

    if PACKAGE in sys.modules:
        yield
        return
    package, utils = _StandIn(PACKAGE), _StandIn(UTILS)
    package.__path__ = [str(Path(torch.__file__).parent / "_dynamo")]
    package.disable = _disable  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {PACKAGE: package, UTILS: utils}
    try:
        yield
    finally:
        _drop_stand_ins()
        if isinstance(vars(torch).get("_dynamo"), _StandIn):
            del torch._dynamo
        if parts := {
            name: part
            for name, part in vars(package).items()
            if isinstance(part, ModuleType) and not isinstance(part, _StandIn)
        }:  # somebody, in another thread perhaps, has imported a part of it
            vars(import_module(PACKAGE)).update(parts)


def _drop_stand_ins() -> None:
    for name in (PACKAGE, UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _loaded(name: str) -> ModuleType:
    _drop_stand_ins()
    return import_module(name)


def _is_compile_supported(device_type: Any) -> Any:
    return _loaded(UTILS).is_compile_supported(device_type)


def _disable(
    function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any
) -> Any:
    """Mark a function as one that is not to be compiled, once the compiler is there."""
    if function is None:
        return lambda marked: _disable(marked, recursive, **options)

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        compiler = sys.modules.get(PACKAGE)
        if compiler is None or isinstance(compiler, _StandIn):
            return function(*given, **named)
        return compiler.disable(function, recursive, **options)(*given, **named)

    return call
