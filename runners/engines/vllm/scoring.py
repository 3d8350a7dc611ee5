"""Plan vLLM requests for continuations so that shared prefixes are computed once and no row is missing.

A row is a position of the input; row `r` predicts token `r + 1`. vLLM returns log-probs only for rows that it
computes: those read from its prefix cache are noise (V1 runner: log-prob 0.0) or missing (V2 runner). So if
choices diverge after a block boundary inside the scored part, the shared prefix is requested as a separate
input, whose last row gives the first token of every branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runners.engines import UNSCORED, Continuation
from runners.engines.encoding import KEY_BYTES, EncodedPair, Ids, SharedInput, plan_inputs

MAX_NEXT_IDS = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS


@dataclass(slots=True)
class Probe:
    """One input for vLLM: needs the rows from `first_row` on, and `next_ids` after the last one."""

    ids: Ids
    first_row: int
    next_ids: dict[int, None] = field(default_factory=dict)  # an ordered set
    users: list[int] = field(default_factory=list)  # indices of the pairs that use it

    @property
    def has_rows(self) -> bool:
        """Whether rows before the last token are needed."""
        return self.first_row < len(self.ids) - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Location of the log-probs of some tokens of a pair: rows `first_row…` of a probe, then `next_id`."""

    probe: int
    first_row: int
    next_id: int


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """The probes, the pieces of each pair, and the order of requests.

    That of the pairs, so that the first of them are answered first, but a prefix before its extensions.
    """

    probes: list[Probe]
    pieces: list[list[Piece]]
    order: list[int]


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """The result of one probe; rows before `first_row` were read from the cache and are unknown."""

    first_row: int
    log_probs: Sequence[float]  # of the prompt's own tokens, from `first_row` on
    top_log_probs: Sequence[float]  # of the most probable token there
    next_log_probs: dict[int, float]
    next_top_log_prob: float
    n_cached: int


class PlannedPairs:
    """Pairs whose probes are being answered, in any order."""

    def __init__(self, plan: ScoringPlan, n_tokens: Sequence[int]) -> None:
        """`n_tokens`: of each continuation."""
        self._plan, self._n_tokens = plan, n_tokens
        self._rows: dict[int, ProbeRows | None] = {}
        self._n_missing = [len(pieces) for pieces in plan.pieces]

    @property
    def is_done(self) -> bool:
        """Whether each probe has been answered."""
        return len(self._rows) == len(self._plan.probes)

    def answered(self, probe: int, read: ProbeRows | None) -> Iterator[tuple[int, Continuation]]:
        """Take the rows of a probe; yield the index and the answer of each pair that lacked only these."""
        self._rows[probe] = read
        for place in self._plan.probes[probe].users:
            self._n_missing[place] -= 1
            if self._n_missing[place] == 0:
                yield place, continuation(self._plan, place, self._rows, n_tokens=self._n_tokens[place])


def plan_scoring(pairs: Sequence[EncodedPair], *, max_len: int, block_tokens: int) -> ScoringPlan:
    """Plan the fewest inputs that give all needed rows; at most `max_len` tokens each, truncated on the left.

    Raises:
        ValueError: a continuation alone is longer than that.
    """
    for pair in pairs:
        if len(pair.continuation) > max_len:
            raise ValueError(
                f"a continuation has {len(pair.continuation)} tokens, more than the model's {max_len}"
            )
    inputs = plan_inputs([pair.input_ids(max_len) for pair in pairs])
    probes = _Probes()
    pieces: list[list[Piece]] = [[] for _ in pairs]
    for n, shared in enumerate(inputs):
        first_rows = {place: len(shared.ids) - len(pairs[place].continuation) for place in shared.places}
        depths = _branch_depths(inputs, n, above=min(first_rows.values()))
        for place, row in first_rows.items():
            first_row = row
            for depth in [*depths, len(shared.ids)]:
                is_whole = depth == len(shared.ids)
                if not is_whole and depth // block_tokens * block_tokens <= first_row:
                    continue  # the cached part ends before the needed rows
                next_id = pairs[place].continuation[-1] if is_whole else shared.ids[depth]
                piece = probes.piece(shared, depth, first_row, next_id)
                probes.found[piece.probe].users.append(place)
                pieces[place].append(piece)
                first_row = depth
    return ScoringPlan(probes.found, pieces, probes.order())


