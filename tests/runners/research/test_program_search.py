"""A search for better instructions: what is accepted, what it costs, and that a kill changes nothing.

Studies are stood in for by a small class that gains what the words of a program say: whole ones take minutes.
"""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runners.research.comparability import PROGRAM
from runners.research.program_search import SearchSeeds, StudyOrder, run_search
from runners.research.program_writer import (
    SIGN_OF_LIFE,
    WRITTEN,
    main,
    read_program,
    without_loops,
    writing_messages,
)
from tests.doubles.openai_double import running_server
from tracker.errors import TrackerError
from tracker.files.programs import PROGRAMS_FORMAT, SearchLedger
from tracker.interpreter import python_command
from tracker.records import EngineSettings, Model, RepetitionLimits
from tracker.records.programs import (
    JudgedVersion,
    ProgramPair,
    ProgramSearch,
    ProgramVerdict,
    ProgramVersion,
    SearchStatus,
    StudyScore,
)
from tracker.records.studies import AgentSpec, StudySecret
from tracker.serialization import load_versioned

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SHIPPED = PROGRAM.read_text()
SECRET = StudySecret("5ec4e7" * 10 + "0007")
BETTER, WORSE, COSTLY = (SHIPPED + word for word in ("\nBETTER\n", "\nWORSE\n", "\nBETTER COSTLY\n"))
EFFECTS = {"BETTER": 0.05, "WORSE": -0.05}
N_TOKENS = 1000


class KilledError(TrackerError):
    """The machine went away."""


@dataclass
class StudiesByWords:
    """Gains by the words of a program, with the noise of the secret; may be killed after some studies."""

    noise: float = 0.01
    dies_after: int = 10**9
    orders: list[StudyOrder] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.orders = []

    def __call__(self, order: StudyOrder) -> StudyScore:
        if len(self.orders) >= self.dies_after:
            raise KilledError("killed")
        self.orders.append(order)
        text = order.program.text
        own = random.Random(f"{order.secret.value}{text}").gauss(0.0, self.noise)  # not shared by a pair
        gain = 0.1 + own + sum(effect for word, effect in EFFECTS.items() if word in text)
        n_tokens = N_TOKENS * (3 if "COSTLY" in text else 1)
        return StudyScore(order.key, gain, n_tokens)


def proposing(texts: Sequence[str]) -> Callable[..., ProgramVersion]:
    def propose(number: int, best: ProgramVersion, judged: Sequence[JudgedVersion]) -> ProgramVersion:
        return ProgramVersion(number, texts[len(judged)], proposer="file")

    return propose


def begun(
    folder: Path, n_versions: int, *, n_placebos: int = 0, held_out: tuple[str, ...] = ()
) -> SearchLedger:
    ledger = SearchLedger(folder)
    search = ProgramSearch(
        program_id="search",
        agent="demo",
        engine=EngineSettings(),
        proposer="file",
        proposer_spec=None,
        tier="smoke",
        held_out=held_out,
        track="params",
        n_trials=3,
        n_versions=n_versions,
        n_placebos=n_placebos,
        n_test=4,
        secret_hash=SECRET.hash,
        started_at=NOW,
    )
    ledger.write_version(ProgramVersion(0, SHIPPED, proposer="shipped"))
    ledger.write_secret(SECRET)
    ledger.write_search(search)
    return ledger


def searched(
    ledger: SearchLedger, texts: Sequence[str], studies: StudiesByWords | None = None
) -> tuple[ProgramSearch, tuple[JudgedVersion, ...]]:
    done = run_search(
        ledger, propose=proposing(texts), run=studies or StudiesByWords(), say=lambda judged: None
    )
    return done, ledger.verdicts()


