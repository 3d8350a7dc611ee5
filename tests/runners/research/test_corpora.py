"""What is trained on: equal on every machine, in disjoint splits, and never mixed up with another text."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stamina
from huggingface_hub import constants
from numpy.typing import NDArray

from runners.research.corpora import offline_texts
from runners.research.corpora.build import (
    BLOCK,
    CORPORA,
    DOCSTRINGS_HASH,
    GRAMMAR_HASH,
    HELD_OUT,
    TRAIN,
    Corpus,
    Docstrings,
    Grammar,
    corpus,
    prepared,
    training_corpus,
)
from runners.research.corpora.documents import Documents
from runners.research.corpora.hub_datasets import HubDocuments, HubText, Tokenizer
from runners.research.problem.tiers import TIERS
from tests.doubles.hub_double import Hub, running_hub
from tracker.errors import TrackerError, UnknownNameError, UnreachableError

SMALL = Grammar("grammar", n_symbols=100_000, seed=1)
LOCAL = ("grammar", "docstrings")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def content(of: Corpus) -> dict[str, bytes]:
    return {split: of.path(split).read_bytes() for split in (TRAIN, *HELD_OUT)}


def test_corpora_generated_text_is_the_same_on_every_machine(shared_home: Path) -> None:
    assert corpus("grammar", shared_home).hash == GRAMMAR_HASH


def test_corpora_docstrings_of_the_pinned_versions_are_the_same_on_every_machine(shared_home: Path) -> None:
    installed = {name: importlib.metadata.version(name) for name in ("numpy", "scipy")}
    if installed != {"numpy": "2.3.5", "scipy": "1.17.1"}:
        pytest.skip(f"other versions are installed: {installed}")
    made = corpus("docstrings", shared_home)
    assert (made.hash, made.note) == (DOCSTRINGS_HASH, "")


@pytest.mark.parametrize("name", LOCAL)
def test_corpora_no_block_of_text_stands_in_two_splits(name: str, shared_home: Path) -> None:
    blocks = [
        {bytes(block) for block in np.array(corpus(name, shared_home).tokens(split)).reshape(-1, BLOCK)}
        for split in (TRAIN, *HELD_OUT)
    ]
    assert len(set.union(*blocks)) == sum(len(each) for each in blocks)


@pytest.mark.parametrize("name", LOCAL)
def test_corpora_every_tier_finds_enough_text(name: str, shared_home: Path) -> None:
    made = corpus(name, shared_home)
    for tier in (tier for tier in TIERS.values() if tier.corpus == name):
        assert made.meta.n_tokens["train"] > tier.train_tokens  # no sequence is seen twice
        assert all(made.meta.n_tokens[split] > tier.eval_tokens for split in HELD_OUT)


def test_corpora_the_training_text_lies_in_a_folder_of_its_own(shared_home: Path) -> None:
    made = corpus("grammar", shared_home)
    assert [path.name for path in made.path(TRAIN).parent.iterdir()] == ["train.bin"]


def test_corpora_one_symbol_is_one_byte(shared_home: Path) -> None:
    made = corpus("grammar", shared_home)
    assert made.byte_lengths().tolist() == [1] * len(offline_texts.ALPHABET)
    assert max(max(part) for part in content(made).values()) < made.meta.vocab_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The *Fast* Fourier\n\n\n  Transform", "the -fast- fourier\n\ntransform"),
        ("x[i] = {1.25e-10}; y?!", "x(i) - (0.0e-0), y."),
        ("naïve – café", "na ve caf"),
        ("Notes\n-----\nText\tand  blanks", "notes\n-\ntext and blanks"),
    ],
    ids=["case and blank lines", "signs and digits", "other letters", "rulers"],
)
def test_corpora_text_is_folded_to_the_small_alphabet(text: str, expected: str) -> None:
    assert offline_texts.folded(text) == expected


def test_corpora_no_model_can_read_the_generated_text_below_its_entropy() -> None:
    generated = offline_texts.generated_text(50_000, seed=3)
    assert abs(generated.entropy_bpb - 0.7) <= 0.005
    assert set(generated.text) <= set(offline_texts.ALPHABET)


def words(of: Corpus) -> set[str]:
    """All words of a text; a corpus cuts it into blocks, so those at their edges are left out."""
    text = "".join(offline_texts.ALPHABET[symbol] for symbol in np.array(of.tokens(TRAIN))[:BLOCK])
    return set(re.split(r"[ .,\n]+", text)[1:-1])


def test_each_training_has_a_language_of_its_own_that_follows_from_its_seed(shared_home: Path) -> None:
    made = corpus("grammar", shared_home)
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")}
    found = [words(made), *(words(training_corpus(made, seed)) for seed in range(8))]
    for one, other in itertools.combinations(found, 2):
        assert len(one & other) < 0.05 * len(one)
    one, again = training_corpus(made, 3), training_corpus(training_corpus(made, 5), 3)
    for split in (TRAIN, *HELD_OUT):
        np.testing.assert_array_equal(one.tokens(split), again.tokens(split))
        assert len(one.tokens(split)) == made.meta.n_tokens[split]
    assert one.hash == made.hash
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")} == before


def test_the_languages_of_trainings_cannot_be_foretold_without_held_out_text(tmp_path: Path) -> None:
    one, other = (prepared(SMALL.keyed(secret * 64), tmp_path) for secret in "ab")
    assert len(words(training_corpus(one, 7)) & words(training_corpus(other, 7))) < 5


def test_other_texts_are_the_same_for_all_trainings(shared_home: Path) -> None:
    made = corpus("docstrings", shared_home)
    assert training_corpus(made, 1) is made


def test_a_prepared_corpus_is_taken_as_it_is(tmp_path: Path) -> None:
    first = prepared(SMALL, tmp_path)
    changed_at = first.path(TRAIN).stat().st_mtime_ns
    assert prepared(SMALL, tmp_path) == first
    assert first.path(TRAIN).stat().st_mtime_ns == changed_at


def test_corpora_the_pinned_text_is_kept_when_other_versions_are_installed(tmp_path: Path) -> None:
    first = prepared(Docstrings("words", ("optuna",)), tmp_path)
    pinned = Docstrings("words", ("a_package_that_is_gone",), pinned_hash=first.hash)
    assert prepared(pinned, tmp_path) == first


def test_corpora_text_of_other_versions_has_a_hash_of_its_own_and_says_so(tmp_path: Path) -> None:
    made = prepared(dataclasses.replace(SMALL, pinned_hash="0" * 64), tmp_path)
    assert made.hash != "0" * 64
    assert made.note.startswith(
        "the corpus `grammar` is made of n_symbols 100000 and languages one for each "
    )


def test_corpora_a_text_without_a_pinned_hash_is_compared_with_the_first_download(tmp_path: Path) -> None:
    first = prepared(dataclasses.replace(SMALL, pinned_hash=None), tmp_path)
    assert prepared(dataclasses.replace(SMALL, pinned_hash=None), tmp_path).hash == first.hash
    shutil.rmtree(first.folder)
    other = OtherText(**{f.name: getattr(SMALL, f.name) for f in dataclasses.fields(SMALL)})
    for _ in range(2):  # also once it lies there
        with pytest.raises(TrackerError, match="is not the text that was first downloaded") as caught:
            prepared(dataclasses.replace(other, pinned_hash=None), tmp_path)
        assert "first_downloads.json" in caught.value.hint


class OtherText(Grammar):
    """What a mirror may serve under the same name and commit."""

    def chunks(self) -> Iterator[tuple[str, NDArray[np.integer]]]:
        """The text of another seed."""
        return dataclasses.replace(SMALL, seed=2).chunks()


def test_corpora_two_texts_lie_beside_each_other(tmp_path: Path) -> None:
    one = prepared(SMALL, tmp_path)
    other = prepared(dataclasses.replace(SMALL, seed=2), tmp_path)
    assert one.folder != other.folder
    assert one.folder.is_dir()


def test_corpora_files_that_were_changed_are_refused(tmp_path: Path) -> None:
    made = prepared(SMALL, tmp_path)
    damaged = bytearray(made.path("test").read_bytes())
    damaged[100] ^= 1
    made.path("test").write_bytes(damaged)
    with pytest.raises(TrackerError, match="have changed since they were written") as caught:
        prepared(SMALL, tmp_path)
    assert "delete that folder" in caught.value.hint


def test_a_kill_in_the_middle_leaves_no_corpus(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    class Breaking(Grammar):
        def chunks(self) -> Iterator[tuple[str, np.ndarray]]:
            yield next(iter(super().chunks()))
            raise KilledError

    with pytest.raises(KilledError):
        prepared(Breaking("grammar", n_symbols=20_000, seed=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".grammar.lock"]


def test_corpora_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="`nowhere_to_be_found`, which is not installed") as caught:
        prepared(Docstrings("words", ("nowhere_to_be_found",)), tmp_path)
    assert caught.value.hint == "pip install -c constraints.txt nowhere_to_be_found"


def test_corpora_a_typing_error_is_answered_with_the_near_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        corpus("docstring", tmp_path)
    assert "`docstrings`" in caught.value.hint


# --- a data set on the Hub ----------------------------------------------------------------------------------

DOCUMENTS = [f"Story {i}: the naïve fox 🦊 said “hello” to {i % 7} friends – again." for i in range(3000)]


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the library talks to, with an empty cache, a data set and a byte-level tokenizer."""
    from tokenizers import Tokenizer as Trained
    from tokenizers import decoders, models, pre_tokenizers, trainers

    data, words = home.parent / "data", home.parent / "words"
    data.mkdir()
    words.mkdir()
    pq.write_table(pa.table({"text": DOCUMENTS}), data / "train.parquet")
    tokenizer = Trained(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(DOCUMENTS[:500], trainer)
    tokenizer.save(str(words / "tokenizer.json"))
    with running_hub() as running, stamina.set_testing(True, attempts=2):
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home.parent / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        running.serve("acme/stories", data)
        running.serve("acme/words", words)
        yield running
        huggingface_hub.close_session()


def as_bytes(hub: Hub, **changes: object) -> HubText:
    revision = hub.infos["acme/stories"]["sha"]
    made = HubText("stories", "acme/stories", revision, ("train.parquet",), train_tokens=100_000)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def as_tokens(hub: Hub) -> HubText:
    tokenizer = Tokenizer("acme/words", hub.infos["acme/words"]["sha"])
    return as_bytes(hub, train_tokens=20_000, vocab_size=448, token_bytes=2, tokenizer=tokenizer)


def test_corpora_documents_of_the_hub_become_bytes_and_each_stands_in_one_split(
    hub: Hub, tmp_path: Path
) -> None:
    made = prepared(as_bytes(hub), tmp_path)
    found = {split: part.decode().split("\0")[1:] for split, part in content(made).items()}
    assert len(set().union(*found.values())) == sum(len(each) for each in found.values())
    assert set().union(*found.values()) <= set(DOCUMENTS)
    assert made.meta.n_tokens["train"] >= 100_000
    assert all(found.values())


def test_corpora_rows_of_the_hub_are_documents_and_equal_ones_are_one(hub: Hub) -> None:
    revision = hub.infos["acme/stories"]["sha"]
    reader = HubDocuments("acme/stories", revision, "train.parquet", n_documents=2000)
    assert [text for _, text in reader.documents()] == DOCUMENTS[:2000]
    assert len(dict(reader.documents())) == 2000
    assert reader.made_of() == {"acme/stories": revision, "n_documents": "2000"}


def test_corpora_documents_that_are_all_alike_are_refused(hub: Hub, tmp_path: Path) -> None:
    reader = HubDocuments("acme/stories", hub.infos["acme/stories"]["sha"], "train.parquet", 2000)
    with pytest.raises(TrackerError, match="repeats itself: each document of `val` stands in `train`"):
        prepared(Documents("alike", reader, 60_000, 20_000, vocab_size=300), tmp_path)


def test_corpora_the_bytes_behind_tokens_are_counted_from_their_raw_bytes(hub: Hub, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Loaded

    made = prepared(as_tokens(hub), tmp_path)
    tokenizer = Loaded.from_file(str(hub.folders["acme/words"] / "tokenizer.json"))
    lengths, tokens = made.byte_lengths(), np.array(made.tokens("val"))
    unused = range(tokenizer.get_vocab_size(), 448)
    assert np.flatnonzero(lengths == 0).tolist() == [tokenizer.token_to_id("<|endoftext|>"), *unused]
    documents = np.split(tokens, np.flatnonzero(lengths[tokens] == 0))[1:]
    assert len(documents) > 5
    for document in documents:
        text = tokenizer.decode(document[1:].tolist())
        assert text in DOCUMENTS
        assert lengths[document].sum() == len(text.encode())


def test_corpora_without_the_hub_a_missing_data_set_is_named_and_a_cached_one_is_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match=r"`train\.parquet` of the dataset `acme/stories`") as caught:
        prepared(as_bytes(hub), tmp_path / "a")
    assert caught.value.exit_code == 4
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = prepared(as_bytes(hub), tmp_path / "a")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert prepared(as_bytes(hub), tmp_path / "b").hash == online.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"column": "story"}, "has no readable column `story`"),
        ({"train_tokens": 10_000_000}, "holds too little text"),
    ],
)
def test_corpora_a_data_set_that_is_not_as_expected_is_reported(
    changes: dict[str, object], message: str, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(TrackerError, match=message):
        prepared(as_bytes(hub, **changes), tmp_path)


def test_corpora_the_data_sets_of_the_gpu_tiers_are_pinned_to_a_commit() -> None:
    sources = [CORPORA[tier.corpus] for tier in TIERS.values() if tier.device == "cuda"]
    for source in sources:
        assert isinstance(source, HubText)
        assert all(len(revision) == 40 for name, revision in source.made_of().items() if "/" in name)
