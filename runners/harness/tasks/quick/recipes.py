"""The recipes of the `quick` tasks from reasoning-gym's entries: levels, wording, choices.

Written answers are unique and can be checked by comparing text. Choices give no hint: given only the choices,
each is equally likely to be correct, so that guessing by position, length or size stays at chance. Entries of
reasoning-gym 0.1.25 with an ambiguous or wrong answer are skipped; comments say which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from reasoning_gym.data import read_data_file

from runners.harness.tasks.quick.draw import Choice, Entry, Level, Question, Recipe

N_CHOICES = 4
GAPS = (1, 2, 9, 10, 11)  # between numeric choices: typical errors of counting and of carrying

# reasoning-gym's correct relations; its nieces, nephews and in-laws belong to the wrong person.
RELATIONS = (
    "mother", "father", "daughter", "son", "wife", "husband",
    "sister", "brother", "grandmother", "grandfather", "aunt", "uncle",
)  # fmt: skip
N_RELATIONS = (10, 10, 12)  # number of them at each level: aunts and uncles need a large family
COUNTS = ((1, 2, 3), (4, 5, 6), (7, 8, 9))  # answers at each level, in turn, so that all are equally frequent
SMALL_BASES, LARGE_BASES = range(3, 10), range(11, 17)


def _arithmetic(entry: Entry, level: int, _place: int, _chance: Random) -> Question:
    expression = entry["metadata"]["expression"]
    return Question(f"Question: {expression} = ?\nReply with the number only.", entry["answer"], level)


def _spelling(entry: Entry, level: int, _place: int, _chance: Random) -> Question:
    word = entry["metadata"]["word"].lower()
    return Question(
        f"Question: Spell this word backward: {word}\nReply with the reversed word only.", word[::-1], level
    )


def _sorting(entry: Entry, level: int, _place: int, _chance: Random) -> Question | None:
    numbers = [int(float(text)) for text in entry["metadata"]["original_numbers"]]
    if len(set(numbers)) < len(numbers):
        return None
    is_descending = entry["metadata"]["direction"] == "descending"
    order = "largest to smallest" if is_descending else "smallest to largest"
    question = f"Question: Sort these numbers from {order}: {', '.join(map(str, numbers))}"
    answer = ", ".join(map(str, sorted(numbers, reverse=is_descending)))
    return Question(f"{question}\nReply with the sorted numbers only, separated by commas.", answer, level)


def _counting(entry: Entry, level: int, place: int, _chance: Random) -> Question | None:
    wanted = COUNTS[level - 1]
    if entry["answer"] != str(wanted[place % len(wanted)]):
        return None
    return Question(f"Question: {entry['question']}\nReply with the number only.", entry["answer"], level)


def _bases(entry: Entry, level: int, _place: int, _chance: Random) -> Question:
    facts = entry["metadata"]
    source, target = facts["source_base"], facts["target_base"]
    question = f"Question: Write the base-{source} number {facts['source_repr']} in base {target}."
    digits = " Digits above 9 are the letters a to f." if max(source, target) > 10 else ""
    return Question(f"{question}{digits}\nReply with the number only.", entry["answer"], level)


def _sums(entry: Entry, level: int, _place: int, chance: Random) -> Choice | None:
    question = f"Question: What is {entry['metadata']['expression']}?\nAnswer:"
    return _number_choice(question, int(entry["answer"]), level=level, chance=chance)


def _sequences(entry: Entry, level: int, _place: int, chance: Random) -> Choice | None:
    *shown, answer = entry["metadata"]["sequence"]
    question = f"Question: Which number comes next? {', '.join(map(str, shown))}\nAnswer:"
    return _number_choice(question, answer, level=level, chance=chance)


def _number_choice(question: str, answer: int, *, level: int, chance: Random) -> Choice | None:
    """Four numbers with equally many digits; the rank by size of the correct one is random."""
    gaps = [chance.choice(GAPS) for _ in range(N_CHOICES - 1)]
    offsets = [sum(gaps[:i]) for i in range(N_CHOICES)]
    start = answer - chance.choice(offsets)
    numbers = [start + offset for offset in offsets]
    if numbers[0] < 10 or len(str(numbers[0])) != len(str(numbers[-1])):
        return None
    return _shuffled(question, [str(n) for n in numbers], str(answer), level=level, chance=chance)


def _families(entry: Entry, level: int, place: int, chance: Random) -> Choice | None:
    relations = RELATIONS[: N_RELATIONS[level - 1]]
    wanted = relations[place % len(relations)]
    if entry["answer"] != wanted:
        return None
    facts = entry["metadata"]
    story = entry["question"].split("\n\n")[0]
    question = f"{story}\nQuestion: What is {facts['person1']} to {facts['person2']}?\nAnswer:"
    others = chance.sample([r for r in relations if r != wanted], N_CHOICES - 1)
    return _shuffled(question, [wanted, *others], wanted, level=level, chance=chance)


def _lookup(entry: Entry, level: int, _place: int, chance: Random) -> Choice | None:
    story, _, _ = entry["question"].partition(" \n")
    said = [sentence.removesuffix(".").split(" ", 1) for sentence in story.split(". ")]
    names, statements = [name for name, _ in said], [statement for _, statement in said]
    if len(set(names)) < len(names) or len(set(statements)) < len(statements):
        return None  # one name may have two attributes, and two names the same one
    name = entry["answer"]
    right = statements.pop(names.index(name))
    question = f"{story}\nQuestion: What is said of {name}?\nAnswer: {name}"
    return _shuffled(
        question, [right, *chance.sample(statements, N_CHOICES - 1)], right, level=level, chance=chance
    )


def _cubes(entry: Entry, level: int, _place: int, chance: Random) -> Choice:
    facts = entry["metadata"]
    sides = ", ".join(f"the {side} is {color}" for side, color in facts["initial_state"].items())
    turns = " ".join(f"It is tipped so that the {side} side comes to the top." for side in facts["rotations"])
    question = f"A cube: {sides}. {turns}\nQuestion: What color is the {facts['target_side']} now?\nAnswer:"
    colors = [color for color in facts["initial_state"].values() if color != entry["answer"]]
    choices = [entry["answer"], *chance.sample(colors, N_CHOICES - 1)]
    return _shuffled(question, choices, entry["answer"], level=level, chance=chance)


def _shuffled(question: str, choices: Sequence[str], answer: str, *, level: int, chance: Random) -> Choice:
    mixed = chance.sample(list(choices), len(choices))
    return Choice(question, tuple(mixed), mixed.index(answer), level)


def _chain(n_terms: int, n_digits: int) -> Level:
    options = {"min_terms": n_terms, "max_terms": n_terms, "min_digits": n_digits, "max_digits": n_digits}
    return Level("chain_sum", options)


def _product(n_digits: int) -> Level:
    return Level("products", {"min_digits": n_digits, "max_digits": n_digits})


def _words(shortest: int, longest: int) -> Level:
    # words from a novel: the package's own list has rare and rude ones
    common = set(re.findall("[a-z]+", read_data_file("in_the_year_2889.txt")))

    def is_good(entry: Entry) -> bool:
        word = entry["metadata"]["word"]
        return word in common and word != word[::-1]

    return Level("spell_backward", {"min_word_len": shortest, "max_word_len": longest}, is_good)


def _numbers(n_numbers: int, largest: int) -> Level:
    options = {"min_numbers": n_numbers, "max_numbers": n_numbers, "min_decimals": 0, "max_decimals": 0}
    return Level("number_sorting", options | {"min_value": -largest // 10, "max_value": largest})


def _text(fewest: int, most: int) -> Level:
    return Level("letter_counting", {"min_words": fewest, "max_words": most})


def _conversion(sources: Sequence[int], targets: Sequence[int], *, smallest: int, largest: int) -> Level:
    def is_good(entry: Entry) -> bool:
        facts = entry["metadata"]
        return facts["source_base"] in sources and facts["target_base"] in targets

    options = {"min_base": 2, "max_base": 16, "min_value": smallest, "max_value": largest}
    return Level("base_conversion", options, is_good)


def _sequence(max_complexity: int, rules: Sequence[str]) -> Level:
    def is_good(entry: Entry) -> bool:
        return entry["metadata"]["rule"].rstrip("-0123456789") in rules

    options = {"max_complexity": max_complexity, "min_terms": 5, "max_terms": 6}
    return Level("number_sequence", options, is_good)


def _family(size: int) -> Level:
    return Level("family_relationships", {"min_family_size": size, "max_family_size": size})


def _statements(n_statements: int) -> Level:
    options = {"min_num_statements": n_statements, "max_num_statements": n_statements}
    return Level("needle_haystack", options)


def _turns(n_turns: int) -> Level:
    def is_good(entry: Entry) -> bool:
        # a half turn may go over the front or over the side, with different results
        return "bottom" not in entry["metadata"]["rotations"]

    return Level("color_cube_rotation", {"min_rotations": n_turns, "max_rotations": n_turns}, is_good)


RECIPES = {
    "arithmetic": Recipe((_chain(2, 1), _chain(2, 2), _chain(4, 3), _product(3)), _arithmetic),
    "spelling": Recipe((_words(3, 3), _words(5, 6), _words(9, 10)), _spelling),
    "sorting": Recipe((_numbers(3, 20), _numbers(5, 100), _numbers(9, 1000)), _sorting),
    "counting": Recipe((_text(1, 5), _text(6, 12), _text(12, 24)), _counting),
    "bases": Recipe(
        (
            _conversion((10,), (2,), smallest=2, largest=63),
            _conversion((16,), (10,), smallest=16, largest=255),
            _conversion(SMALL_BASES, LARGE_BASES, smallest=200, largest=2000),
        ),
        _bases,
    ),
    "sums": Recipe((_chain(2, 2), _chain(3, 2), _chain(4, 3), _product(3)), _sums),
    "sequences": Recipe(
        (
            _sequence(1, ("add ",)),
            _sequence(1, ("multiply by ", "double", "add previous")),
            _sequence(3, ("double then add ", "multiply by 2 then add ", "add previous then add ")),
        ),
        _sequences,
    ),
    "families": Recipe((_family(6), _family(8), _family(11)), _families),
    "lookup": Recipe((_statements(4), _statements(8), _statements(16)), _lookup),
    "cubes": Recipe((_turns(1), _turns(2), _turns(4)), _cubes),
}