class _Probes:
    """The probes of a plan; inputs that begin alike share those of their beginnings."""

    def __init__(self) -> None:
        self.found: list[Probe] = []
        self.keys: list[bytes] = []  # `sort_key` of each
        self._number: dict[bytes, int] = {}  # by key

    def piece(self, shared: SharedInput, depth: int, first_row: int, next_id: int) -> Piece:
        """The piece from `first_row` to the token after the first `depth`; creates or extends its probe."""
        key = shared.key[: depth * KEY_BYTES]
        number = self._number.get(key)
        if number is None or _is_full(self.found[number], next_id):
            number = self._number[key] = len(self.found)
            self.found.append(Probe(shared.ids[:depth], first_row))
            self.keys.append(key)
        probe = self.found[number]
        probe.first_row = min(probe.first_row, first_row)
        probe.next_ids[next_id] = None
        return Piece(number, first_row, next_id)

    def order(self) -> list[int]:
        """Their numbers by the first pair that uses each or what extends it, then by their tokens."""
        first = [min(probe.users) for probe in self.found]
        extensions: list[int] = []  # of what comes before them by their tokens
        for n in sorted(range(len(self.found)), key=self.keys.__getitem__, reverse=True):
            while extensions and self.keys[extensions[-1]].startswith(self.keys[n]):
                first[n] = min(first[n], first[extensions.pop()])
            extensions.append(n)
        return sorted(range(len(self.found)), key=lambda n: (first[n], self.keys[n]))


def _is_full(probe: Probe, next_id: int) -> bool:
    return len(probe.next_ids) >= MAX_NEXT_IDS and next_id not in probe.next_ids


def continuation(
    plan: ScoringPlan, place: int, rows: Mapping[int, ProbeRows | None], *, n_tokens: int
) -> Continuation:
    """The answer of one pair; a probe used by several pairs counts as computed for the first only.

    Without the rows of each of its probes it is `UNSCORED`.
    """
    pieces = plan.pieces[place]
    if len(pieces) == 1:
        return _of_one_piece(plan, place, pieces[0], rows, n_tokens=n_tokens)
    found = {piece.probe: read for piece in pieces if (read := rows[piece.probe]) is not None}
    if any(piece.probe not in found for piece in pieces):
        return UNSCORED
    log_prob, is_greedy = pair_score(pieces, found)
    n_input = len(plan.probes[pieces[-1].probe].ids)
    own = [plan.probes[p.probe].users[0] == place for p in pieces]
    n_computed = sum(
        len(plan.probes[p.probe].ids) - found[p.probe].n_cached
        for p, is_own in zip(pieces, own, strict=True)
        if is_own
    )
    return Continuation(
        log_prob=log_prob,
        is_greedy=is_greedy,
        prompt_tokens=n_input + 1 - n_tokens,
        output_tokens=n_tokens,
        cached_tokens=max(0, n_input - n_computed),
    )


def _of_one_piece(
    plan: ScoringPlan, place: int, piece: Piece, rows: Mapping[int, ProbeRows | None], *, n_tokens: int
) -> Continuation:
    """The same where one probe has everything, as with letters to choose from, in a third of the time."""
    read, probe = rows[piece.probe], plan.probes[piece.probe]
    if read is None:
        return UNSCORED
    log_prob, is_greedy = pair_score((piece,), {piece.probe: read})
    n_input = len(probe.ids)
    return Continuation(
        log_prob=log_prob,
        is_greedy=is_greedy,
        prompt_tokens=n_input + 1 - n_tokens,
        output_tokens=n_tokens,
        cached_tokens=read.n_cached if probe.users[0] == place else n_input,
    )


def pair_score(pieces: Sequence[Piece], rows: Mapping[int, ProbeRows]) -> tuple[float, bool]:
    """Summed log-prob in nats of a pair, and whether every token is the most probable one (ties count)."""
    log_prob, is_greedy = 0.0, True
    for piece in pieces:
        read = rows[piece.probe]
        start = piece.first_row - read.first_row
        assert start >= 0, "a needed row was read from the cache"
        for own, top in zip(read.log_probs[start:], read.top_log_probs[start:], strict=True):
            log_prob += own
            is_greedy = is_greedy and own >= top
        own = read.next_log_probs[piece.next_id]
        log_prob += own
        is_greedy = is_greedy and own >= read.next_top_log_prob
    return log_prob, is_greedy


def _branch_depths(inputs: Sequence[SharedInput], n: int, *, above: int) -> list[int]:
    """The lengths beyond `above`, ascending, at which other inputs of the plan diverge from the `n`-th."""
    depths = set()
    for neighbors in (range(n + 1, len(inputs)), range(n, 0, -1)):
        common = len(inputs[n].ids)
        for other in neighbors:
            common = min(common, inputs[other].n_shared)
            if common <= above:
                break
            depths.add(common)
    return sorted(depths - {len(inputs[n].ids)})
