"""metafa and its peers, timed in one run on the same tasks, with the same threads and precision, in a process whose
environment is the user's own.

Run it with `make benchmark`, on a GPU with `make benchmark DEVICE=cuda`. Timings are not asserted: the ratios are
printed beside those to reach. What is asserted is that both sides computed the same.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import pytest
import torch
from workloads import WORKLOADS, Workload

from metafa.learning import products
from metafa.running import memory

NUMBERS = 2**22  # that the rates of drawing and of passing over memory are measured on


@functools.cache
def workload(device: str, name: str) -> Workload:
    memory.keep_freed()  # for both sides, as in a trial's process
    return WORKLOADS[device][name]()


def waited_for(work: Callable[[], object], device: str) -> Callable[[], object]:
    """``work``, and what it left the GPU to do."""

    def run() -> object:
        result = work()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return run


def fastest(work: Callable[[], object], device: str) -> float:
    run, times = waited_for(work, device), []
    for _ in range(10):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.cache
def rates(device: str, threads: int) -> tuple[float, float, float]:
    """How much a second: floating-point operations of a large matrix product by the faster of torch's two ways,
    normals drawn, and numbers read and written, by so many threads."""
    torch.set_num_threads(threads)
    square, zeros = torch.randn(1, 2048, 2048, device=device), torch.zeros(1, 2048, device=device)
    ways = (lambda: square @ square, lambda: products.affine(square, square, zeros))
    numbers = torch.zeros(NUMBERS, device=device)
    return (
        2 * 2048**3 / min(fastest(way, device) for way in ways),
        NUMBERS / fastest(numbers.normal_, device),
        NUMBERS / fastest(lambda: numbers.add_(1.0), device),
    )


def limit(work: Workload, device: str) -> float:
    """The seconds of what must be done: arithmetic, normals, and a pass over the optimizer's state."""
    needs = (work.operations, work.normals, work.state)
    return sum(need / rate for need, rate in zip(needs, rates(device, work.threads), strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    device = metafunc.config.getoption("device")
    metafunc.parametrize("device", [device])
    metafunc.parametrize("name", list(WORKLOADS[device]))
    metafunc.parametrize("side", ["metafa", "peer"])


def test_workload(benchmark, device: str, name: str, side: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    work = workload(device, name)
    benchmark.group = work.name
    benchmark.extra_info.update(
        side=side if side == "metafa" else work.peer_name,
        goal=work.goal,
        units=work.units if side == "peer" else 1.0,
        limit=limit(work, device) if side == "metafa" else None,
        threads=work.threads,
        hardware=torch.cuda.get_device_name() if device == "cuda" else f"CPU, {work.threads} threads",
    )
    torch.set_num_threads(work.threads)
    if side == "metafa":
        work.agree()
    benchmark.pedantic(waited_for(getattr(work, side), device), rounds=15, warmup_rounds=3)
