"""Sampled answers, repeated questions and answers that are none, on an engine that answers by the seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest
from runners.harness.leaf_work import LEAST_THINKING_TOKENS
from runners.harness.sampling import model_sampling, stated_sampling
from runners.harness.walk import RunningSuite, prepare
from tests.conftest import ROOT
from tests.doubles.engines import SUM, ArithmeticEngine
from tracker.errors import EngineError
from tracker.files.items import read_items, stored_parts, write_part
from tracker.records import EngineSettings, Item, Job, Model, RunRequest, Suite, Task, TaskScore
from tracker.settings import Settings
from tracker.stats import Interval, anytime_interval, mean_interval

ENGINE = "tests.doubles.engines:ArithmeticEngine"
WARM = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}


def is_right(request: GenerationRequest) -> bool:
    """Whether the engine below adds correctly."""
    dice = hashlib.sha256(f"{request.seed} {request.prompt}".encode()).digest()[0] % 3
    return request.temperature == 0 or dice != 0


@dataclass
class DiceEngine(ArithmeticEngine):
    """Adds correctly in about two of three sampled answers, as the seed says; greedy ones are right."""

    folder: Path
    asked: list[GenerationRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(model_in(self.folder), EngineSettings())

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, request in enumerate(requests):
            self.asked.append(request)
            yield place, self.answer(place, request)

    def answer(self, _place: int, request: GenerationRequest) -> Generation:
        found = SUM.search(request.prompt)
        assert found
        total = int(found.group(1)) + int(found.group(2))
        return Generation(f" {total + (not is_right(request))}", "stop", 7, 3)


class ThinkingEngine(DiceEngine):
    """Of ten answers: one empty, two with text in the thinking alone, three cut off while thinking."""

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        right = super().answer(place, request)
        if place % 10 == 0:
            return replace(right, text="")
        if place % 10 in (1, 2):
            return replace(right, text="", thinking="The answer is here.")
        if place % 10 in (3, 4, 5):
            return replace(right, text="", thinking="Let me see", finish_reason="length", output_tokens=50)
        return right


class LoopingEngine(DiceEngine):
    """Every fourth answer goes round in a loop and is cut off."""

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        right = super().answer(place, request)
        return replace(right, finish_reason="repetition") if place % 4 == 0 else right


def model_in(folder: Path) -> Model:
    return Model("acme/tiny-1b", "0" * 40, path=str(folder))


def suite(task: str = "sums", **more: object) -> Suite:
    include = str(ROOT / "tests" / "tasks")
    made = Suite("sums-suite", 1, "", (Task(task),), include_path=include, sampling="model")
    return replace(made, **more)  # type: ignore[arg-type]


def walked(
    settings: Settings,
    engine: DiceEngine,
    asked: Suite,
    *,
    run_id: str = "run-1",
    n_answers: int | None = None,
    has_deadline: bool = False,
    seed: int = 0,
    limit: int = 40,
    options: EngineSettings | None = None,
    until: float | None = None,
) -> RunningSuite:
    """The suite run in this process, stopped after that many answers."""
    request = RunRequest(run_id, asked)
    options = options or EngineSettings(engine=ENGINE, seed=seed)
    job = Job(
        model_in(engine.folder), options, (request,), str(settings.items_path), limit=limit,
        until_half_width=until,
    )  # fmt: skip
    tasks = prepare(asked, cache_path=settings.home / "cache")
    before = len(engine.asked)
    found = RunningSuite(
        engine,
        job,
        request,
        tasks,
        lambda event: None,
        lambda: n_answers is not None and len(engine.asked) - before >= n_answers,
        deadline=time.monotonic() + 3600 if has_deadline else None,
    )
    found.run_tasks()
    return found


def items_of(settings: Settings, score: TaskScore) -> dict[int, Item]:
    return dict(read_items(stored_parts(settings.items_path, score.fingerprint)))


@pytest.fixture
def engine(tmp_path: Path) -> DiceEngine:
    (tmp_path / "generation_config.json").write_text(json.dumps(WARM))
    return DiceEngine(tmp_path)


def test_repeats_are_scored_with_the_items_as_clusters(settings: Settings, engine: DiceEngine) -> None:
    tally = walked(settings, engine, suite(repeats=3)).tally
    total, *parts = tally.scores
    assert [score.task for score in tally.scores] == ["sums", "sums#1", "sums#2", "sums#3"]
    assert [score.group for score in tally.scores] == [None, "sums", "sums", "sums"]
    table = np.array([[item.score for _, item in sorted(items_of(settings, part).items())] for part in parts])
    assert table.shape == (3, 40)
    assert len({row.tobytes() for row in table}) == 3  # different answers each time
    wanted = mean_interval(table.T.ravel().tolist(), clusters=[doc for doc in range(40) for _ in range(3)])
    assert (total.value, total.ci_low, total.ci_high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    assert (total.n_items, total.repeats, total.n_total) == (40, 3, 400)
    metrics = {metric.metric: metric for metric in tally.metrics}
    assert metrics["exact_match pass^3"].value == pytest.approx(table.min(axis=0).mean())
    spread = metrics["exact_match standard deviation of repeats"]
    assert spread.value == pytest.approx(table.mean(axis=1).std(ddof=1))
    assert not any(metric.is_headline for metric in (spread, metrics["exact_match pass^3"]))


def test_repeats_stopped_anywhere_resume_each_and_ask_nothing_twice(
    settings: Settings, engine: DiceEngine
) -> None:
    whole = walked(Settings(home=settings.home / "other"), DiceEngine(engine.folder), suite(repeats=3)).tally
    for number, n_answers in enumerate((1, 30, 50, None)):
        last = walked(settings, engine, suite(repeats=3), run_id=f"run-{number}", n_answers=n_answers).tally
    assert [score.value for score in last.scores] == [score.value for score in whole.scores]
    assert len(engine.asked) == 120
    assert len({(request.prompt, request.seed) for request in engine.asked}) == 120


def test_repeats_begin_with_the_answers_of_a_run_without_any(settings: Settings, engine: DiceEngine) -> None:
    once = walked(settings, engine, suite()).tally
    again = walked(settings, engine, suite(repeats=2), run_id="run-2").tally
    assert len(engine.asked) == 80
    assert again.scores[1].fingerprint == once.scores[0].fingerprint
    assert again.scores[0].n_reused_items == 40


@pytest.mark.parametrize("sampling", ["greedy", "task"])
def test_repeats_of_greedy_answers_are_asked_once_and_told(
    settings: Settings, engine: DiceEngine, sampling: str
) -> None:
    tally = walked(settings, engine, suite(repeats=3, sampling=sampling)).tally
    assert [(score.task, score.value, score.repeats) for score in tally.scores] == [("sums", 1.0, None)]
    assert len(engine.asked) == 40
    assert "its answers are greedy, so each question is asked once, not 3 times" in tally.warnings[0]


def test_repeats_leave_choices_alone(settings: Settings, engine: DiceEngine) -> None:
    tally = walked(settings, engine, suite("parity", repeats=3)).tally
    assert [(score.task, score.repeats, score.n_items) for score in tally.scores] == [("parity", None, 40)]


def test_model_sampling_is_sent_and_part_of_the_fingerprint(settings: Settings, engine: DiceEngine) -> None:
    found = walked(settings, engine, suite())
    assert found.sampling == {"temperature": 0.6, "top_p": 0.95}
    assert {(request.temperature, request.top_p) for request in engine.asked} == {(0.6, 0.95)}
    assert len({request.seed for request in engine.asked}) == 40
    (engine.folder / "generation_config.json").write_text(json.dumps(WARM | {"temperature": 0.7}))
    warmer = walked(settings, engine, suite(), run_id="run-2")
    seeded = walked(settings, engine, suite(), run_id="run-3", seed=1)
    fingerprints = {one.tally.scores[0].fingerprint for one in (found, warmer, seeded)}
    assert (len(fingerprints), warmer.tally.n_reused_items) == (3, 0)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "`acme/tiny-1b` states no sampling: `generation_config.json` is missing or has none"),
        ({"eos_token_id": 2}, "states no sampling"),
        (WARM | {"top_k": 20}, "`top_k: 20` of the model's own sampling is not supported by the engine"),
    ],
    ids=["no file", "nothing stated", "not supported"],
)
def test_model_sampling_that_cannot_be_had_is_refused(
    settings: Settings, engine: DiceEngine, config: dict[str, object] | None, says: str
) -> None:
    path = engine.folder / "generation_config.json"
    path.unlink() if config is None else path.write_text(json.dumps(config))
    tally = walked(settings, engine, suite()).tally
    assert tally.unavailable == ["sums"]
    assert says in tally.warnings[0]
    assert not engine.asked


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"top_k": 20, "top_p": 1.0}, {"temperature": 1.0, "top_k": 20}),
        ({"temperature": 0.6, "presence_penalty": 1.5, "repetition_penalty": 1.0, "min_p": 0.0},
         {"temperature": 0.6, "presence_penalty": 1.5}),
        ({"temperature": None, "top_k": 20.0, "top_p": 1}, {"temperature": 1.0, "top_k": 20}),
        ({"temperature": 1e-6, "top_k": -1, "top_p": 0.001}, {"temperature": 1e-6, "top_p": 0.001}),
        ({"temperature": 1e-320, "min_p": 0.1}, {"temperature": 0.0, "min_p": 0.1}),
    ],
)  # fmt: skip
def test_model_sampling_is_what_the_generation_config_states(
    config: dict[str, object], expected: dict[str, float]
) -> None:
    assert stated_sampling(config) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("temperature", text) for text in ("NaN", "Infinity", "-Infinity", "1e999", "-1", '"hot"', "true")),
        *(("top_p", text) for text in ("0", "0.0", "1.01", "-0.5", "NaN", "true", "[0.9]")),
        *(("top_k", text) for text in ("-5", "2.5", "1e20", "NaN", "false", '"20"', "{}")),
        *(("min_p", text) for text in ("-0.1", "2.0", "NaN", "true")),
        *(("repetition_penalty", text) for text in ("0", "-1.0", "1e-300", "NaN", "Infinity", "true")),
        *(("presence_penalty", text) for text in ("-2.5", "2.5", "NaN", "[]")),
        *(("frequency_penalty", text) for text in ("-3", "9" * 400, "true")),
        *(("do_sample", text) for text in ('"no"', "1", "[]")),
    ],
)
def test_model_sampling_that_no_engine_can_use_is_refused(engine: DiceEngine, name: str, text: str) -> None:
    before = "" if name == "do_sample" else '"do_sample": true, '
    (engine.folder / "generation_config.json").write_text(f'{{{before}"{name}": {text}}}')
    with pytest.raises(EngineError, match=f"`acme/tiny-1b` states sampling .*`{name}` must be ") as caught:
        model_sampling(model_in(engine.folder), engine)
    assert caught.value.reason == "unsupported"
    assert len(str(caught.value)) < 200


class TiredEngine(DiceEngine):
    """Gives 60 answers and no more."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for answered in super().generate(requests):
            if len(self.asked) > 60:
                return
            yield answered


