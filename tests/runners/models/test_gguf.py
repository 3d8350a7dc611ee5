"""GGUF headers: against the package `gguf`, and every way in which a file can be broken or lie."""

from __future__ import annotations

import struct
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from runners.models import gguf
from runners.models.demo import N_PARAMS, gguf_path
from runners.models.gguf import LocalFile, read_gguf, read_split, read_tokens, split_names, tokens_digest
from runners.models.gguf_types import FILE_TYPES, TENSOR_TYPES
from tests.builders.gguf_builder import LLAMA, TENSORS, GgufBytes, text, write_split
from tracker.errors import ModelError

FILE = GgufBytes()


class Bytes:
    """A source in memory that counts what was read."""

    name = "model.gguf"

    def __init__(self, raw: bytes, *, size: int | None = None) -> None:
        self.raw, self.size, self.n_read = raw, len(raw) if size is None else size, 0

    def read(self, start: int, n_bytes: int) -> bytes:
        self.n_read += n_bytes
        return self.raw[start : start + n_bytes]


def refused(file: GgufBytes | bytes) -> ModelError:
    raw = file if isinstance(file, bytes) else file.written()
    with pytest.raises(ModelError) as caught:
        read_gguf(Bytes(raw), "local/x")
    return caught.value


def test_gguf_tables_of_types_are_those_of_the_package_gguf() -> None:
    assert {
        kind: (one.name, *GGML_QUANT_SIZES[one]) for one in GGMLQuantizationType if (kind := int(one)) >= 0
    } == (TENSOR_TYPES)
    names = {int(one): one.name.removeprefix("ALL_").removeprefix("MOSTLY_") for one in LlamaFileType}
    names.pop(1024)  # guessed from the tensors
    assert names == FILE_TYPES


def test_gguf_header_of_the_embedded_model() -> None:
    source = LocalFile(gguf_path())
    header = read_gguf(source, "local/x")
    assert (header.architecture, header.n_params, header.quantization) == ("llama", N_PARAMS, "Q4_1")
    assert header.bytes_by_type == {"Q4_1": 66_355_200, "Q8_0": 30_081_024, "F32": 140_544}
    assert (header.tokenizer, header.n_tokens) == ("gpt2/smollm", 49_152)
    assert header.of_architecture("attention.head_count_kv") == 3
    assert header.chat_template is not None
    tokens = read_tokens(source, "local/x")
    assert (len(tokens), tokens[1], tokens_digest(tokens)) == (49_152, b"<|im_start|>", header.tokens_sha256)


def test_gguf_header_is_read_without_the_weights() -> None:
    raw = gguf_path().read_bytes()
    source = Bytes(raw)
    read_gguf(source, "local/x")
    assert source.n_read < 0.06 * len(raw)


def test_gguf_header_of_a_small_file() -> None:
    header = read_gguf(Bytes(FILE.written()), "local/x")
    assert [(t.name, t.shape, t.type) for t in header.tensors] == list(TENSORS)
    assert header.n_params == 256 * 3 + 2 * 256 * 256 + 256
    assert header.weights_bytes == 3 * 210 + 2 * 256 * 144 + 1024
    assert (header.quantization, header.n_tokens, header.n_parts) == ("Q4_K_M", 3, 1)


SWAPPED = int.from_bytes((3).to_bytes(4, "big"), "little")
LISTS = struct.pack("<IIQ", 9, 9, 1)
HUGE_LIST = struct.pack("<IIQ", 9, 5, 2**62)
HUGE_TEXTS = struct.pack("<IIQ", 9, 8, 2**40)
A_TEXT = struct.pack("<I", 8)


def with_key(value: bytes) -> GgufBytes:
    return replace(FILE, values=LLAMA | {"x": value})


def with_tensor(shape: tuple[int, ...], kind: str | int, data: bytes | None = None) -> GgufBytes:
    return replace(FILE, tensors=(("a", shape, kind),), data=data)