def test_program_search_a_better_version_is_accepted_confirmed_and_compared_with_the_first(
    tmp_path: Path,
) -> None:
    studies = StudiesByWords()
    done, judged = searched(begun(tmp_path, 2, held_out=("cpu",)), [WORSE, BETTER], studies)
    assert [one.verdict for one in judged] == [ProgramVerdict.REJECTED, ProgramVerdict.ACCEPTED]
    assert [len(one.pairs) for one in judged] == [1, 3]
    assert [pair.tier for pair in judged[1].confirmation] == ["cpu"] * 3
    assert done.result is not None
    assert (done.status, done.result.version, done.result.is_confirmed) == (SearchStatus.COMPLETE, 2, True)
    assert done.result.gain_ci_low < 0.05 < done.result.gain_ci_high
    assert [pair.tier for pair in done.result.pairs] == ["smoke", "cpu", "smoke", "cpu"]


def test_program_search_both_studies_of_a_pair_share_seed_and_secret_and_no_two_pairs_do(
    tmp_path: Path,
) -> None:
    studies = StudiesByWords()
    searched(begun(tmp_path, 2), [BETTER, BETTER + "more"], studies)
    pairs = list(zip(studies.orders[::2], studies.orders[1::2], strict=True))
    assert all((a.seed, a.secret, a.tier) == (b.seed, b.secret, b.tier) for a, b in pairs)
    assert len({a.secret.value for a, _ in pairs}) == len({a.seed for a, _ in pairs}) == len(pairs)
    assert len({order.key for order in studies.orders}) == len(studies.orders)


def test_program_search_without_any_effect_nothing_is_accepted_and_the_gain_is_0(tmp_path: Path) -> None:
    texts = [SHIPPED + f"\n{n}\n" for n in range(3)]
    done, judged = searched(begun(tmp_path, 3), texts, StudiesByWords(noise=0.0))
    assert [(one.verdict, len(one.pairs), one.reason) for one in judged] == [
        (ProgramVerdict.REJECTED, 1, "lost_first_pair")
    ] * 3
    assert done.result is not None
    assert (done.result.version, done.result.gain_bpb, done.result.is_confirmed) == (0, 0.0, False)


def test_program_search_chance_alone_is_seldom_accepted(tmp_path: Path) -> None:
    texts = [SHIPPED + f"\n{n}\n" for n in range(60)]
    _, judged = searched(begun(tmp_path, 60), texts, StudiesByWords(noise=0.03))
    assert sum(one.verdict is ProgramVerdict.ACCEPTED for one in judged) <= 4


def test_program_search_more_tokens_for_the_same_gain_are_no_gain(tmp_path: Path) -> None:
    done, judged = searched(begun(tmp_path, 1), [COSTLY])
    assert judged[0].verdict is ProgramVerdict.REJECTED
    assert done.result is not None
    assert done.result.version == 0


@pytest.mark.parametrize(
    ("child", "gain"),
    [
        (StudyScore("c", 0.1, 2000), -0.05),
        (StudyScore("c", 0.1, 500), 0.1),
        (StudyScore("c", 0.1, 0), 0.0),
        (StudyScore("c", -0.1, 2000), -0.2),
    ],
    ids=["twice the tokens", "half of them", "no tokens", "a loss"],
)
def test_program_pairs_are_compared_at_equal_tokens(child: StudyScore, gain: float) -> None:
    assert ProgramPair("smoke", StudyScore("p", 0.1, 1000), child).gain_bpb == pytest.approx(gain)


def test_program_search_what_is_no_program_or_no_news_costs_no_study(tmp_path: Path) -> None:
    studies = StudiesByWords()
    texts = ["Do your best.", SHIPPED + "\n\n", WORSE, WORSE.replace("\n", "\n\n")]
    _, judged = searched(begun(tmp_path, 4), texts, studies)
    assert [one.verdict.value for one in judged] == ["invalid", "duplicate", "rejected", "duplicate"]
    assert "lacks the placeholder" in (judged[0].version.problem or "")
    assert len(studies.orders) == 2