class OrderedEngine(DiceEngine):
    """Works on 16 questions at once, begins them in order, and needs longest for every seventh."""

    begins_in_order = True
    n_calls = 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        self.n_calls += 1
        waiting = iter(range(len(requests)))
        busy = [(self.n_steps(n), n) for n in itertools.islice(waiting, 16)]
        while busy:
            now, place = min(busy)
            busy.remove((now, place))
            self.asked.append(requests[place])
            yield place, self.answer(place, requests[place])
            busy += [(now + self.n_steps(n), n) for n in itertools.islice(waiting, 1)]

    @staticmethod
    def n_steps(place: int) -> int:
        return 40 if place % 7 == 6 else 1 + place % 3


def test_sampling_out_of_time_scores_the_first_of_the_draw_that_all_have_an_answer(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = OrderedEngine(engine.folder)
    tally = walked(settings, ordered, suite(), n_answers=100, has_deadline=True, limit=200).tally
    (score,) = tally.scores
    items = items_of(settings, score)
    order = np.random.default_rng(0).permutation(200)
    n_first = next(n for n, place in enumerate(order) if int(place) not in items)
    assert (ordered.n_calls, len(items), score.n_items) == (1, 100, n_first)
    assert 20 < n_first < 100
    assert score.value == pytest.approx(np.mean([items[int(place)].score for place in order[:n_first]]))
    warned = f"{100 - n_first} answers behind the first missing one are not scored"
    assert any(warned in warning for warning in tally.warnings)


def test_sampling_until_precise_ends_at_the_same_question_however_answers_arrive_and_if_stopped_between(
    settings: Settings, engine: DiceEngine, tmp_path: Path
) -> None:
    whole = walked(settings, engine, suite(), limit=400).tally.scores[0]
    items, order = items_of(settings, whole), np.random.default_rng(0).permutation(400)
    drawn = [items[int(place)].score or 0.0 for place in order]

    def interval(n: int) -> Interval:
        return anytime_interval(drawn[:n], n_total=400, half_width=0.12)

    n_first = next(n for n in range(4, 400) if interval(n).half_width <= 0.12)
    found = []
    for number, stops in enumerate([(None,), (7, 11, None)]):
        fresh = settings.model_copy(update={"home": tmp_path / f"home-{number}"})
        for n_answers in stops:
            ordered = OrderedEngine(engine.folder)
            tally = walked(fresh, ordered, suite(), limit=400, until=0.12, n_answers=n_answers).tally
        (score,) = tally.scores
        found.append((score.value, score.n_items, score.ci_low, score.ci_high))
    assert found[0] == found[1]
    n_items = found[0][1]
    assert n_first <= n_items <= 1.05 * n_first + 1 < 200
    wanted = interval(n_items)
    assert found[0] == pytest.approx((wanted.value, n_items, wanted.low, wanted.high))


def test_sampling_until_precise_never_waits_for_the_last_of_a_block(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = OrderedEngine(engine.folder)
    tally = walked(settings, ordered, suite(), limit=400, until=0.12).tally
    n_stored = len(items_of(settings, tally.scores[0]))
    assert ordered.n_calls == 1
    # answers behind the first missing one are kept, and no more are begun
    assert tally.scores[0].n_items <= n_stored < tally.scores[0].n_items + 64
    assert not [warning for warning in tally.warnings if "not scored" in warning]


class ScoringInOrder(DiceEngine):
    """Scores choices in their order, 16 at once, and needs longest for every seventh."""

    scores_in_order = True
    n_calls = 0

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        self.n_calls += 1
        found = dict(super().log_probs(requests))
        for places in batches(found, 16):
            for place in sorted(places, key=lambda place: place % 7 == 6):
                self.asked.append(GenerationRequest(requests[place].context, max_output_tokens=1))
                yield place, found[place]


def batches(places: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    each = iter(places)
    return iter(lambda: tuple(itertools.islice(each, size)), ())


def test_choices_scored_in_order_are_asked_at_once_and_the_first_of_the_draw_are_scored_if_time_runs_out(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = ScoringInOrder(engine.folder)
    tally = walked(settings, ordered, suite("parity"), n_answers=101, has_deadline=True, limit=100).tally
    score = next(score for score in tally.scores if score.metric == "acc")
    items = items_of(settings, score)
    order = np.random.default_rng(0).permutation(100)
    n_first = next(n for n, place in enumerate(order) if int(place) not in items)
    assert (ordered.n_calls, score.n_items) == (1, n_first)
    assert 20 < n_first <= len(items) < 40


def test_choices_scored_in_order_until_precise_end_at_the_same_question_if_stopped_between(
    settings: Settings, engine: DiceEngine, tmp_path: Path
) -> None:
    found = []
    for number, stops in enumerate([(None,), (9, 31, None)]):
        fresh = settings.model_copy(update={"home": tmp_path / f"home-{number}"})
        for n_answers in stops:
            ordered = ScoringInOrder(engine.folder)
            asked = suite("parity")
            tally = walked(fresh, ordered, asked, n_answers=n_answers, limit=100, until=0.12).tally
        found.append((tally.scores[0].value, tally.scores[0].n_items))
        assert ordered.n_calls == 1
    assert found[0] == found[1]
    assert found[0][1] < 100


@pytest.mark.parametrize("task", ["sums", "pair"])
def test_repeats_cut_off_by_time_have_the_questions_as_clusters(
    settings: Settings, engine: DiceEngine, task: str
) -> None:
    tired = TiredEngine(engine.folder)
    tally = walked(settings, tired, suite(task, repeats=3), has_deadline=True).tally
    parts = [score for score in tally.scores if "#" in score.task]
    answers = [(part, doc, item) for part in parts for doc, item in items_of(settings, part).items()]
    assert len(answers) == 60  # blocks of 4, 8, 16 and 32
    asked = [(part.task.partition("#")[0], doc) for part, doc, _ in answers]
    wanted = mean_interval([item.score or 0.0 for *_, item in answers], clusters=asked)
    total = tally.scores[0]
    assert (total.task, total.n_items, total.repeats) == (task, len(set(asked)), 3)
    assert (total.value, total.ci_low, total.ci_high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def test_repeats_are_named_by_their_own_number_whichever_were_asked(
    settings: Settings, engine: DiceEngine
) -> None:
    firsts = set()
    for seed in range(6):
        walk = walked(
            settings, engine, suite(repeats=3), seed=seed, n_answers=5, has_deadline=True, run_id=f"r{seed}"
        )
        total, *parts = walk.tally.scores
        assert (total.task, total.group) == ("sums", None)
        assert {metric.task for metric in walk.tally.metrics} == {"sums"}
        for part in parts:
            names = {item.task for item in items_of(settings, part).values()}
            assert names == {part.task.removesuffix("#1")}
        firsts.add(parts[0].task if parts else "sums#1")
    assert len(firsts) > 1


def test_repeats_without_the_metric_are_told_and_do_not_end_the_run(
    settings: Settings, engine: DiceEngine
) -> None:
    other = Settings(home=settings.home / "other")
    for part in walked(other, engine, suite(repeats=2)).tally.scores[1:]:
        damaged = [replace(item, metrics={"other,none": 1.0}) for item in items_of(other, part).values()]
        write_part(settings.items_path, "run-0", part.fingerprint, damaged[:3])
    tally = walked(settings, engine, suite(repeats=2)).tally
    assert tally.scores == []
    assert "lack the metric" in "\n".join(tally.warnings)


def test_repeats_of_a_task_without_questions_are_not_called_greedy(
    settings: Settings, engine: DiceEngine
) -> None:
    tally = walked(settings, engine, suite("pair", repeats=2), limit=1).tally
    assert tally.scores[0].task == "pair"
    assert not [warning for warning in tally.warnings if "greedy" in warning]


class MarkedEngine(DiceEngine):
    """Every fourth answer begins with a mark that its text does not show."""

    unknown_marks: ClassVar[Counter[str]] = Counter()

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        if place % 4 == 0:
            self.unknown_marks["<|my_think|>"] += 1
        return super().answer(place, request)


def test_unknown_marks_are_told_once_for_a_group(settings: Settings, engine: DiceEngine) -> None:
    marked = MarkedEngine(engine.folder)
    for run_id, task in (("run-1", "pair"), ("run-2", "sums")):
        before = len(marked.asked)
        tally = walked(settings, marked, suite(task), run_id=run_id).tally
        n_asked = len(marked.asked) - before
        told = [warning for warning in tally.warnings if "<|my_think|>" in warning]
        assert len(told) == 1
        assert f"task `{task}`: {-(-n_asked // 4)} of {n_asked} answers begin with `<|my_think|>`" in told[0]


def test_completed_answers_are_counted_and_scored_apart(settings: Settings, engine: DiceEngine) -> None:
    thinking = ThinkingEngine(engine.folder)
    tally = walked(settings, thinking, suite(sampling="greedy")).tally
    (score,) = tally.scores
    assert (score.value, score.completed_value, score.completed_fraction) == (0.4, 1.0, 0.4)
    shares = (score.empty_fraction, score.only_thinking_fraction, score.cut_thinking_fraction)
    assert shares == pytest.approx((0.3, 0.2, 0.3))
    wanted = mean_interval([1.0] * 16)
    assert (score.completed_ci_low, score.completed_ci_high) == (wanted.low, wanted.high)
    assert score.mean_output_tokens == pytest.approx(0.7 * 3 + 0.3 * 50)
    said = "\n".join(tally.warnings)
    assert "12 of 40 answers are empty; of 8 the text is in the thinking" in said
    assert "12 of 40 answers were cut off while the model was thinking" in said


def test_completed_answers_of_choices_are_not_counted(settings: Settings, engine: DiceEngine) -> None:
    (score,) = walked(settings, engine, suite("parity")).tally.scores
    assert (score.completed_fraction, score.completed_value, score.empty_fraction) == (None, None, None)


def test_answers_in_a_loop_count_as_cut_off_and_are_told(settings: Settings, engine: DiceEngine) -> None:
    looping = LoopingEngine(engine.folder)
    tally = walked(settings, looping, suite(sampling="task")).tally
    (score,) = tally.scores
    assert (score.truncated_fraction, score.completed_fraction, score.empty_fraction) == (0.25, 0.75, 0.0)
    assert tally.warnings == ["task `sums`: 10 of 40 answers were cut off, since they repeated themselves"]
    found = items_of(settings, score)
    assert [found[doc].truncated for doc in range(8)] == [True, False, False, False] * 2


def test_what_changes_an_answer_is_part_of_its_fingerprint(settings: Settings, engine: DiceEngine) -> None:
    plain = EngineSettings(engine=ENGINE)
    options = (
        plain,
        replace(plain, head_dtype="float32"),
        replace(plain, repetition_detection="max_pattern_size=64,min_count=8"),
        replace(plain, repetition_detection="min_count=8,max_pattern_size=64,min_pattern_size=1"),
    )
    tallies = [
        walked(settings, engine, suite(sampling="task"), run_id=f"run-{n}", limit=4, options=one).tally
        for n, one in enumerate(options)
    ]
    keys = [tally.scores[0].fingerprint for tally in tallies]
    assert (len(set(keys)), keys[2]) == (3, keys[3])
    assert [tally.n_reused_items for tally in tallies] == [0, 0, 0, 4]


class SwitchedEngine(DiceEngine):
    """A model that thinks unless its template is told not to."""

    can_stop_thinking = True

    def chat_prompt(
        self,
        messages: Sequence[dict[str, str]],
        *,
        add_generation_prompt: bool = True,
        thinking: bool | None = None,
    ) -> str:
        return ("<think>" if thinking is None else "") + super().chat_prompt(messages)


@pytest.mark.parametrize(
    ("budget", "thinking", "asked_budget", "thinks"),
    [
        (64, None, None, False),
        (64, True, None, True),
        (64, None, 64, True),
        (LEAST_THINKING_TOKENS, None, None, True),
    ],
    ids=["too small", "asked for", "a budget asked for", "large enough"],
)
def test_thinking_is_switched_off_where_the_budget_cannot_hold_it(
    settings: Settings,
    engine: DiceEngine,
    budget: int,
    thinking: bool | None,
    asked_budget: int | None,
    thinks: bool,
) -> None:
    switched = SwitchedEngine(engine.folder)
    asked = suite(sampling="task", chat=True, tasks=(Task("sums", max_output_tokens=budget),))
    request = RunRequest("run-1", asked, max_output_tokens=asked_budget)
    options = EngineSettings(ENGINE, thinking=thinking)
    job = Job(model_in(engine.folder), options, (request,), str(settings.items_path), limit=4)
    tasks = prepare(asked, cache_path=settings.home / "cache")
    found = RunningSuite(switched, job, request, tasks, lambda event: None, lambda: False)
    found.run_tasks()
    assert {request.prompt.startswith("<think>") for request in switched.asked} == {thinks}
    told = [warning for warning in found.tally.warnings if "thinking is switched off" in warning]
    assert len(told) == (not thinks)


THREE = (Task("sums_few_shot"), Task("sums_a", max_output_tokens=64), Task("sums_b", max_output_tokens=32))


class SteadyEngine(OrderedEngine):
    """Needs a little longer for every seventh question."""

    @staticmethod
    def n_steps(place: int) -> int:
        return 6 if place % 7 == 6 else 1 + place % 3


class DyingEngine(SteadyEngine):
    """Dies at its hundredth answer."""

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        if len(self.asked) > 100:
            raise EngineError("no memory left", reason="out_of_memory")
        return super().answer(place, request)


def test_tasks_whose_answers_are_written_are_one_stream_and_score_what_each_scores_alone(
    settings: Settings, engine: DiceEngine, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    ordered, three = OrderedEngine(engine.folder), suite(tasks=THREE, repeats=2)
    together = walked(settings, ordered, three).tally
    alone = walked(other, engine, three).tally
    assert ordered.n_calls == 1
    assert [one.max_output_tokens for one in ordered.asked[-5:]] == [16] * 5
    assert sorted(one.max_output_tokens for one in ordered.asked[:5]) == [64] * 5  # longest budgets first
    assert together.scores == alone.scores
    assert (together.metrics, together.n_items) == (alone.metrics, alone.n_items)
    for one, same in zip(together.scores, alone.scores, strict=True):
        assert items_of(settings, one) == items_of(other, same)
    assert walked(settings, ordered, three, run_id="run-2").tally.n_reused_items == together.n_items
    assert ordered.n_calls == 1


class PickyEngine(OrderedEngine):
    """Cannot write as many as 64 tokens."""

    def answer(self, place: int, request: GenerationRequest) -> Generation:
        if request.max_output_tokens == 64:
            raise EngineError("too many tokens", reason="unsupported")
        return super().answer(place, request)


def test_tasks_of_one_stream_are_asked_alone_if_the_engine_cannot_do_one_of_them(
    settings: Settings, engine: DiceEngine
) -> None:
    picky = PickyEngine(engine.folder)
    tally = walked(settings, picky, suite(tasks=THREE)).tally
    assert [(score.task, score.n_items) for score in tally.scores] == [("sums_few_shot", 40), ("sums_b", 40)]
    assert (tally.unavailable, picky.n_calls) == (["sums_a"], 4)
    assert tally.n_reused_items == 0


def test_tasks_of_one_stream_are_asked_in_their_order_if_time_may_run_out(
    settings: Settings, engine: DiceEngine
) -> None:
    steady = SteadyEngine(engine.folder)
    tally = walked(settings, steady, suite(tasks=THREE), has_deadline=True, n_answers=62).tally
    first, second = tally.scores
    assert (steady.n_calls, first.task, first.n_items, second.task) == (1, "sums_few_shot", 40, "sums_a")
    order, items = np.random.default_rng(0).permutation(40), items_of(settings, second)
    n_first = next(n for n, place in enumerate(order) if int(place) not in items)
    assert 0 < second.n_items == n_first < 22
    assert [one for one in tally.warnings if "not started" in one] == ["task `sums_b` was not started"]


def test_tasks_of_one_stream_that_are_complete_are_scored_if_the_engine_dies(
    settings: Settings, engine: DiceEngine
) -> None:
    dying = DyingEngine(engine.folder)
    request = RunRequest("run-1", suite(tasks=THREE))
    job = Job(
        model_in(engine.folder), EngineSettings(engine=ENGINE), (request,), str(settings.items_path), limit=40
    )
    tasks = prepare(request.suite, cache_path=settings.home / "cache")
    run = RunningSuite(dying, job, request, tasks, lambda event: None, lambda: False)
    with pytest.raises(EngineError, match="no memory left"):
        run.run_tasks()
    assert [(score.task, score.n_items) for score in run.tally.scores] == [("sums_a", 40), ("sums_b", 40)]
    tally = walked(settings, OrderedEngine(engine.folder), request.suite, run_id="run-2").tally
    assert (tally.n_items, tally.n_reused_items) == (120, 100)


def test_a_task_of_a_stream_whose_own_code_fails_leaves_the_others_alone(
    settings: Settings, engine: DiceEngine
) -> None:
    ordered = OrderedEngine(engine.folder)
    tasks = (THREE[0], Task("no_such_field"), *THREE[1:])
    tally = walked(settings, ordered, suite(tasks=tasks)).tally
    assert [score.task for score in tally.scores] == [task.task for task in THREE]
    assert (tally.unavailable, ordered.n_calls) == (["no_such_field"], 1)


def test_tasks_on_an_engine_that_sorts_are_asked_one_after_the_other(
    settings: Settings, engine: DiceEngine
) -> None:
    walked(settings, engine, suite(tasks=THREE))
    assert [one.max_output_tokens for one in engine.asked] == [16] * 40 + [64] * 40 + [32] * 40
