"""What a batch holds: variables, levels, windows, inputs and targets."""

from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maelio.codecs import CODECS
from maelio.errors import BadRequest
from maelio.loaders.device import Batch
from maelio.loaders.parts import Part, corners, runs_of
from maelio.loaders.rows import Ask
from maelio.loaders.shards import Shards
from maelio.loaders.stream import stream
from maelio.store import open_store
from tests.loaders.handwritten import Array, Layout, field, write_store
from tests.loaders.test_shards import layouts

PRESSURES = np.array([1000.0, 850.0, 500.0, 250.0, 100.0])


def whole(batches: Iterable[Batch], name: str) -> Array:
    """All samples of an epoch."""
    return np.concatenate([batch[name].numpy().copy() for batch in batches])


@settings(deadline=None, max_examples=80)
@given(
    layout=layouts,
    variables=st.permutations(range(4)).flatmap(lambda p: st.integers(1, 4).map(lambda n: p[:n])),
    levels=st.sampled_from([None, [500.0], [100.0, 1000.0, 850.0], slice(1, 4), slice(None, None, -2)]),
    latitudes=st.sampled_from([None, slice(1, 3), slice(-1, None), 1, 2, 4]),
    longitudes=st.sampled_from([None, slice(0, 3), 2]),
    window=st.sampled_from([(0,), (-1, 2), (1, 0)]),
    threads=st.integers(1, 3),
)
def test_a_subset_is_what_numpy_cuts_from_all(
    layout: Layout,
    variables: list[int],
    levels: Any,
    latitudes: slice | int | None,
    longitudes: slice | int | None,
    window: tuple[int, ...],
    threads: int,
) -> None:
    """In the order asked for, and a window at one place for all variables and steps of a sample."""
    values = field(11, 4, 5, 4, 3)
    crop = {name: cut for name, cut in (("d1", latitudes), ("d2", longitudes)) if cut is not None}
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder), {"fields": values}, layout, levels={"d0": PRESSURES})
        batches = stream(
            store,
            batch_size=4,
            shuffle=False,
            seed=3,
            variables=[f"v{number}" for number in variables],
            levels=levels,
            crop=crop,
            window=window,
            threads=threads,
        )
        found = whole(batches, "fields")
    assert batches.variables == {"fields": tuple(f"v{number}" for number in variables)}
    picked = (
        range(5)[levels]
        if isinstance(levels, slice)
        else [*map(PRESSURES.tolist().index, levels or PRESSURES)]
    )
    rows = np.arange(batches.samples)[:, None] - min(0, *window) + window
    wanted = values[rows][:, :, variables][:, :, :, list(picked)]
    room = [size - cut + 1 for size, cut in ((4, latitudes), (3, longitudes)) if isinstance(cut, int)]
    drawn = corners(np.arange(batches.samples), seed=3, epoch=0, room=room)
    for sample, corner in zip(range(batches.samples), drawn.tolist(), strict=True):
        place = iter(corner)
        cuts = [
            slice(begin := next(place), begin + cut) if isinstance(cut, int) else cut or slice(None)
            for cut in (latitudes, longitudes)
        ]
        one = wanted[sample][..., cuts[0], cuts[1]]
        np.testing.assert_array_equal(found[sample], one if len(window) > 1 else one[0])


@pytest.mark.parametrize("codec", CODECS)
def test_a_subset_reads_only_its_chunks(tmp_path: Path, codec: Any) -> None:
    """Half of the pieces, half of the bytes."""
    values = field(6, 4, 8, 16)
    write_store(tmp_path, {"fields": values}, Layout(width=1, codec=codec), absent=2)
    store = open_store(tmp_path)
    everything = Part.whole(store.arrays["fields"])
    work = []
    for taken in ([0, 1, 2, 3], [2, 1]):
        part = Part(everything.array, (runs_of(taken), *everything.runs[1:]))
        out = np.empty((6, *part.shape), "f4")
        work.append(Shards(store, "fields", parts=[part]).read([Ask(np.arange(6), out)]))
        kept = np.array([0, 1, 3, 4, 5])
        np.testing.assert_array_equal(out[kept], values[kept][:, taken])
        assert np.isnan(out[2]).all()
    assert work[1].stored_bytes < 0.6 * work[0].stored_bytes


