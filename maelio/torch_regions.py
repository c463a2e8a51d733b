"""Regions that torch tells of by itself, so that a loop need not name them.

- forward: the outermost module that is called; `validation` where that module is in evaluation mode.
- backward: `torch.autograd.backward`, which `Tensor.backward` calls.
- optimizer: `step` of any `torch.optim.Optimizer`.
- communication: collectives of torch.distributed that the loop itself calls. Those that DistributedDataParallel
  makes lie within backward, beside the computation, and count as that.

None of them counts where the loop has named a region, nor in another thread. What is called for the first time after the
third step of a window is not found any more: modules are looked for no longer than that, for what it costs in each
of their parts. Where there are modules of `torch.compile`, only those are found: hooks of all modules would end up in
what it compiles. Nothing is looked for, and torch is not imported, where the process has not imported it.
"""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maelio.device_clock import Event, cuda_events
from maelio.ledger import Ledger, running

if TYPE_CHECKING:
    from torch import nn

COLLECTIVES = (
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single",
    "barrier", "broadcast", "broadcast_object_list", "gather", "gather_object", "monitored_barrier", "recv", "reduce",
    "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
)  # fmt: skip
_LOOKED_FOR = 3  # steps
_lock = threading.Lock()
_windows = 0
_stack = ExitStack()


@dataclass(frozen=True, slots=True)
class Cuda:
    record: Callable[[Event | None], Event]
    synchronise: Callable[[], None]


def used_cuda() -> Cuda | None:
    """CUDA, where this process has begun to use it by torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return Cuda(cuda_events(), torch.cuda.synchronize)


@contextmanager
def finding() -> Iterator[None]:
    """Regions are found inside, for the ledger of whatever thread it happens in."""
    global _windows
    if "torch" not in sys.modules:
        yield
        return
    with _lock:
        if not _windows:
            _hook(_stack)
        _windows += 1
    try:
        yield
    finally:
        with _lock:
            _windows -= 1
            if not _windows:
                _stack.close()


def _hook(stack: ExitStack) -> None:
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    modules = _Modules(stack)
    if compiled := _scan.compiled():
        for module in compiled:
            modules.hook(module)
    else:
        modules.looking = register_module_forward_pre_hook(modules.look)
        stack.callback(modules.looking.remove)
    stack.callback(register_optimizer_step_pre_hook(_begin_step).remove)
    stack.callback(register_optimizer_step_post_hook(_end_step).remove)
    _wrap(stack, torch.autograd, "backward", "backward")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for name in COLLECTIVES:
            _wrap(stack, torch.distributed, name, "communication")


@dataclass(slots=True)
class _Scan:
    """Modules that `torch.compile` made, as far as they live. To look through all objects takes some 50 ms; it is done
    again when a hundred times as long has passed, so that it stays below one percent of a run."""

    again_s: float = 0.0
    found: "tuple[weakref.ref[nn.Module], ...]" = ()

    def compiled(self) -> "list[nn.Module]":
        compiler = sys.modules.get("torch._dynamo.eval_frame")
        if compiler is not None and (start := time.monotonic()) >= self.again_s:
            kind = compiler.OptimizedModule
            self.found = tuple(weakref.ref(one) for one in gc.get_referrers(kind) if type(one) is kind)
            self.again_s = start + 100 * (time.monotonic() - start)
        return [module for one in self.found if (module := one()) is not None]


_scan = _Scan()


class _Modules:
    """The outermost modules, each hooked by itself once it was seen, so that their parts cost nothing."""

    def __init__(self, stack: ExitStack) -> None:
        self.looking: Any = None
        self._stack = stack
        self._known: set[int] = set()

    def look(self, module: "nn.Module", args: Any) -> None:
        """Called before every module there is."""
        ledger = running()
        if ledger is None or id(module) in self._known:
            return
        if ledger.steps > _LOOKED_FOR:
            self.looking.remove()
        elif ledger.idle:
            self.hook(module)
            self.begin(module, args)

    def hook(self, module: "nn.Module") -> None:
        self._known.add(id(module))
        self._stack.callback(module.register_forward_pre_hook(self.begin).remove)
        self._stack.callback(module.register_forward_hook(self.end, always_call=True).remove)

    def begin(self, module: "nn.Module", args: Any) -> None:
        ledger = running()
        if ledger is not None:
            ledger.find(module, "forward" if module.training else "validation")

    def end(self, module: "nn.Module", args: Any, output: Any) -> None:
        ledger = running()
        if ledger is not None:
            ledger.lose(module)


def _begin_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    ledger = running()
    if ledger is not None:
        ledger.find(optimizer, "optimizer")


def _end_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    ledger = running()
    if ledger is not None:
        ledger.lose(optimizer)


def _wrap(stack: ExitStack, home: Any, name: str, region: Any) -> None:
    """Let a function of torch tell when it begins and ends, until `stack` closes."""
    function = getattr(home, name)

    def told(*args: Any, **kwargs: Any) -> Any:
        ledger: Ledger | None = running()
        if ledger is None:
            return function(*args, **kwargs)
        call = object()
        ledger.find(call, region)
        try:
            return function(*args, **kwargs)
        finally:
            ledger.lose(call)

    setattr(home, name, told)
    stack.callback(setattr, home, name, function)
