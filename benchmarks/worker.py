"""One side of the speed benchmarks, at work on one job: ``python worker.py <before|ours|floor> <job as JSON>``.

``before`` and ``ours`` are the same lines on the code of two commits, told apart by PYTHONPATH. ``floor`` takes one of
our steps, notes the shape, layout and type of each matrix product in it, and repeats these products and nothing else.
The rounds' protocol is that of ``sides.py``; a unit is a training step, or a pass over the test cases asked for.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ifcdsr_core import train
from ifcdsr_core.batches import encode
from ifcdsr_core.models import MODELS
from ifcdsr_core.models.base import ModelInputs
from ifcdsr_core.protocol import rank_cases
from ifcdsr_core.scenario import Scenario

PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm"}
WIDTH = 512  # e, of the features that stand for pictures and texts


def main() -> None:
    side, job = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(job["threads"])
    if side == "ours":
        from ifcdsr_core.blocks import prepare_memory

        prepare_memory()
    unit = ranking(job) if job["what"] == "ranking" else training(job)
    if side == "floor":
        unit = products_of(unit, job["device"])
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            said = unit()
        print(json.dumps({"seconds": time.perf_counter() - begin, **said}), flush=True)
    print(json.dumps({"peak_mib": peak_bytes(job["device"]) >> 20}), flush=True)


def peak_bytes(device: str) -> int:
    """The most memory that was held: of this process, or of its tensors on a GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def training(job: dict) -> Callable[[], dict]:
    """One step on the next batch of real sequences."""
    model, cases = made(job)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-5, fused=True)
    order, model = torch.Generator().manual_seed(1), model.train()

    def plain_step(model, batch, optimiser, precision: str) -> float:  # as the commit compared with has it in its epoch
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

    step = getattr(train, "step", plain_step)

    def unit() -> dict:
        batch = cases["valid"][torch.randperm(len(cases["valid"]), generator=order)[: job["batch"]]]
        return {"loss": step(model, batch, optimiser, job["precision"])}

    return unit


def ranking(job: dict) -> Callable[[], dict]:
    """Both protocols for the first test cases."""
    model, cases = made(job)
    part = cases["test"][torch.arange(job["cases"])]

    def unit() -> dict:
        ranks = rank_cases(model, part, seed=0)
        return {"ranks": [float(ranks[protocol].sum()) for protocol in ("full", "sampled_999")]}

    return unit


def made(job: dict):
    """The model, untrained, and the encoded cases of the paper's files."""
    scenario = Scenario.load(Path(job["scenario"]))
    cases = {name: encode(scenario.split(name), scenario.num_items_x, 50) for name in ("valid", "test")}
    features = {
        modality: torch.randn(scenario.num_items, WIDTH, generator=torch.Generator().manual_seed(number))
        for number, modality in enumerate(("image", "text"))
    }
    kind = MODELS[job["model"]]
    config = kind.Config(**job["options"])
    features = {modality: features[modality] for modality in kind.required_features(config)}
    torch.manual_seed(0)
    counts = scenario.num_items_x, scenario.num_items - scenario.num_items_x
    model = kind(config, ModelInputs(*counts, 50, features, cases["valid"], job["negatives"]))
    return model.to(job["device"]), cases


class _Noted(TorchDispatchMode):
    """Notes each matrix product that is computed within."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in PRODUCTS:
            one, other = [a for a in args if isinstance(a, torch.Tensor)][-2:]
            self.calls.append((layout(one), layout(other)))
        return function(*args, **(kwargs or {}))


def layout(tensor: torch.Tensor) -> tuple:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def products_of(unit: Callable[[], dict], device: str) -> Callable[[], dict]:
    """The matrix products of one unit, on areas of the same shapes, layouts and types."""
    with _Noted() as noted:
        unit()
    areas: dict[tuple, torch.Tensor] = {}
    for kind in {kind for call in noted.calls for kind in call}:
        shape, stride, dtype = kind
        size = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        areas[kind] = torch.rand(size, dtype=dtype, device=device).as_strided(shape, stride)
    outs = {call: torch.matmul(*(areas[kind] for kind in call)) for call in set(noted.calls) if all(call)}
    calls = [(areas[one], areas[other], outs[one, other]) for one, other in noted.calls]
    flops = sum(2 * one.numel() * other.shape[-1] for one, other, _ in calls)

    def repeated() -> dict:
        for one, other, out in calls:
            torch.matmul(one, other, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        return {"gflop": round(flops / 1e9, 1), "products": len(calls)}

    return repeated


if __name__ == "__main__":
    main()
