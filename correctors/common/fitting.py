"""Fitting a network step by step: optimiser, learning-rate schedule, moving average, precision.

Shared by offline training and by adaptation inside the node. It knows neither files nor time: whoever drives it
decides when to stop and what to keep. From the same state and the same examples it takes the same steps.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16", "float16"]
ScheduleKind = Literal["constant", "cosine", "inverse"]
Loss = Callable[[nn.Module, Any], Tensor]
"""Mean loss of a network over the examples of one batch."""
_EMA_WARM_UP = 10
"""The moving average begins short, so that it does not drag the random start along."""


@dataclass(frozen=True)
class FittingPlan:
    """How a network is fitted.

    Attributes:
        steps: optimiser steps of the whole plan; the cosine ends there.
        learning_rate: largest learning rate of Adam.
        betas: Adam's decay rates.
        weight_decay: decoupled weight decay (AdamW); 0 is plain Adam.
        schedule: `cosine` falls to `final_share`; `inverse` divides by 1 + decay * step (Keras' decay, paper 04).
        decay: of the inverse schedule.
        warmup_steps: linear rise at the start.
        final_share: share of the learning rate that is left at the end of the cosine.
        ema: decay of the moving average of the weights; 0 keeps none.
        clip: largest gradient norm, 0 for no limit.
        precision: type that the network computes in.
    """

    steps: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: ScheduleKind = "cosine"
    decay: float = 0.0
    warmup_steps: int = 0
    final_share: float = 0.0
    ema: float = 0.0
    clip: float = 0.0
    precision: Precision = "float32"

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "cosine":
            done = min(1.0, step / max(1, self.steps))
            share = self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * done))
        elif self.schedule == "inverse":
            share = 1 / (1 + self.decay * step)
        else:
            share = 1.0
        return self.learning_rate * rise * share


@dataclass(frozen=True)
class Step:
    """What one step did: mean loss, norm of its gradient, learning rate."""

    loss: float
    gradient_norm: float
    learning_rate: float


class InPrecision(nn.Module):
    """A network that computes as planned whoever calls it; what the caller computes itself keeps its precision."""

    def __init__(self, module: nn.Module, context: Callable[[], AbstractContextManager[object]]) -> None:
        super().__init__()
        self.module = module
        self._context = context

    def forward(self, values: Tensor) -> Tensor:
        """As the network, back in single precision."""
        with self._context():
            out: Tensor = self.module(values)
        return out.float()


class NotFinite(ArithmeticError):
    """The loss or its gradient is not finite; no step was taken."""


class Fitter:
    """A network with its optimiser and moving average.

    Attributes:
        network: the network being fitted, on its device.
        averaged: moving average of the weights; the network itself where the plan keeps none.
        done: steps taken.
    """

    def __init__(self, network: nn.Module, plan: FittingPlan, loss: Loss, *, through: nn.Module | None = None) -> None:
        """Hold a network.

        Args:
            network: with its initial weights, on its device.
            plan: how to fit.
            loss: mean loss over a batch.
            through: what the loss calls in the network's stead, e.g. its `DistributedDataParallel` wrapper.
        """
        self.network = network
        self.plan = plan
        self.done = 0
        self._through = network if through is None else through
        self._loss = loss
        self._device = next(network.parameters()).device
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay
        )
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=plan.precision == "float16" and self._device.type == "cuda"
        )
        self._average = {n: t.detach().clone() for n, t in network.state_dict().items()} if plan.ema else None

    def step(self, batches: Sequence[Any]) -> Step:
        """Take one step on the mean gradient of equally large batches (gradient accumulation).

        Raises:
            NotFinite: the loss or its gradient is not finite.
        """
        plan = self.plan
        rate = plan.rate(self.done)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for number, batch in enumerate(batches):
            with self._gathering(last=number == len(batches) - 1), self.precision():
                loss = self._loss(self._through, batch) / len(batches)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        self._scaler.unscale_(self._optimiser)
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), plan.clip or math.inf))
        if not math.isfinite(total) or (not math.isfinite(norm) and not self._scaler.is_enabled()):
            raise NotFinite(f"loss {total} with gradient norm {norm} at step {self.done}")
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.done += 1
        self._follow()
        return Step(total, norm, rate)

    def precision(self) -> AbstractContextManager[object]:
        """Context in which the network computes as planned."""
        if self.plan.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=getattr(torch, self.plan.precision))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The network with averaged weights, in evaluation mode; its own come back afterwards."""
        own = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
        if self._average is not None:
            self.network.load_state_dict(self._average)
        self.network.eval()
        try:
            yield self.network
        finally:
            self.network.load_state_dict(own)
            self.network.train()

    def averaged_state(self) -> dict[str, Tensor]:
        """Tensors of the averaged network, on the CPU."""
        state = self.network.state_dict() if self._average is None else self._average
        return {n: t.detach().cpu().clone() for n, t in state.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Everything that a continuation needs, to the last bit: tensors on the CPU, and numbers."""
        tensors = {f"network.{n}": t for n, t in self.network.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in (self._average or {}).items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value
        numbers = {"done": float(self.done)}
        numbers |= {f"scaler.{n}": float(v) for n, v in self._scaler.state_dict().items()}
        return {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Continue from a `state`.

        Raises:
            KeyError, RuntimeError: it belongs to another network or plan.
        """
        self.network.load_state_dict(_part(tensors, "network."))
        if self._average is not None:
            average = _part(tensors, "average.")
            self._average = {n: average[n].to(t.device, t.dtype).clone() for n, t in self._average.items()}
        for name, parameter in self.network.named_parameters():
            kept = {key: tensors[f"optimiser.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"optimiser.{key}.{name}" in tensors}  # fmt: skip
            # Adam counts steps on the CPU and keeps moments beside the weights.
            self._optimiser.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device, parameter.dtype).clone()
                for key, value in kept.items()
            }
        scale = {n.removeprefix("scaler."): v for n, v in numbers.items() if n.startswith("scaler.")}
        if scale:
            whole = {n: int(v) if n in ("growth_interval", "_growth_tracker") else v for n, v in scale.items()}
            self._scaler.load_state_dict(whole)
        self.done = int(numbers["done"])

    def _gathering(self, *, last: bool) -> AbstractContextManager[object]:
        """Processes exchange gradients after the last of the accumulated batches only."""
        silent = getattr(self._through, "no_sync", None)
        return contextlib.nullcontext() if last or silent is None else silent()

    def _follow(self) -> None:
        if self._average is None:
            return
        decay = min(self.plan.ema, self.done / (self.done + _EMA_WARM_UP))
        for name, tensor in self.network.state_dict().items():
            average = self._average[name]
            if average.dtype.is_floating_point:
                average.lerp_(tensor.detach().to(average.dtype), 1 - decay)
            else:
                average.copy_(tensor)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