def test_program_search_a_placebo_has_other_seeds_and_never_becomes_the_best(tmp_path: Path) -> None:
    studies = StudiesByWords(noise=0.05)
    ledger = begun(tmp_path, 1, n_placebos=30)
    done, judged = searched(ledger, [WORSE], studies)
    placebos = [one for one in judged if one.version.is_placebo]
    numbers = SearchSeeds(SECRET).placebo_numbers(1, 30)
    assert {one.version.version for one in placebos} == numbers
    assert {one.version.text for one in placebos} == {SHIPPED}
    assert {len(one.pairs) for one in placebos} > {1}
    assert done.result is not None
    assert done.result.version == 0
    of = {order.key: order for order in studies.orders}
    number = min(numbers)
    assert of[f"gate-{number:03d}-00-parent"].secret != of[f"gate-{number:03d}-00-child"].secret


@pytest.mark.parametrize("dies_after", [1, 2, 3, 7])
def test_program_search_killed_again_and_again_ends_as_one_that_was_left_alone(
    dies_after: int, tmp_path: Path
) -> None:
    texts = [WORSE, BETTER, "no program"]
    whole, judged = searched(begun(tmp_path / "whole", 3, n_placebos=2), texts)
    ledger = begun(tmp_path / "killed", 3, n_placebos=2)
    known: dict[str, StudyScore] = {}
    asked: list[int] = []

    def propose(number: int, best: ProgramVersion, before: Sequence[JudgedVersion]) -> ProgramVersion:
        asked.append(number)
        return proposing(texts)(number, best, before)

    for _ in range(100):
        studies = StudiesByWords(dies_after=dies_after)

        def run(order: StudyOrder, studies: StudiesByWords = studies) -> StudyScore:
            if order.key not in known:  # complete studies are read
                known[order.key] = studies(order)
            return known[order.key]

        try:
            done = run_search(ledger, propose=propose, run=run, say=lambda judged: None)
        except KilledError:
            continue
        break
    assert ledger.verdicts() == judged
    assert replace(done, ended_at=None) == replace(whole, ended_at=None)
    assert len(asked) == len(set(asked)) == 3


# --- the model that writes versions ----------------------------------------------------------------------


def test_program_writer_is_shown_the_best_version_and_what_became_of_the_others() -> None:
    best = ProgramVersion(2, BETTER, "be bold", "demo")
    pair = ProgramPair("smoke", StudyScore("p", 0.1, 10), StudyScore("c", 0.15, 10))
    judged = [
        JudgedVersion(ProgramVersion(1, "x", "be brief", problem="lacks it"), 0, ProgramVerdict.INVALID),
        JudgedVersion(best, 0, ProgramVerdict.ACCEPTED, (pair,)),
    ]
    system, question = writing_messages(3, best, judged, track="params", n_trials=7)
    assert "cheating" in system["content"]
    assert "version 1: lacks it: not tried; invalid" in question["content"]
    assert "version 2: be bold: +0.0500; kept" in question["content"]
    assert BETTER.strip() in question["content"]
    assert "$max_cost" in question["content"]


@pytest.mark.parametrize(
    "answer",
    [
        f"Be bold.\n~~~~\n{BETTER.strip()}\n~~~~\n",
        f"Be bold.\n```markdown\n{BETTER.strip()}\n```\nDone.",
        f"<think>Or:\n~~~~\nnothing\n~~~~\n</think>Be bold.\n~~~~\n{BETTER.strip()}\n~~~~",
        f"Be bold.\n\n  ~~~~\n{BETTER.strip()}\n  ~~~~",
        f"Be bold.\n~~~~\n{BETTER.strip()}",
    ],
    ids=["as asked for", "another fence", "after thinking", "indented", "not closed"],
)
def test_program_writer_the_version_in_an_answer_is_read(answer: str) -> None:
    assert read_program(answer, 3, proposer="demo") == ProgramVersion(
        3, BETTER.strip() + "\n", "Be bold.", "demo"
    )


def test_program_writer_an_answer_with_all_placeholders_and_no_fence_is_the_version() -> None:
    assert read_program(BETTER, 3, proposer="demo") == ProgramVersion(3, BETTER.strip() + "\n", "", "demo")


