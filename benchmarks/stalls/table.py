"""The figures of a run, and of two, as text: every value of every repeat, and what they must not be compared with."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from maelio.benchmarks.stalls.figures import Row, as_from_memory, caveats
from maelio.benchmarks.stalls.ratios import Ratio
from maelio.records import RunRecord

_HEAD = (
    "arm",
    "epoch",
    "samples/s (min-max)",
    "wait s",
    "stall s",
    "AU",
    "DLIO's",
    "AU_cal",
    "disk MB",
    "wall s, every repeat",
)


def table(record: RunRecord, rows: Sequence[Row]) -> str:
    """AU and its kin in percent, all figures medians over the repeats but for the last column."""
    parameters: Any = record.parameters
    compute = f"compute {parameters['compute']}: {1e3 * parameters['step_s']:g} ms a step"
    repeats = f"{parameters['repeats']} repeats after a warm-up"
    lines = [
        f"{parameters['workload']}: {parameters['what']}; size {parameters['size']}",
        f"batches of {parameters['batch_size']}, {compute}; {record.environment.cores} cores, {repeats}",
        "all layouts were found to deliver the same samples",
    ]
    for layout in dict.fromkeys(row.layout for row in rows):
        mine = [row for row in rows if row.layout == layout]
        lines += [
            "",
            f"{layout}, {parameters['stored_bytes'][layout] / 1e6:.1f} MB",
            *_aligned([_HEAD, *map(_cells, mine)]),
        ]
    lines += ["", "stall: of warm over null, preparing; of cold over warm, fetching"]
    lines += [
        f"{layout}: {'as fast' if alike else 'not as fast'} from the page cache as from memory (AU_cal 98-102 %)"
        for layout, alike in as_from_memory(rows).items()
    ]
    lines += [f"INVALID: {reason}" for reason in _invalid(parameters)]
    return "\n".join([*lines, *(caveats(rows) if rows else ["no arm has figures"])])


def _invalid(parameters: Mapping[str, Any]) -> Iterable[str]:
    found: Mapping[str, str] = parameters["invalid"]
    return found.values()


def _cells(row: Row) -> tuple[str, ...]:
    rates = row.samples_per_s
    return (
        row.arm,
        str(row.epoch),
        f"{median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})",
        f"{median(row.wait_s):.3f}",
        "" if row.stall_s is None else f"{median(row.stall_s):+.3f}",
        *(
            "" if values is None else f"{100 * median(values):.1f}"
            for values in (row.au, row.au_dlio, row.au_cal)
        ),
        f"{median(row.device_bytes) / 1e6:.1f}",
        " ".join(f"{wall:.3f}" for wall in row.wall_s),
    )


def ratios_table(ratios: Sequence[Ratio], notes: Iterable[str]) -> str:
    """Times of a sample, the second run over the first."""
    rows = [("arm", "before", "after", "ratio", "95 %", "verdict")]
    for ratio in ratios:
        interval = "" if ratio.low is None or ratio.high is None else f"{ratio.low:.3f}-{ratio.high:.3f}"
        times = (f"{1e3 * seconds:.3f} ms" for seconds in (ratio.before_s, ratio.after_s))
        rows.append((ratio.arm, *times, f"{ratio.ratio:.3f}", interval, ratio.verdict))  # type: ignore[arg-type]
    return "\n".join([*_aligned(rows), *notes])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if 0 < number < len(row) - 1 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
