"""What the README and the page on streaming show runs as it stands."""

import io
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from maelio.cli import main
from maelio.converters.convert import convert
from tests.converters.netcdf_files import write_netcdf
from tests.web import serve

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
STREAMING = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "streaming.md").read_text(), re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^    (maelio [^#\n]*?)\s*(?:#.*)?$", README, re.MULTILINE)


class Mean(torch.nn.Module):
    """The mean of the steps that go in, times one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.weight * steps.mean(1)


def test_the_training_loop_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten epochs over a store of that name; each tells its shares."""
    field = np.random.default_rng(0).random((40, 5, 7)).astype(np.float32)
    convert([write_netcdf(tmp_path / "a.nc", {"t": field})], tmp_path / "era5.zarr")
    monkeypatch.chdir(tmp_path)
    model = Mean()
    scope: dict[str, Any] = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.01)}
    exec(PYTHON[0], scope)  # noqa: S102  our own text
    assert len(re.findall(r"^I/O [\d.]+%, compute [\d.]+%$", capsys.readouterr().out, re.MULTILINE)) == 10


def test_the_page_on_streaming_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and targets of a store of that name, standardised, with a gap; its state; and what is no store."""
    random = np.random.default_rng(0)
    fields = {name: random.random((40, 5, 7)).astype(np.float32) for name in ("t2m", "u10", "msl", "tp")}
    fields["tp"][3:9, 1] = np.nan
    (tmp_path / "era5").mkdir()
    source = write_netcdf(tmp_path / "era5" / "a.nc", fields)
    convert([source], tmp_path / "era5.zarr")
    with xr.open_dataset(source, decode_cf=False) as raw:
        raw.to_zarr(tmp_path / "someone.zarr", consolidated=False)
    for number in range(11):
        with tarfile.open(tmp_path / f"shard-{number:03d}.tar", "w") as archive:
            for row in range(16):
                archive.addfile(tarfile.TarInfo(f"{row}.txt"))
                member = tarfile.TarInfo(f"{row}.cls")
                member.size = 1
                archive.addfile(member, io.BytesIO(b"3"))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    with serve(tmp_path) as server:
        for code in STREAMING:
            near = code.replace("https://data.example.org", server.url).replace("/local/nvme", "stage")
            exec(near, scope)  # noqa: S102  our own text
    assert scope["inputs"].shape[1:] == (2, 3, 5, 7)
    assert scope["targets"].shape[1:] == (1, 5, 7)
    assert torch.isfinite(scope["error"])
    assert 0 < scope["rain"].mean() < 1


def test_the_dataset_comes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From CliMetLab, and from its converted copy: of stand-ins, since no test asks the servers."""
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path))
    monkeypatch.setenv("MAELIO_SYNTHETIC", "1")
    scope: dict[str, Any] = {}
    exec(PYTHON[1], scope)  # noqa: S102  our own text
    assert scope["ds"].to_xarray().sizes["level"] == 137


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> Path:
    """The files that the README's commands name."""
    folder = tmp_path / "era5"
    folder.mkdir()
    field = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    for number in range(2):
        write_netcdf(folder / f"{number}.nc", {"t": field}, first=4 * number)
    grib = shared_data / "pydata+xarray-data" / "era5-2mt-2019-03-uk.grib"
    (folder / "1.grib").write_bytes(grib.read_bytes())
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_commands_run_one_after_the_other(archive: Path) -> None:
    """As a shell would give them, on files of these names."""
    commands = [line for line in COMMANDS if "era5" in line]
    assert len(commands) == 9
    for line in commands:
        expanded = [
            name
            for word in shlex.split(line)[1:]
            for name in (sorted(map(str, Path.cwd().glob(word))) if "*" in word else [word])
        ]
        assert main(expanded) == 0, line
