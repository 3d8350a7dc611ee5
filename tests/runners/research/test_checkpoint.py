"""What a checkpoint holds, as our side counts it, whatever its pickle says."""

from __future__ import annotations

import contextlib
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from runners.research.evaluation.checkpoint import (
    MAX_COUNTED,
    StoredCheckpoint,
    StoredWeight,
    read_checkpoint,
    rewritten,
)
from tests.doubles.hostile_pickles import WRITES, Touching

STATE = {"a": torch.ones(10, 10), "b": torch.zeros(7)}


def saved(path: Path, state: object, **more: object) -> StoredCheckpoint:
    torch.save({"config": {"params": {}}, "state": state, **more}, path)
    return read_checkpoint(path)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (STATE, 107),
        ({"a": torch.ones(100, dtype=torch.bfloat16)}, 100),
        ({"a": torch.ones(100, dtype=torch.float64)}, 200),
        ({"a": torch.ones(100, dtype=torch.int8)}, 100),
        ({"a": torch.ones(100, dtype=torch.uint8)}, 100),
        ({"a": torch.ones(100, dtype=torch.complex64)}, 200),
        ({"a": torch.ones(100).to(torch.float8_e4m3fn)}, 100),
        ({"a": STATE["a"], "tied": STATE["a"]}, 100),
        ({"a": torch.ones(1000)[:3]}, 1000),
        ({"a": torch.nn.Parameter(torch.ones(5))}, 5),
        ({}, 0),
    ],
    ids=[
        "float32",
        "bfloat16",
        "float64",
        "int8",
        "uint8",
        "complex",
        "float8",
        "tied",
        "a view",
        "param",
        "none",
    ],
)
def test_checkpoint_counts_every_number_once(
    state: dict[str, torch.Tensor], expected: int, tmp_path: Path
) -> None:
    assert saved(tmp_path / "c.pt", state).n_params == expected


@pytest.mark.parametrize(
    "more",
    [{"note": "x" * 400_000}, {"table": list(range(100_000))}, {"n": 7**200_000}],
    ids=["text", "a list", "one large number"],
)
def test_checkpoint_what_stands_beside_the_weights_counts_too(
    more: dict[str, object], tmp_path: Path
) -> None:
    assert saved(tmp_path / "c.pt", STATE, **more).n_params > 10_000


def test_checkpoint_other_files_and_bytes_in_the_archive_count(tmp_path: Path) -> None:
    usual = saved(tmp_path / "c.pt", STATE).n_params
    with zipfile.ZipFile(tmp_path / "c.pt", "a") as archive:
        archive.writestr("c/extra", bytes(100_000))
    assert read_checkpoint(tmp_path / "c.pt").n_params > usual + 20_000
    saved(tmp_path / "d.pt", STATE)
    content = (tmp_path / "d.pt").read_bytes()
    (tmp_path / "d.pt").write_bytes(bytes(100_000) + content)
    assert read_checkpoint(tmp_path / "d.pt").n_params > usual + 20_000


def test_checkpoint_what_is_no_archive_counts_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(np.random.default_rng(0).bytes(200_000))
    found = read_checkpoint(tmp_path / "c.pt")
    assert (found.weights, found.n_params > 40_000) == ((), True)


def test_checkpoint_no_code_of_its_pickle_runs(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("c/data.pkl", pickle.dumps({"state": {"a": Touching(target)}}))
        archive.writestr("c/data/0", bytes(400))
    found = read_checkpoint(tmp_path / "c.pt")
    assert [weight.n_numbers for weight in found.weights] == [400]
    assert not target.exists()
    pickle.loads(pickle.dumps(Touching(target)))
    assert target.read_text() == WRITES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_checkpoint_numbers_are_read_in_their_type(dtype: torch.dtype, tmp_path: Path) -> None:
    numbers = torch.arange(-8, 8).to(dtype)
    found = saved(tmp_path / "c.pt", {"a": numbers})
    read = found.numbers(found.weights[0], most=100)
    assert (found.weights[0].name, read.tolist()) == ("a", [float(i) for i in range(-8, 8)])
    assert found.numbers(found.weights[0], most=4).tolist() == [-8.0, -4.0, 0.0, 4.0]


def test_checkpoint_is_rewritten_with_what_was_counted_and_nothing_else(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "c.pt", STATE)
    content = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "c.pt").write_bytes(b"PK" + bytes(5_000) + content)
    plain = rewritten(read_checkpoint(tmp_path / "c.pt"), tmp_path / "plain.pt")
    found = torch.load(plain, weights_only=True)["state"]
    assert found.keys() == STATE.keys()
    assert all(torch.equal(weight, STATE[name]) for name, weight in found.items())
    assert plain.stat().st_size < len(content) + 2_000
    assert read_checkpoint(plain).weights == checkpoint.weights


