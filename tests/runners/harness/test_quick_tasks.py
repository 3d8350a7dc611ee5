"""The items of `quick`: the same everywhere, right, graded, and without a hint in the choices."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import reasoning_gym
import yaml
from scipy.stats import binomtest

from runners.harness.tasks.quick.draw import Choice, Question, datasets_for, drawn_items, items_hash
from runners.harness.tasks.quick.recipes import COUNTS, N_RELATIONS, RECIPES, RELATIONS
from tests.conftest import ROOT
from tracker.suites import get_suite

SEED = 20261124
WRITTEN = ("arithmetic", "bases", "counting", "sorting", "spelling")
CHOICES = ("cubes", "families", "lookup", "sequences", "sums")
FOLDER = Path(str(get_suite("quick").include_path))

# reasoning-gym 0.1.25; another version may draw other items, and is then another version of the suite
HASHES = {
    "arithmetic": "11e7a4dedfbefe31",
    "spelling": "9fed47e03cc54bac",
    "sorting": "5324c980e96f3c3b",
    "counting": "3add84a6fbcbb93f",
    "bases": "f77d9bb0f078e1c5",
    "sums": "58b53de7e5940e97",
    "sequences": "65b35954bad01f7c",
    "families": "2903d24d2032ba57",
    "lookup": "10a447c5a4adbe59",
    "cubes": "c20dabe54c29a56d",
}


def items_of(name: str, *, n_items: int, seed: int = SEED) -> list[Question | Choice]:
    return drawn_items(RECIPES[name], name=name, seed=seed, n_items=n_items)


def choices_of(name: str, *, n_items: int) -> list[Choice]:
    return [item for item in items_of(name, n_items=n_items) if isinstance(item, Choice)]


def questions_of(name: str, *, n_items: int) -> list[Question]:
    return [item for item in items_of(name, n_items=n_items) if isinstance(item, Question)]


def test_quick_the_tasks_are_those_of_the_suite() -> None:
    assert sorted(RECIPES) == sorted(WRITTEN + CHOICES)
    assert {task.task for task in get_suite("quick").tasks} == {f"quick_{name}" for name in RECIPES}


def test_quick_the_items_are_the_same_on_every_machine_and_in_every_process() -> None:
    code = (
        "import json; from runners.harness.tasks.quick.recipes import RECIPES; "
        "from runners.harness.tasks.quick.draw import drawn_items, items_hash; "
        f"print(json.dumps({{n: items_hash(drawn_items(r, name=n, seed={SEED}, n_items=96)) "
        "for n, r in RECIPES.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert json.loads(done.stdout) == HASHES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_quick_another_seed_draws_other_items(name: str) -> None:
    texts = {item.question for item in items_of(name, n_items=48)}
    others = {item.question for item in items_of(name, n_items=48, seed=SEED + 1)}
    assert len(texts) == 48
    assert len(texts & others) < 24  # one-digit sums and five-bit numbers come again


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_quick_the_first_items_are_of_every_level(name: str) -> None:
    n_levels = len(RECIPES[name].levels)
    assert [item.level for item in items_of(name, n_items=8)] == [1 + i % n_levels for i in range(8)]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_quick_the_worked_examples_are_fixed_and_never_asked(name: str) -> None:
    first = datasets_for(recipe=name, seed=1, n_items=24, n_shots=3)
    second = datasets_for(recipe=name, seed=2, n_items=24, n_shots=3)
    shots = first["shots"]["question"]
    assert list(shots) == list(second["shots"]["question"])
    assert len(first["test"]) == 24
    assert not set(shots) & set(first["test"]["question"])


def test_quick_more_items_than_there_are_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="task `bases`: one level has too few different items"):
        items_of("bases", n_items=400)


# --- right answers, worked out another way


def value(digits: str, base: int) -> int:
    total = 0
    for digit in digits:
        total = total * base + "0123456789abcdef".index(digit)
    return total


def solved(name: str, question: str) -> str:
    """The answer to a written question, without reasoning-gym."""
    text = question.removeprefix("Question: ").split("\nReply")[0]
    if name == "arithmetic":
        return str(eval(text.removesuffix(" = ?")))
    if name == "spelling":
        return "".join(reversed(text.rsplit(" ", 1)[1]))
    if name == "sorting":
        numbers = [int(number) for number in text.split(": ")[1].split(", ")]
        return ", ".join(str(n) for n in sorted(numbers, reverse="largest to" in text))
    if name == "counting":
        letter, words = re.findall(r'"([^"]*)"', text)
        return str(sum(character == letter for character in words.lower()))
    source, digits, target = re.findall(r"base-(\d+) number (\w+) in base (\d+)", text)[0]
    number, out = value(digits, int(source)), ""
    while number:
        number, digit = divmod(number, int(target))
        out = "0123456789abcdef"[digit] + out
    return out


@pytest.mark.parametrize("name", WRITTEN)
def test_quick_a_written_answer_is_right(name: str) -> None:
    for item in questions_of(name, n_items=48):
        assert item.answer == solved(name, item.question), item


@pytest.mark.parametrize("name", ["sums", "sequences"])
def test_quick_a_number_that_is_right_stands_once_among_the_choices(name: str) -> None:
    for item in choices_of(name, n_items=96):
        text = item.question.removesuffix("\nAnswer:")
        right = item.choices[item.gold]
        if name == "sums":
            assert right == str(eval(text.removeprefix("Question: What is ").removesuffix("?")))
        assert len(set(item.choices)) == 4
        assert len({len(choice) for choice in item.choices}) == 1


def next_number(terms: list[int]) -> set[int]:
    """What the simple rules that fit all terms say comes next."""
    rules: list[Callable[[int, int], float]] = []
    found = set()
    a, b, c = terms[:3]
    if b != a:  # x → k x + m
        k = (c - b) / (b - a)
        m = b - k * a
        rules.append(lambda _, x: k * x + m)
    rules.append(lambda w, x: w + x + (c - a - b))  # the sum of the last two, plus a constant
    for rule in rules:
        if all(abs(rule(w, x) - y) < 1e-9 for w, x, y in zip(terms, terms[1:], terms[2:], strict=False)):
            found.add(round(rule(terms[-2], terms[-1])))
    return found


def test_quick_a_sequence_continues_in_one_way_only() -> None:
    for item in choices_of("sequences", n_items=96):
        terms = [int(n) for n in re.findall(r"-?\d+", item.question)]
        assert next_number(terms) == {int(item.choices[item.gold])}, item


def test_quick_a_family_question_has_the_answer_of_the_family_tree() -> None:
    for item in choices_of("families", n_items=96):
        story, asked = item.question.split("\nQuestion: What is ")
        one, two = asked.removesuffix("?\nAnswer:").split(" to ")
        assert item.choices[item.gold] in related(story, one, two), item


def related(story: str, one: str, two: str) -> set[str]:
    """What `one` may be to `two`; both sexes, since a story does not tell them."""
    couples = []
    for part in re.split(r"(?<=\.) (?=\w+ is married)", story):
        names = re.findall(r"[A-Z]\w+", part.replace("They", ""))
        couples.append((set(names[:2]), set(names[2:])))
    parents = {child: couple for couple, children in couples for child in children}

    def up(person: str) -> set[str]:
        return parents.get(person, set())

    def up_twice(person: str) -> set[str]:
        return {grandparent for parent in up(person) for grandparent in up(parent)}

    facts = {
        ("mother", "father"): one in up(two),
        ("daughter", "son"): two in up(one),
        ("wife", "husband"): any({one, two} == couple for couple, _ in couples),
        ("sister", "brother"): bool(up(one)) and up(one) == up(two),
        ("grandmother", "grandfather"): one in up_twice(two),
        ("aunt", "uncle"): bool(up(one) & up_twice(two)) and one not in up(two),
    }
    return {word for words, holds in facts.items() if holds for word in words}


def test_quick_a_lookup_has_one_answer_in_its_text() -> None:
    for item in choices_of("lookup", n_items=96):
        story, asked = item.question.split("\nQuestion: What is said of ")
        name = asked.partition("?")[0]
        assert re.findall(rf"(?:^|\. ){re.escape(name)} ([^.]*)\.", story) == [item.choices[item.gold]]
        assert all(f" {choice}." in story for choice in item.choices)


def test_quick_a_cube_ends_as_an_independent_simulation_says() -> None:
    rings = {
        "front": ("top", "back", "bottom", "front"),
        "back": ("top", "front", "bottom", "back"),
        "right": ("top", "left", "bottom", "right"),
        "left": ("top", "right", "bottom", "left"),
    }
    for item in choices_of("cubes", n_items=96):
        cube = dict(re.findall(r"the (\w+) is (\w+)", item.question))
        for side in re.findall(r"so that the (\w+) side", item.question):
            ring = rings[side]  # each side moves to the next place, the last one to the top
            cube |= dict(zip((*ring[1:], ring[0]), [cube[place] for place in ring], strict=True))
        asked = re.findall(r"What color is the (\w+) now", item.question)[0]
        assert item.choices[item.gold] == cube[asked], item


@pytest.mark.parametrize("name", WRITTEN)
def test_quick_reasoning_gym_agrees_with_the_answers(name: str) -> None:
    for number, level in enumerate(RECIPES[name].levels, start=1):
        dataset = reasoning_gym.create_dataset(level.generator, seed=5, size=50, **level.options)
        for entry in (dataset[i] for i in range(50)):
            if level.is_good(entry):
                assert dataset.score_answer(entry["answer"], entry) == 1.0
                assert dataset.score_answer("1" + entry["answer"], entry) < 1.0, (name, number)


# --- no hint in the choices, no answer that is right more often than others

Guess = Callable[[Choice], int]


def shortest(item: Choice) -> int:
    return min(range(4), key=lambda i: len(item.choices[i]))


def longest(item: Choice) -> int:
    return max(range(4), key=lambda i: len(item.choices[i]))


def most_like_the_others(item: Choice) -> int:
    def likeness(i: int) -> int:
        return sum(len(set(item.choices[i]) & set(other)) for other in item.choices)

    return max(range(4), key=likeness)


def middle(item: Choice) -> int:
    order = sorted(range(4), key=lambda i: (len(item.choices[i]), item.choices[i]))
    return order[1]


def first_in_text(item: Choice) -> int:
    return min(range(4), key=lambda i: item.question.find(f" {item.choices[i]}."))


def last_in_text(item: Choice) -> int:
    return max(range(4), key=lambda i: item.question.find(f" {item.choices[i]}."))


GUESSERS: list[Guess] = [
    *(lambda _item, i=i: i for i in range(4)),  # type: ignore[misc]
    shortest, longest, most_like_the_others, middle,
    lambda item: min(range(4), key=lambda i: item.choices[i]),
    lambda item: max(range(4), key=lambda i: item.choices[i]),
]  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_quick_a_guesser_that_sees_only_the_choices_stays_at_chance(name: str) -> None:
    items = choices_of(name, n_items=210)
    for number, guess in enumerate(GUESSERS):
        n_right = sum(guess(item) == item.gold for item in items)
        assert binomtest(n_right, len(items), 0.25).pvalue > 0.001, f"guesser {number}: {n_right} of 210"


@pytest.mark.parametrize("guess", [first_in_text, last_in_text])
def test_quick_what_is_looked_up_cannot_be_guessed_by_its_place(guess: Guess) -> None:
    items = choices_of("lookup", n_items=900)
    n_right = sum(guess(item) == item.gold for item in items)
    assert binomtest(n_right, len(items), 0.25).pvalue > 0.001


@pytest.mark.parametrize("name", CHOICES)
def test_quick_the_right_choice_stands_in_every_place_about_as_often(name: str) -> None:
    places = Counter(item.gold for item in choices_of(name, n_items=96))
    assert min(places.values()) >= 12
    assert max(places.values()) <= 38


def test_quick_no_count_is_the_answer_more_often_than_another() -> None:
    answers = Counter(item.answer for item in questions_of("counting", n_items=45))
    assert answers == {str(n): 5 for level in COUNTS for n in level}
    chance = next(task.chance for task in get_suite("quick").tasks if task.task == "quick_counting")
    assert chance == pytest.approx(1 / len(answers), abs=1e-4)


def test_quick_no_relation_is_the_answer_more_often_than_another() -> None:
    items = choices_of("families", n_items=90)
    for level, n_relations in enumerate(N_RELATIONS, start=1):
        answers = Counter(item.choices[item.gold] for item in items if item.level == level)
        assert set(answers) == set(RELATIONS[:n_relations])
        assert max(answers.values()) - min(answers.values()) <= 1


def test_quick_no_constant_answer_scores_in_a_written_task_whose_chance_is_zero() -> None:
    for name in ("arithmetic", "bases", "sorting", "spelling"):
        answers = Counter(item.answer for item in questions_of(name, n_items=48))
        assert answers.most_common(1)[0][1] <= 3, name


def test_quick_higher_levels_are_longer_work() -> None:
    for name in ("spelling", "sorting", "bases", "counting", "lookup", "families", "cubes"):
        items = items_of(name, n_items=48)
        lengths = [median(len(i.question) for i in items if i.level == level) for level in (1, 3)]
        assert lengths[0] < lengths[1], name


# --- reading an answer out of what a model says

READINGS = [
    ("arithmetic", "402864", "402864"),
    ("arithmetic", "872 * 462 = 402,864.", "402,864"),
    ("arithmetic", "The answer is **-207**", "-207"),
    ("arithmetic", "I do not know", "[invalid]"),
    ("spelling", "The reversed word is: yroeht.", "yroeht"),
    ("sorting", "Sorted: 4, 10,12", "4, 10,12"),
    ("sorting", "16, 8, 0\n\nDone.", "16, 8, 0"),
    ("bases", "0b100100", "100100"),
    ("bases", "It is 2F", "2F"),
]


@pytest.mark.parametrize(("name", "said", "read"), READINGS)
def test_quick_an_answer_is_read_out_of_a_sentence(name: str, said: str, read: str) -> None:
    from lm_eval.filters import build_filter_ensemble  # noqa: F401
    from lm_eval.filters.extraction import RegexFilter

    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    regex = config["filter_list"][0]["filter"][0]
    found = RegexFilter(regex["regex_pattern"], regex["group_select"]).apply([[said]], [{}])
    assert list(found) == [[read]]


@pytest.mark.parametrize("name", WRITTEN)
def test_quick_a_perfect_model_scores_one_and_a_wrong_one_nothing(name: str) -> None:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata={"n_items": 6})
    task = manager.load([f"quick_{name}"])["tasks"][f"quick_{name}"]
    for doc in task.eval_docs:
        assert task.process_results(doc, [doc["answer"].upper()]) == {"exact_match": 1.0}
        assert task.process_results(doc, ["7" + doc["answer"]]) == {"exact_match": 0.0}


def test_quick_a_seed_given_to_lm_eval_draws_other_items() -> None:
    from lm_eval.tasks import TaskManager

    def questions(metadata: dict[str, int]) -> list[str]:
        manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
        task = manager.load(["quick_sums"])["tasks"]["quick_sums"]
        return [doc["question"] for doc in task.eval_docs]

    assert questions({}) == questions({"seed": SEED})
    assert questions({}) != questions({"seed": 7})


def test_the_smoke_items_are_the_first_of_quick() -> None:
    for path in sorted(Path(str(get_suite("smoke").include_path)).glob("*.yaml")):
        smoke, quick = (yaml.safe_load(p.read_text())["metadata"] for p in (path, FOLDER / path.name))
        assert smoke == quick | {"n_items": 8}


def test_quick_the_hash_of_items_tells_any_change() -> None:
    items = items_of("sums", n_items=4)
    assert items_hash(items) != items_hash(items[:3])