CASES = {
    "empty": (b"", "is empty"),
    "another format": (b"PK\3\4" + b"\0" * 100, "is no GGUF file"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    "cut off in the header": (FILE.written()[:100], "is cut off"),
    "cut off in the weights": (FILE.written()[:-4096], "its header describes 76,"),
    "version 1": (replace(FILE, version=1), "GGUF version 1, which is not supported"),
    "big-endian": (replace(FILE, version=SWAPPED), "big-endian"),
    "more tensors than any model": (replace(FILE, n_tensors=2**60), "has 1,152,921,504,606,846,976 tensors"),
    "more keys than any model": (replace(FILE, n_keys=2**60), "keys, more than 10,000"),
    "more keys than there are": (replace(FILE, n_keys=20), "`model.gguf`"),
    "text beyond the file": (with_key(A_TEXT + text("y", length=2**20)), "cut off"),
    "text of 2^63 bytes": (with_key(A_TEXT + text("y", length=2**63)), "a text of"),
    "list beyond the file": (with_key(HUGE_LIST), "`x` has 4,611,686,018,427,387,904"),
    "texts beyond the file": (with_key(HUGE_TEXTS), "`x` has 1,099,511,627,776 values"),
    "list of lists": (with_key(LISTS), "list of unknown type 9"),
    "value of unknown type": (with_key(struct.pack("<I", 99)), "unknown type 99"),
    "no architecture": (replace(FILE, values={"general.name": "x"}), "names no architecture"),
    "adapter": (replace(FILE, values=LLAMA | {"general.type": "adapter"}), "is an adapter (LoRA), not"),
    "projector": (replace(FILE, values={"general.architecture": "clip"}), "is the projector of an image"),
    "importance matrix": (replace(FILE, values={"general.type": "imatrix"}), "is an importance matrix"),
    "architecture is a number": (replace(FILE, values={"general.architecture": 7}), "names no architecture"),
    "alignment 0": (replace(FILE, values=LLAMA | {"general.alignment": 0}), "impossible alignment of `0`"),
    "tensor type of the future": (with_tensor((32,), 250), "type 250, which is not known"),
    "five dimensions": (with_tensor((1,) * 5, "F32"), "5 dimensions"),
    "half a block": (with_tensor((100, 4), "Q4_K"), "impossible shape"),
    "tensor of 2^60 weights": (with_tensor((2**30, 2**30), "F32", b""), "impossible shape"),
    "tensor larger than the file": (with_tensor((2**20, 2**20), "F32", b""), "cut off: its header describes"),
    "tensors that overlap": (replace(FILE, offsets=(0, 0, 0, 0)), "inside another one"),
    "tensor between the places": (replace(FILE, offsets=(1, 2, 3, 4)), "at an impossible place"),
    "one name twice": (replace(FILE, tensors=(TENSORS[3], TENSORS[3])), "two tensors of the same name"),
    "part 3 of 2": (replace(FILE, values=LLAMA | {"split.no": 2, "split.count": 2}), "part `2` of `2`"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "message"), CASES.values(), ids=CASES)
def test_gguf_that_is_broken_or_lies_is_a_sentence(file: GgufBytes | bytes, message: str) -> None:
    error = refused(file)
    assert message in str(error)
    assert error.reason in ("broken_weights", "unsupported")
    assert error.hint


def test_gguf_that_ends_anywhere_is_refused() -> None:
    raw = FILE.written()
    for end in range(0, len(raw) - 1, 13):
        assert refused(raw[:end])


def test_gguf_with_random_bytes_anywhere_is_read_or_refused() -> None:
    raw, outcomes = FILE.written(), Counter[str]()
    for place in range(0, 900, 3):
        changed = raw[:place] + b"\xff\xfe\xfd" + raw[place + 3 :]
        try:
            header = read_gguf(Bytes(changed), "local/x")
        except ModelError as error:  # and no other error
            outcomes[error.reason if error.hint else "no hint"] += 1
        else:  # what is read is still within the file
            outcomes["read"] += 1
            assert header.size_bytes == len(changed)
            assert 0 < sum(tensor.n_bytes for tensor in header.tensors) <= len(changed)
    assert set(outcomes) == {"read", "broken_weights", "unsupported"}
    assert min(outcomes.values()) > 5


def test_gguf_with_lists_beyond_every_limit_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = struct.pack("<IIQ", 9, 0, 19_000) + bytes(19_000)
    values = {"general.architecture": "llama"} | {f"x{place}": flat for place in range(600)}
    tracemalloc.start()
    error = refused(replace(FILE, values=values))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "values of more than 64,000,000 bytes" in str(error)
    assert peak < 200e6
    monkeypatch.setattr(gguf, "MAX_TEXTS", 100)
    many = {"general.architecture": "llama", "tokenizer.ggml.tokens": ("a",) * 101}
    assert "more than 100 texts" in str(refused(replace(FILE, values=many)))


def test_gguf_split_file_is_one_model(tmp_path: Path) -> None:
    paths = write_split(tmp_path, "tiny", 3)
    header = read_split([LocalFile(path) for path in paths], "local/x")
    whole = read_gguf(Bytes(FILE.written()), "local/x")
    assert {t.name for t in header.tensors} == {t.name for t in whole.tensors}
    assert (header.n_params, header.n_parts, header.n_tokens) == (whole.n_params, 3, 3)
    assert header.size_bytes == sum(path.stat().st_size for path in paths)


def test_gguf_parts_in_the_wrong_order_or_of_another_model_are_refused(tmp_path: Path) -> None:
    first, second = [LocalFile(path) for path in write_split(tmp_path, "tiny", 2)]
    with pytest.raises(ModelError, match="says that it is part 2 of 2"):
        read_split([second, first], "local/x")
    with pytest.raises(ModelError, match="says that it is part 1 of 2"):
        read_split([first, first], "local/x")


def test_gguf_names_of_the_parts() -> None:
    assert split_names("a/b-00002-of-00003.gguf") == tuple(f"a/b-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    assert split_names("b.gguf") == ("b.gguf",)
    for name in ("b-00004-of-00003.gguf", "b-00000-of-00003.gguf", "b-00001-of-99999.gguf"):
        with pytest.raises(ModelError, match="cannot be a part"):
            split_names(name)
