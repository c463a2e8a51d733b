"""What the ledger itself costs: one training loop with it and without it, in turns, on the same batches.

Run: python -m maelio.benchmarks.overhead [--steps N] [--rounds N] [--layers N] [--width N]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from maelio.ledger import measure


@dataclass(frozen=True, slots=True)
class Overhead:
    """CPU seconds a step by round, of the loop alone, and with the ledger finding its regions by itself; in pairs.

    The ledger waits for nothing, so what it costs is CPU time; and that is the same on a machine that others use too.
    """

    without_s: tuple[float, ...]
    with_s: tuple[float, ...]

    @property
    def share(self) -> float:
        """The median over pairs of what the ledger adds, as a part of the loop alone."""
        pairs = zip(self.without_s, self.with_s, strict=True)
        return median(measured / alone - 1 for alone, measured in pairs)

    @property
    def step_s(self) -> float:
        """What it adds to a step."""
        pairs = zip(self.without_s, self.with_s, strict=True)
        return median(measured - alone for alone, measured in pairs)


def overhead(steps: int = 200, rounds: int = 21, layers: int = 50, width: int = 256) -> Overhead:
    """`rounds` pairs after one that is discarded; every second pair begins with the ledger.

    Of a window, what comes before its first and after its last step is left out: it is once an epoch.
    """
    model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batches = [torch.randn(64, width) for _ in range(steps)]

    def alone() -> float:
        return _train(model, optimizer, batches)

    def measured() -> float:
        with measure() as ledger:
            return _train(model, optimizer, ledger.batches(batches))

    found: dict[Callable[[], float], list[float]] = {alone: [], measured: []}
    for number in range(rounds + 1):
        for loop in (alone, measured) if number % 2 else (measured, alone):
            found[loop].append(loop() / steps)
    return Overhead(tuple(found[alone][1:]), tuple(found[measured][1:]))


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor]) -> float:
    start = time.process_time()
    for batch in batches:
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def regions_a_second(steps: int = 20_000) -> float:
    """How many regions can be opened and closed, in a loop that does nothing else."""
    with measure() as ledger:
        start = time.process_time()
        for _ in range(steps):
            with ledger.region("forward"):
                pass
        return steps / (time.process_time() - start)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args(argv)
    before = torch.get_num_threads()
    torch.set_num_threads(given.threads)
    found = overhead(given.steps, given.rounds, given.layers, given.width)
    torch.set_num_threads(before)
    sys.stdout.write(
        f"CPU time of a step: alone {1e3 * median(found.without_s):.3f} ms, with the ledger {1e3 * median(found.with_s):.3f} ms\n"
        f"overhead, the median of {given.rounds} pairs: {1e6 * found.step_s:.1f} µs a step, {found.share:.2%}\n"
        f"a region, opened and closed: {1e6 / regions_a_second():.2f} µs\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