def test_arrays_without_wanted_variables_are_not_opened(tmp_path: Path) -> None:
    """Their shards may be gone."""
    fields, marks = field(20, 4, 8), field(20, 1)
    write_store(tmp_path, {"fields": fields, "marks": marks}, Layout(width=1))
    rmtree(tmp_path / "marks" / "c")
    batches = stream(tmp_path, batch_size=4, variables=["v3", "v1"], shuffle=False)
    assert set(batches.variables) == {"fields"}
    np.testing.assert_array_equal(whole(batches, "fields"), fields[:, [3, 1]])


@pytest.mark.parametrize(
    ("asked", "share"),
    [
        ({"variables": ["v1"]}, 1 / 4),
        ({"variables": ["v3", "v0"]}, 1 / 2),
        ({"crop": {"d0": slice(0, 8)}}, 1 / 8),
        ({"variables": ["v2"], "crop": {"d0": 16}}, 1 / 16),
    ],
)
def test_without_codec_only_the_bytes_wanted_are_read(
    tmp_path: Path, asked: dict[str, Any], share: float
) -> None:
    """One chunk holds all variables; a window along the first axis behind them is contiguous in each."""
    write_store(tmp_path, {"fields": field(6, 4, 64, 200)}, Layout(codec="none"))
    batches = stream(tmp_path, batch_size=2, **asked)
    for _ in batches:
        pass
    assert batches.work.stored_bytes == share * 6 * 4 * 64 * 200 * 4


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("window", [(0,), (-1, 0, 1)])
def test_what_a_batch_wants_twice_is_read_once(tmp_path: Path, codec: Any, window: tuple[int, ...]) -> None:
    """Steps that samples share, and variables that are inputs and targets."""
    values = field(12, 3, 5)
    write_store(tmp_path, {"fields": values}, Layout(codec=codec))
    plain = stream(tmp_path, batch_size=12, shuffle=False, threads=1)
    next(iter(plain))
    batches = stream(
        tmp_path,
        batch_size=12,
        shuffle=False,
        threads=1,
        inputs=["v0", "v1", "v2"],
        targets=["v2", "v0"],
        input_steps=window,
        target_steps=window,
    )
    batch = next(iter(batches))
    assert batches.work.stored_bytes == plain.work.stored_bytes
    rows = np.arange(batches.samples)[:, None] - min(window) + window
    wanted = values[rows] if len(window) > 1 else values
    np.testing.assert_array_equal(batch["inputs"].numpy(), wanted)
    np.testing.assert_array_equal(batch["targets"].numpy(), wanted[..., [2, 0], :])


@settings(deadline=None, max_examples=40)
@given(
    layout=layouts,
    input_steps=st.sampled_from([None, (0,), (-2, 0), (-1, 0, 1)]),
    target_steps=st.sampled_from([None, (0,), (1,), (1, 3), (0, 1)]),
    shuffle=st.sampled_from([False, "global"]),
    crop=st.sampled_from([{}, {"d0": 2}]),
)
def test_inputs_and_targets_belong_to_the_same_sample(
    layout: Layout, input_steps: Any, target_steps: Any, shuffle: Any, crop: dict[str, int]
) -> None:
    """Each has its variables and its steps, and both the same window."""
    values = field(15, 4, 3)
    with TemporaryDirectory() as folder:
        write_store(Path(folder), {"fields": values}, layout)
        batches = stream(
            folder,
            batch_size=3,
            shuffle=shuffle,
            inputs=["v2", "v0"],
            targets=["v3"],
            input_steps=input_steps,
            target_steps=target_steps,
            crop=crop,
        )
        kept = [(batch["inputs"], batch["targets"]) for batch in batches]
    inputs, targets = (
        np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*kept, strict=True)
    )
    before, after = input_steps or (0,), target_steps or (0,)
    inputs = inputs.reshape(len(inputs), len(before), 2, -1)
    targets = targets.reshape(len(inputs), len(after), 1, -1)
    rows = inputs[:, 0, 0, 0].astype(int) // 12 - before[0]
    shift = inputs[:, 0, 0, 0].astype(int) % 3
    if not shuffle:
        np.testing.assert_array_equal(rows, np.arange(len(rows)) - min(0, *before, *after))
    assert len(rows) == batches.samples == 15 + min(0, *before, *after) - max(0, *before, *after)
    width = crop.get("d0", 3)
    points = shift[:, None, None, None] + np.arange(width)
    for found, steps, variables in ((inputs, before, [2, 0]), (targets, after, [3])):
        at = (rows[:, None] + steps)[:, :, None, None]
        np.testing.assert_array_equal(found, values[at, np.array(variables)[:, None], points])


