"""How many workers share a job, and which cards each of them gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runners.engines import is_served
from runners.executors import DEFAULT_EXECUTOR, Executor
from runners.hardware import GIB, Hardware, choose_cards
from tracker.errors import FieldError, TrackerError, UsageError
from tracker.records import EngineSettings, Job, is_count
from tracker.records.shards import MOST_WORKERS
from tracker.wording import counted

AUTO = "auto"
FLAG = "--data-parallel"
Workers = int | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Where:
    """Where benches run, and by how many workers each."""

    executor: str | None = None  # None: that of the settings
    data_parallel: Workers = 1
    at_once: Workers | None = None  # models of a queue that are measured at once; None: one for each card


HERE = Where()


def worker_count(text: str | int, *, field: str = "data_parallel") -> Workers:
    """The number in `--data-parallel N`, or in the flag of another field, or `auto`.

    Raises:
        FieldError: it is neither.
    """
    if text == AUTO:
        return "auto"
    number = int(text) if isinstance(text, int) or (text.isascii() and text.isdecimal()) else 0
    if not is_count(number, most=MOST_WORKERS):
        problem = f"must be `auto` or a whole number from 1 to {MOST_WORKERS:,}, got `{text}`"
        raise FieldError(field, problem, example=2)
    return number


def check_shareable(engine: EngineSettings, workers: Workers, *, in_turn: str | None) -> None:
    """Refuse what several workers cannot share.

    `in_turn`: the option by which each answer decides what is asked next, if there is one.

    Raises:
        TrackerError: the model is on a server, or each answer decides whether another one is asked.
    """
    if workers == 1:
        return
    if is_served(engine.engine) or engine.base_url is not None:
        raise UsageError(
            f"`{FLAG}` starts several engines here, but the model is on a server",
            hint="`--concurrency N` asks the server more at once",
        )
    if in_turn is not None:
        raise UsageError(
            f"`{FLAG}` cannot be combined with `{in_turn}`, where each answer decides whether"
            " another one is asked",
            hint=f"leave out `{FLAG}`, or measure all items and use `tracker compare`",
        )


def card_groups(settings: EngineSettings, hardware: Hardware, n_workers: int) -> tuple[tuple[str, ...], ...]:
    """The UUIDs of the cards of each worker, the freest cards first; empty groups without cards."""
    size = settings.tensor_parallel_size
    chosen = [card.uuid for card in choose_cards(hardware.gpus, size * n_workers)]
    return tuple(tuple(chosen[n * size : (n + 1) * size]) for n in range(n_workers))


def least_hardware(settings: EngineSettings, hardware: Hardware, n_workers: int) -> Hardware:
    """The hardware of the worker that has least: the model must fit there too."""
    size = settings.tensor_parallel_size
    chosen = choose_cards(hardware.gpus, size * n_workers)
    share = hardware.free_ram_bytes // n_workers
    if not chosen:
        return replace(hardware, free_ram_bytes=share)
    return replace(hardware, gpus=chosen[-size:], free_ram_bytes=share)


def count_workers(
    asked: Workers, settings: EngineSettings, hardware: Hardware, *, has_gpu: bool, place: Executor, name: str
) -> int:
    """How many workers share the job; `auto`: one for each card, or group of cards, else one.

    Raises:
        TrackerError: there are fewer cards or cores than that, or the executor cannot tell how many.
    """
    if asked == 1:
        return 1
    if name != DEFAULT_EXECUTOR:
        return _elsewhere(asked, settings, place, name=name)
    size = settings.tensor_parallel_size
    n_possible: int = len(hardware.gpus) // size if has_gpu else hardware.n_cores
    if asked == "auto":
        return max(1, n_possible) if has_gpu else 1
    if asked <= n_possible:
        return asked
    if not has_gpu:
        cores = counted(n_possible, "core")
        message = f"`{FLAG} {asked}` needs {asked} cores, one for each worker; there are {cores} and no card"
        raise TrackerError(message, hint=f"{FLAG} {n_possible}")
    each = "one for each worker" if size == 1 else f"{size} for each worker"
    cards = counted(len(hardware.gpus), "card")
    message = f"`{FLAG} {asked}` needs {asked * size} cards, {each}; this machine has {cards}"
    hint = f"{FLAG} {n_possible}" if n_possible > 1 else f"leave out `{FLAG}`"
    raise TrackerError(message, hint=f"{hint}, or `--executor ray` or `slurm` for a cluster")


def _elsewhere(asked: Workers, settings: EngineSettings, place: Executor, *, name: str) -> int:
    """The same for another executor, which may know how many workers it has room for."""
    room = getattr(place, "room", None)
    n_possible: int | None = None if room is None else room(settings)
    if asked == "auto":
        if n_possible is None:
            message = f"the executor `{name}` does not know how many workers there is room for"
            raise TrackerError(message, hint=f"say how many: `{FLAG} 4`")
        return max(1, n_possible)
    if n_possible is not None and asked > n_possible:
        message = f"`{FLAG} {asked}`: the executor `{name}` has room for {counted(n_possible, 'worker')}"
        raise TrackerError(message, hint=f"{FLAG} {n_possible}" if n_possible > 1 else f"leave out `{FLAG}`")
    return asked


def check_memory(job: Job, hardware: Hardware, n_workers: int) -> None:
    """Refuse more workers on a processor than its memory holds.

    Raises:
        TrackerError: the prediction says that it does not.
    """
    needed = (job.fit or {}).get("total_bytes")
    if n_workers == 1 or hardware.gpus or not isinstance(needed, int):
        return
    if needed * n_workers > hardware.free_ram_bytes:
        message = (
            f"{n_workers} workers need {needed * n_workers / GIB:.1f} GiB of main memory, and"
            f" {hardware.free_ram_bytes / GIB:.1f} GiB are free"
        )
        most = max(1, hardware.free_ram_bytes // needed)
        raise TrackerError(message, hint=f"{FLAG} {most}" if most > 1 else f"leave out `{FLAG}`")