def test_checkpoint_that_only_begins_like_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(ValueError, match="cannot be read"):
        rewritten(read_checkpoint(tmp_path / "c.pt"), tmp_path / "plain.pt")


def test_checkpoint_with_much_beside_its_weights_is_not_unpacked(tmp_path: Path) -> None:
    saved(tmp_path / "c.pt", STATE)
    with zipfile.ZipFile(tmp_path / "c.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        for i in range(5):
            archive.writestr(f"c/extra{i}", bytes(2 << 20))
    with pytest.raises(ValueError, match="bytes beside its weights"):
        rewritten(read_checkpoint(tmp_path / "c.pt"), tmp_path / "plain.pt")
    assert (tmp_path / "plain.pt").stat().st_size < 1000


def test_checkpoint_of_another_form_stays_as_it_is(tmp_path: Path) -> None:
    large = {"a": torch.ones(100, 100)}
    torch.save({"state": large}, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    checkpoint = read_checkpoint(tmp_path / "c.pt")
    assert rewritten(checkpoint, tmp_path / "plain.pt") == tmp_path / "c.pt"
    assert checkpoint.n_params > 8_000


def with_index(path: Path, more: bytes) -> StoredCheckpoint:
    """A checkpoint whose pickle goes on with `more` before its end."""
    torch.save({"state": STATE}, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content[:-1] + more + b"." if name.endswith("data.pkl") else content)
    return read_checkpoint(path)


TWICE = b"K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60, 120))


@pytest.mark.parametrize(
    "key",
    [b")" + b"\x85" * 500_000, TWICE],
    ids=["half a million levels deep", "holds itself twice over sixty levels"],
)
def test_checkpoint_a_name_that_cannot_be_hashed_ends_and_delays_nothing(key: bytes, tmp_path: Path) -> None:
    found = with_index(tmp_path / "c.pt", key + b"K\x01s")
    assert [each.name for each in found.weights] == ["a", "b"]


@pytest.mark.parametrize(
    "more",
    [b"0", b"u", b"h\xff", b"c", b"cos\nsystem\nX\x02\0\0\0idR", b"N" * 1_200_000, b"i"],
    ids=["an empty stack", "no mark", "no such memo", "cut off", "a call", "too long", "a class"],
)
def test_checkpoint_a_broken_pickle_is_counted_as_bytes_or_read_as_far_as_it_names_weights(
    more: bytes, tmp_path: Path
) -> None:
    assert with_index(tmp_path / "c.pt", more).n_params >= 107


def test_checkpoint_names_are_known_beside_shapes_types_and_texts(tmp_path: Path) -> None:
    state = STATE | {"shape": torch.Size([2]), "dtype": torch.float16, "deep": {"x": [1, (2, {3})]}}
    found = saved(tmp_path / "c.pt", state, config={"a": 1.5, "b": None, "c": True, 4: b"x"})
    assert [each.name for each in found.weights] == ["a", "b"]
    assert found.n_params == 107


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_checkpoint_changed_bytes_are_read_or_refused_and_end_nothing(method: int, tmp_path: Path) -> None:
    torch.save({"config": {}, "state": STATE}, tmp_path / "plain.pt")
    path = tmp_path / "c.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as archive, zipfile.ZipFile(path, "w", method) as copy:
        for info in archive.infolist():
            copy.writestr(info.filename, archive.read(info.filename))
    content = path.read_bytes()
    draw = random.Random(method)
    n_read = 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(draw.randrange(1, 5)):
            begins = draw.choice([0, content.find(b"PK\1\2"), len(content) - 200])
            changed[draw.randrange(begins, len(changed))] = draw.choice([0, 1, 8, 12, 14, 255])
        path.write_bytes(changed[: draw.randrange(len(changed))] if draw.random() < 0.1 else changed)
        found = read_checkpoint(path)
        with contextlib.suppress(ValueError):
            assert 0 <= found.n_params <= MAX_COUNTED
            if found.n_params < 10_000:
                rewritten(found, tmp_path / "again.pt")
                n_read += 1
    assert 0 < n_read < 300


def test_checkpoint_a_size_that_no_file_has_counts_as_one_that_a_database_holds(tmp_path: Path) -> None:
    claimed = StoredWeight("a", "c/data/0", 2**64 - 1, 2**64 - 1, "u1")
    assert StoredCheckpoint(tmp_path / "c.pt", (claimed,), 0).n_params == MAX_COUNTED
