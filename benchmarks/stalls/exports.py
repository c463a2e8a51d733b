"""A run in the forms of other tools: DLIO's summary, a result table of JUBE, CSV. Pure functions of its record and lines.

Sources: the keys of `statscounter.py` of DLIO, which MLPerf Storage runs; the timers of Deep500 that MAELSTROM's
applications printed for JUBE.
"""

import csv
import io
import json
from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import Any

from maelio.benchmarks.stalls.figures import Line, rows_of
from maelio.errors import BadRequest
from maelio.ledger import COMPUTE
from maelio.records import RunRecord

_MIB = 2**20
_EXPECTED = 90  # percent; of DLIO whatever the model


def to_mlperf(record: RunRecord, lines: Sequence[Line], layout: str | None, arm: str, repeat: int) -> str:
    """`summary.json` of one repeat, by default of the first layout. Its means over epochs are DLIO's: over the first, which may be cold, and later ones.

    Raises BadRequest: there are no such epochs, or they are too short for DLIO's formulas.
    """
    parameters: Any = record.parameters
    layout = layout or parameters["layouts"][0]
    mine = [line for line in lines if (line.layout, line.arm, line.repeat) == (layout, arm, repeat)]
    if not mine:
        found = ", ".join(dict.fromkeys(f"{line.layout}/{line.arm}" for line in lines))
        raise BadRequest(
            f"{record.run}: no epochs of {layout}/{arm}, repeat {repeat}; there are {found or 'none'}"
        )
    shares = [100 * line.au_dlio for line in mine if line.au_dlio is not None]
    rates = [line.samples_per_s_dlio for line in mine if line.samples_per_s_dlio is not None]
    if len(shares) < len(mine) or len(rates) < len(mine):
        raise BadRequest(
            f"{record.run}: {layout}/{arm} has no AU of DLIO; wanted compute, and 3 steps an epoch"
        )
    samples, files = mine[0].times.samples, parameters["files"][layout]
    sample_mib = parameters["stored_bytes"][layout] / samples / _MIB
    summary = {
        "start": record.started.isoformat(),
        "num_accelerators": 1,
        "num_hosts": 1,
        "hostname": record.environment.host,
        "metric": {
            "train_au_percentage": shares,
            "train_au_mean_percentage": fmean(shares),
            "train_au_meet_expectation": "success" if fmean(shares) >= _EXPECTED else "fail",
            "train_au_stdev_percentage": pstdev(shares),
            "train_throughput_samples_per_second": rates,
            "train_throughput_mean_samples_per_second": fmean(rates),
            "train_throughput_stdev_samples_per_second": pstdev(rates),
            "train_io_mean_MB_per_second": fmean(rates) * sample_mib,
            "train_io_stdev_MB_per_second": pstdev(rates) * sample_mib,
        },
        "num_files_train": files,
        "num_files_eval": 0,
        "num_samples_per_file": samples / files,
        "host_cpu_count": record.environment.cores,
        "host_processor_name": record.environment.processor,
        "host_memory_GB": [record.environment.memory_bytes / 2**30],
        "data_size_per_host_GB": parameters["stored_bytes"][layout] / 2**30,
        "potential_caching": parameters["stored_bytes"][layout] <= record.environment.memory_bytes,
        "epochs": len(mine),
        "maelio": {
            "run": record.run,
            "layout": layout,
            "arm": arm,
            "repeat": repeat,
            "compute": parameters["compute"],
            "step_s": parameters["step_s"],
            "formulas": "DLIO of MLPerf Storage 2.0",
        },
    }
    return json.dumps(summary, indent=4) + "\n"


def to_jube(record: RunRecord, lines: Sequence[Line]) -> str:
    """The medians of every epoch of every arm, as `jube result` prints a table; timers in seconds, by their names in Deep500."""
    head = (
        "workload", "size", "layout", "arm", "epoch", "compute", "batch", "threads", "steps", "EPOCH", "BATCH",
        "IO", "FORWARD", "BACKWARD", "COMM", "OTHER", "samples/s", "AU",
    )  # fmt: skip
    parameters = record.parameters
    table: list[tuple[str, ...]] = [head]
    for row in rows_of(lines):
        mine = [line.times for line in lines if (line.layout, line.arm, line.epoch) == row.key]
        wall = median(times.wall_s for times in mine)
        timers = (
            wall,
            wall / row.steps,
            median(row.wait_s),
            *(
                median(times.regions_s.get(region, 0.0) for times in mine)
                for region in ("forward", "backward")
            ),
            0.0,
            median(
                times.wall_s
                - times.regions_s.get("wait", 0.0)
                - sum(times.regions_s.get(region, 0.0) for region in COMPUTE)
                for times in mine
            ),
        )
        table.append(
            (
                *(str(parameters[name]) for name in ("workload", "size")),
                *map(str, row.key),
                *(str(parameters[name]) for name in ("compute", "batch_size", "threads")),
                str(row.steps),
                *(f"{seconds:.6f}" for seconds in timers),
                f"{median(row.samples_per_s):.2f}",
                "" if row.au is None else f"{100 * median(row.au):.2f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    drawn = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
        for cells in table
    ]
    return (
        "\n".join(
            ["result:", drawn[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *drawn[1:]]
        )
        + "\n"
    )


def to_csv(record: RunRecord, lines: Sequence[Line]) -> str:
    """A line for every measured epoch."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        (
            "run", "workload", "size", "compute", "layout", "arm", "repeat", "epoch", "steps", "samples", "wall_s",
            "wait_s", "compute_s", "residual_s", "samples_per_s", "au", "au_dlio", "au_steady", "device_bytes",
        )
    )  # fmt: skip
    parameters = record.parameters
    for line in lines:
        times = line.times
        writer.writerow(
            (
                record.run, parameters["workload"], parameters["size"], parameters["compute"], line.layout, line.arm,
                line.repeat, line.epoch, times.steps, times.samples, times.wall_s, times.regions_s.get("wait", 0.0),
                sum(times.regions_s.get(region, 0.0) for region in COMPUTE), times.residual_s, times.samples_per_s,
                line.au, line.au_dlio, line.au_steady, line.device_bytes,
            )
        )  # fmt: skip
    return out.getvalue()
