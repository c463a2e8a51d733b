"""Is a prediction true? A run of ours again, as it was and with a remedy, in turns on the same batches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from maelio.benchmarks.arms import maelio_arm, naive_arm
from maelio.benchmarks.compare import Arm, compare
from maelio.benchmarks.explain import Diagnosis, Mean
from maelio.benchmarks.next_year import VARIABLE, beginner, windows
from maelio.benchmarks.stages import Remedy, show_time
from maelio.benchmarks.training import Learner
from maelio.codecs import CodecName
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadRequest, NotFound
from maelio.records import RunRecord
from maelio.store import Store, open_store

AS_IT_WAS, CHANGED = "as it was", "changed"


@dataclass(frozen=True, slots=True)
class Verified:
    """Seconds a step. `before_s` was measured beside `measured_s`; the prediction is scaled to it, as a machine is
    not as fast today as it was."""

    remedy: Remedy
    before_s: float
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Of the prediction, as a part of what was measured."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True, slots=True)
class Arms:
    """A run of ours that is repeated: its arm as it was, and with a remedy, over the same batches."""

    arms: tuple[Arm, Arm]
    learner: Callable[[], Learner]


@dataclass(frozen=True, slots=True)
class Replay:
    """How runs of one name are repeated, with remedies of these kinds."""

    kinds: frozenset[str]
    arms: Callable[[RunRecord, str, Remedy], AbstractContextManager[Arms]]


def verify(record: RunRecord, diagnosis: Diagnosis, epochs: int = 3) -> Verified:
    """Apply the best remedy that can be applied here, and measure it.

    Raises:
        BadRequest: there is no remedy, or the run is none of ours, so nobody knows how to repeat it.
        NotFound: its data is gone. InvalidMeasurement: the change delivers other batches.
    """
    if record.name not in REPLAYS:
        raise BadRequest(f"{record.run} is a run of {record.name!r}; wanted one of {', '.join(REPLAYS)}")
    replay = REPLAYS[record.name]
    remedy = next((one for one in diagnosis.remedies if one.kind in replay.kinds), None)
    if remedy is None:
        raise BadRequest(
            f"{record.run}, arm {diagnosis.arm!r}: nothing that can be applied is predicted to make it faster"
        )
    with replay.arms(record, diagnosis.arm, remedy) as replayed:
        times = compare(replayed.arms, replayed.learner, epochs).times
    before, after = (Mean.of(times[name]).step_s for name in (AS_IT_WAS, CHANGED))
    return Verified(remedy, before, before * remedy.step_s / diagnosis.step_s, after)


def in_one_line(seen: Verified) -> str:
    return (
        f"verified: {seen.remedy.says}: {show_time(seen.measured_s)} a step, predicted {show_time(seen.predicted_s)} "
        f"({seen.error:+.0%}); as it was {show_time(seen.before_s)}"
    )


@contextmanager
def _pipeline(record: RunRecord, arm: str, remedy: Remedy) -> Iterator[Arms]:
    """The quick start: one arm is xarray over the source, the other streams the store of the training scenario."""
    stores = [Path(one.uri) for one in record.inputs if Path(one.uri, "zarr.json").is_file()]
    if not stores:
        raise NotFound(f"{record.run}: its store is gone: {', '.join(one.uri for one in record.inputs)}")
    store, threads = open_store(stores[0]), cast(int, record.parameters["threads"])
    sources = [Path(source.path) for source in store.contents.sources]

    def streamed(name: str, store: Store, threads: int) -> Arm:
        return replace(maelio_arm(lambda: windows(store, threads, shuffle=True), VARIABLE), name=name)

    with ExitStack() as stack:
        if arm == "naive":
            naive = naive_arm(sources[0], VARIABLE, windows(store, threads, shuffle=True))
            before = replace(stack.enter_context(naive), name=AS_IT_WAS)
        else:
            before = streamed(AS_IT_WAS, store, threads)
        match remedy.kind:
            case "threads":
                after = streamed(CHANGED, store, int(remedy.value))
            case "codec":
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="maelio-")))
                options = Options(codec=cast(CodecName, remedy.value))
                after = streamed(CHANGED, convert(sources, folder / "store.zarr", options), threads)
            case _:  # the other arm
                after = streamed(CHANGED, store, threads)
        yield Arms((before, after), lambda: beginner(store))


REPLAYS = {"pipeline": Replay(frozenset({"threads", "codec", "loader"}), _pipeline)}