@pytest.mark.parametrize("answer", ["I would be bold.", "<think>~~~~\nx\n~~~~", "~~~~\n~~~~", "~~~~\n \n"])
def test_program_writer_an_answer_without_a_version_is_an_invalid_one_and_is_kept(answer: str) -> None:
    found = read_program(answer, 3, proposer="demo")
    assert found.problem == "the answer has no instructions between two lines of ~~~~"
    assert (found.text, found.reply) == ("", answer)


@pytest.mark.parametrize("is_mended", [True, False])
def test_program_writer_asks_once_more_what_was_wrong(tmp_path: Path, is_mended: bool) -> None:
    ledger = begun(tmp_path, 2)
    again = f"~~~~\n{BETTER.strip()}\n~~~~" if is_mended else "~~~~\nBe brief.\n~~~~"

    def reply(prompt: str) -> str:
        return again if "That cannot be used" in prompt else "I would be bold."

    with running_server(reply=reply) as server:
        with_proposer(ledger, server.url)
        assert main(["", str(tmp_path)]) == 0
        _, _, first, repair = server.requests[-1]["messages"]
    assert first == {"role": "assistant", "content": "I would be bold."}
    assert repair["content"].startswith("That cannot be used: the answer has no instructions between")
    version = written(tmp_path)
    assert version.text == (BETTER.strip() + "\n" if is_mended else "Be brief.\n")
    assert version.problem is None  # whether it is a program is for the search to say


def written(folder: Path) -> ProgramVersion:
    return load_versioned(ProgramVersion, (folder / WRITTEN).read_bytes(), PROGRAMS_FORMAT, where="written")


def test_program_writer_ends_loops_where_the_engine_can() -> None:
    plain = EngineSettings(engine="transformers")
    asked = without_loops(plain).repetition_detection
    assert asked is not None
    assert RepetitionLimits.parse(asked).are_reached([1, 2, 3] * 300)
    assert not RepetitionLimits.parse(asked).are_reached(list(range(900)))
    own = replace(plain, repetition_detection="max_pattern_size=8,min_count=9")
    for kept in (own, replace(plain, engine="llamacpp")):
        assert without_loops(kept) == kept


def test_program_writer_asks_the_model_of_the_search(tmp_path: Path) -> None:
    ledger = begun(tmp_path, 2)
    searched_first = JudgedVersion(ProgramVersion(1, WORSE, "be brief"), 0, ProgramVerdict.REJECTED)
    ledger.write_verdict(searched_first)
    with running_server(reply=lambda prompt: f"Be bold.\n~~~~\n{BETTER.strip()}\n~~~~") as server:
        with_proposer(ledger, server.url)
        assert main(["", str(tmp_path)]) == 0
        asked = server.requests[-1]
    version = written(tmp_path)
    assert (version.version, version.text.strip(), version.problem) == (2, BETTER.strip(), None)
    assert version.prompt_tokens > 0
    assert "version 1: be brief: not tried; rejected" in asked["messages"][1]["content"]


@pytest.mark.studies
def test_program_writer_shows_that_it_lives_while_the_model_writes(tmp_path: Path) -> None:
    """Whoever is silent for two minutes is ended, and small models take longer on a CPU."""
    ledger, heard = begun(tmp_path, 2), threading.Event()

    def reply(prompt: str) -> str:
        assert heard.wait(60)
        return f"Be bold.\n~~~~\n{BETTER.strip()}\n~~~~"

    with running_server(reply=reply) as server:
        with_proposer(ledger, server.url)
        argv = python_command("-m", "runners.research.program_writer", str(tmp_path))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=tmp_path) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == SIGN_OF_LIFE
            heard.set()
            assert writer.wait(60) == 0
    assert (tmp_path / WRITTEN).is_file()


def with_proposer(ledger: SearchLedger, url: str) -> None:
    """Let a served model write the versions."""
    settings = EngineSettings(engine="server", base_url=url, concurrency=1)
    spec = AgentSpec("model", "acme/bigram", Model("acme/bigram", "server"), settings)
    ledger.write_search(replace(ledger.read_search(), proposer_spec=spec))
