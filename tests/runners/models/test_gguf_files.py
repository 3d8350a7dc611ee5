"""A path of a GGUF file as MODEL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runners.engines import choose_engine
from runners.models.demo import N_PARAMS, file_sha256, gguf_path
from runners.models.gguf_files import local_gguf
from runners.models.resolve import resolve_model, stored_model_id, weights_format
from tests.builders.gguf_builder import GgufBytes, write_split
from tracker.errors import ModelError, TrackerError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings


class NoEngine:
    """Stands for an engine of another package, which may load any format."""


ANY = EngineSettings(engine=f"{__name__}:NoEngine")


def test_gguf_path_is_a_model_with_the_files_own_identity(settings: Settings, tmp_path: Path) -> None:
    path = shutil.copy(gguf_path(), tmp_path / "SmolLM2.Q4_1.gguf")
    assert resolve_model(str(path), ANY, settings) == Model(
        model_id="local/SmolLM2.Q4_1",
        revision=f"sha256:{file_sha256(gguf_path())}",
        path=str(path),
        quantization="Q4_1",
        n_params=N_PARAMS,
        license="apache-2.0",
    )
    assert stored_model_id(str(path), engine=ANY.engine) == "local/SmolLM2.Q4_1"


def test_gguf_any_part_of_a_split_file_names_the_model(settings: Settings, tmp_path: Path) -> None:
    paths = write_split(tmp_path, "tiny-Q4_K_M", 3)
    first, last = (resolve_model(str(path), ANY, settings) for path in (paths[0], paths[2]))
    assert first == last
    assert (first.model_id, first.path) == ("local/tiny-Q4_K_M", str(paths[0]))
    paths[1].write_bytes(paths[1].read_bytes() + b"\0")
    assert resolve_model(str(paths[0]), ANY, settings).revision != first.revision


def test_gguf_missing_part_is_named(settings: Settings, tmp_path: Path) -> None:
    paths = write_split(tmp_path, "tiny", 3)
    paths[1].unlink()
    with pytest.raises(
        ModelError, match=r"1 of 3 parts are missing, such as `tiny-00002-of-00003.gguf`"
    ) as caught:
        resolve_model(str(paths[0]), ANY, settings)
    assert caught.value.reason == "missing_weights"


def test_gguf_path_that_does_not_exist_or_is_broken_is_a_sentence(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"`.*x.gguf` does not exist") as caught:
        resolve_model(str(tmp_path / "x.gguf"), ANY, settings)
    assert "org/name:Q4_K_M" in caught.value.hint
    with pytest.raises(TrackerError, match="is a folder"):
        resolve_model(str((tmp_path / "y.gguf").mkdir() or tmp_path / "y.gguf"), ANY, settings)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(GgufBytes().written()[:-1000])
    with pytest.raises(ModelError, match=r"`local/cut` is broken: `cut.gguf` is cut off"):
        resolve_model(str(cut), ANY, settings)


def test_gguf_path_that_is_no_file_says_so_and_is_not_suggested(settings: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "link.gguf").symlink_to("gone.gguf")
    for name, says in (
        ("pipe.gguf", "is no regular file"),
        ("link.gguf", "is a link to a file that does not"),
    ):
        with pytest.raises(TrackerError, match=says) as caught:
            local_gguf(tmp_path / name, settings)
        assert caught.value.hint == "a GGUF on the Hub is `org/name:FILE` or `org/name:Q4_K_M`"


def test_gguf_is_not_given_to_an_engine_that_cannot_load_it(settings: Settings, tmp_path: Path) -> None:
    path = GgufBytes().write(tmp_path / "tiny.gguf")
    with pytest.raises(TrackerError, match="engine `transformers` does not load gguf weights"):
        resolve_model(str(path), EngineSettings(engine="transformers"), settings)
    assert weights_format(str(path)) == "gguf"
    assert weights_format("org/name") == "safetensors"
    automatic = choose_engine(EngineSettings(engine="auto"), has_gpu=False).engine
    assert automatic == "transformers"
