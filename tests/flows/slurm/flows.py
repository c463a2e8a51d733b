"""Flows that real jobs run."""

import os

from prefect import flow, get_run_logger


@flow
def succeed() -> str:
    node = os.environ["SLURMD_NODENAME"]
    get_run_logger().info("runs on %s", node)
    return node


@flow
def fail() -> None:
    raise ValueError("no wind")
