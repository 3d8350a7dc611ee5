"""Where several models of the queue are measured at once: a seat for each of them.

With several cards each model has its own, and is as fast as alone. More models than cards, or several on one
processor, share memory and time: only where that is asked for, and without a measurement of their speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from runners.card_support import can_use_card
from runners.engines import is_served
from runners.executors import DEFAULT_EXECUTOR, Executor, open_executor
from runners.hardware import Gpu, Hardware, describe_hardware
from tracker.bench.workers import Where, Workers, card_groups
from tracker.errors import TrackerError, UsageError
from tracker.records import EngineSettings, Job
from tracker.settings import Settings
from tracker.wording import counted

FLAG = "--at-once"


@dataclass(frozen=True, slots=True)
class Seat:
    """What one of several models may use."""

    hardware: Hardware | None = None  # None: all that the executor finds
    cards: tuple[str, ...] = ()  # UUIDs; empty: the executor chooses
    n_beside: int = 0  # models that use the same cards, or the same processor, meanwhile

    def seated(self, job: Job) -> Job:
        """The job with settings that fit the seat, told to use no more than it."""
        if not self.n_beside:
            return replace(job, cards=self.cards)
        share = job.settings.gpu_memory_utilization / (self.n_beside + 1)  # of the whole card
        where = "card" if self.cards else "processor"
        said = f"{counted(self.n_beside, 'other model')} may run on the same {where}: no speed is recorded"
        return replace(
            job,
            cards=self.cards,
            n_beside=self.n_beside,
            settings=replace(job.settings, gpu_memory_utilization=round(share, 4)),
            warnings=(*job.warnings, said),
        )


ALONE = Seat()


def find_seats(where: Where, engine: EngineSettings, settings: Settings) -> tuple[Seat, ...]:
    """The seats of a queue; only `ALONE` where one model follows another.

    Raises:
        UsageError: several at once are asked for with `--data-parallel` or on a server.
        TrackerError: the executor cannot tell how many there is room for.
    """
    asked = where.at_once
    is_on_server = is_served(engine.engine) or engine.base_url is not None
    if asked in (None, 1) and (is_on_server or where.data_parallel != 1):
        return (ALONE,)
    if is_on_server:
        raise UsageError(
            f"`{FLAG}` starts several engines here, but the models are on a server",
            hint="`--concurrency N` asks the server more at once",
        )
    if where.data_parallel != 1:
        raise UsageError(
            f"`{FLAG}` cannot be combined with `--data-parallel`, which gives each model several workers",
            hint="choose one of them",
        )
    name = where.executor or settings.executor
    if name != DEFAULT_EXECUTOR:
        return (ALONE,) * _elsewhere(asked, engine, open_executor(name, settings), name=name)
    hardware = describe_hardware()
    if not can_use_card(hardware, engine=engine.engine):
        return seats_on(replace(hardware, gpus=()), engine, asked)
    return seats_on(hardware, engine, asked)


def seats_on(hardware: Hardware, engine: EngineSettings, asked: Workers | None) -> tuple[Seat, ...]:
    """The seats on a machine: of None or `auto` one for each card, or group of cards, else one."""
    n_groups = max(1, len(hardware.gpus) // engine.tensor_parallel_size) if hardware.gpus else 1
    n_seats = asked if isinstance(asked, int) else n_groups
    if n_seats == 1:
        return (ALONE,)
    groups = card_groups(engine, hardware, min(n_seats, n_groups))
    found = []
    for n in range(n_seats):
        own = groups[n % len(groups)]
        n_sharing = len(range(n % len(groups), n_seats, len(groups)))
        cards = tuple(_part(card, n_sharing) for card in hardware.gpus if card.uuid in own)
        free_ram_bytes = hardware.free_ram_bytes // n_seats
        part = replace(hardware, gpus=cards, free_ram_bytes=free_ram_bytes)
        found.append(Seat(part, own, n_sharing - 1))
    return tuple(found)


def _part(card: Gpu, n_sharing: int) -> Gpu:
    return replace(card, total_bytes=card.total_bytes // n_sharing, free_bytes=card.free_bytes // n_sharing)


def _elsewhere(asked: Workers | None, engine: EngineSettings, place: Executor, *, name: str) -> int:
    """The number of models at once with another executor."""
    if asked is None or isinstance(asked, int):
        return asked or 1
    room: Callable[[EngineSettings], int] | None = getattr(place, "room", None)
    if room is None:
        message = f"the executor `{name}` does not know how many models there is room for"
        raise TrackerError(message, hint=f"say how many: `{FLAG} 4`")
    return max(1, room(engine))