def test_roles_that_span_arrays_have_a_tensor_of_each(tmp_path: Path) -> None:
    """By role and array; a role in one array is its name alone."""
    write_store(tmp_path, {"fields": field(9, 2, 3), "marks": field(9, 3)})
    batches = stream(tmp_path, batch_size=3, inputs=["v1", "v0"], targets=["v2"])
    shapes = {name: tuple(tensor.shape) for name, tensor in next(iter(batches)).items()}
    assert shapes == {"inputs.fields": (3, 2, 3), "inputs.marks": (3, 2), "targets": (3, 1)}
    assert batches.variables["inputs.marks"] == ("v1", "v0")
    forecast = stream(tmp_path, batch_size=3, variables=["v2"], input_steps=(-1, 0), target_steps=(1,))
    shapes = {name: tuple(tensor.shape) for name, tensor in next(iter(forecast)).items()}
    assert shapes == {"inputs": (3, 2, 1), "targets": (3, 1)}
    assert forecast.window == (-1, 0, 1)


def test_the_position_does_not_depend_on_what_is_taken(tmp_path: Path) -> None:
    """A run may go on with other variables, levels and windows."""
    write_store(tmp_path, {"fields": field(9, 2, 3), "profiles": field(9, 3)}, Layout(rows=2))
    one = stream(tmp_path, batch_size=2, variables=["v2"])
    next(iter(one))
    other = stream(tmp_path, batch_size=2, crop={"d0": 2})
    other.load_state_dict(one.state_dict())
    assert one.shuffle == other.shuffle == "window"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"variables": []}, "variables=.*one variable or more"),
        ({"variables": "v0"}, "variables='v0'; wanted a sequence"),
        ({"variables": ["v0", "v0"]}, "each once"),
        ({"variables": ["t2m"]}, "no 't2m', it has v0, v1"),
        ({"inputs": ["v0", "w"]}, "inputs=.*no 'w'"),
        ({"targets": ["w"]}, "targets=.*no 'w'"),
        ({"inputs": ["v0"], "window": (0, 1)}, "wanted input_steps and target_steps"),
        ({"inputs": ["v0"], "input_steps": ()}, "input_steps="),
        ({"inputs": ["v0"], "target_steps": (0, 99)}, "target_steps=.* is longer than"),
        ({"input_steps": (-8,), "target_steps": (8,)}, "leaves no batch"),
        ({"levels": []}, "wanted one or more"),
        ({"levels": [700]}, "'d0' has no 700; it has 1000, 850, 500"),
        ({"levels": slice(7, 9)}, "levels=.* leaves nothing of 5 positions"),
        ({"crop": {"latitude": 3}}, "no dimension 'latitude'; there are d0, d1"),
        ({"crop": {"d1": 4}}, "a window of 4 along 'd1', which has 3"),
        ({"crop": {"d1": 0}}, "a window of 0"),
        ({"crop": {"d1": slice(2, 1)}}, "leaves nothing of 3"),
        ({"crop": {"d0": 2}, "levels": [500]}, "'d0' stands in crop"),
    ],
)
def test_what_the_store_does_not_have_is_refused(tmp_path: Path, asked: dict[str, Any], says: str) -> None:
    """At once, with what there is."""
    write_store(tmp_path, {"fields": field(12, 2, 5, 3)}, levels={"d0": PRESSURES})
    with pytest.raises(BadRequest, match=says):
        stream(tmp_path, **{"batch_size": 2, **asked})


def test_levels_want_a_vertical_coordinate(tmp_path: Path) -> None:
    """A dimension without one is cropped by its name."""
    write_store(tmp_path, {"fields": field(12, 2, 5)})
    with pytest.raises(BadRequest, match=r"no array of .* has a vertical coordinate"):
        stream(tmp_path, batch_size=2, levels=[500])
