"""Files that llama.cpp refuses, and what it says before it ends: a sentence with a reason and a hint."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines import open_engine
from runners.engines.llamacpp.builds import find_build
from runners.engines.llamacpp.errors import explain
from runners.engines.llamacpp.launch import Launch
from runners.models.demo import gguf_path
from tracker.errors import EngineError, TrackerError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

SETTINGS = EngineSettings(engine="llamacpp", max_model_len=256, max_num_seqs=1)


def edited(folder: Path, *changes: tuple[bytes, bytes]) -> Model:
    """The embedded file with other bytes of the same number in its header."""
    raw = gguf_path().read_bytes()
    for old, new in changes:
        assert len(old) == len(new)
        assert old in raw
        raw = raw.replace(old, new)
    path = folder / "model.gguf"
    path.write_bytes(raw)
    return Model("local/model", "sha256:1", path=str(path))


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ([(b"llama.", b"llamb."), (b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llamb")], "unsupported",
         "does not know the architecture `llamb`"),
        ([(b"blk.3.attn_q.weight", b"blk.3.attn_z.weight")], "broken_weights",
         "the file has no tensor `blk.3.attn_q.weight`"),
    ],
    ids=["unknown architecture", "a tensor is missing"],
)  # fmt: skip
def test_llamacpp_refuses_a_file_with_a_sentence(
    changes: list[tuple[bytes, bytes]], reason: str, says: str, tmp_path: Path, home: Path
) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `dev` installs it")
    with pytest.raises(EngineError, match=says) as caught:
        open_engine(edited(tmp_path, *changes), SETTINGS)
    assert caught.value.reason == reason
    assert caught.value.hint


@pytest.mark.parametrize(
    ("said", "returncode", "reason", "says"),
    [
        ("0.1 E cudaMalloc failed: out of memory\nfailed to load", 1, "out_of_memory", "out of memory"),
        ("error: invalid argument: --api-prefix", 1, "unsupported", "not know the option `--api-prefix`"),
        ("0.1 E load: invalid split file: x.gguf", 1, "broken_weights", "do not belong together"),
        ("", -signal.SIGKILL, "engine_died", "probably because memory ran out"),
        ("GGML_ASSERT(x) failed", -signal.SIGABRT, "engine_died", "signal 6: GGML_ASSERT(x) failed"),
        ("0.1 E llama_model_load: error loading model: odd", 1, "unsupported", "cannot run `m.gguf`: odd"),
        ("", 7, "unsupported", "it ended with code 7"),
    ],
)  # fmt: skip
def test_llamacpp_end_of_the_server_is_explained(said: str, returncode: int, reason: str, says: str) -> None:
    error = explain(said, returncode=returncode, model="/models/m.gguf")
    assert (error.reason, says in str(error)) == (reason, True), str(error)


def program(folder: Path, script: str) -> str:
    path = folder / "llama-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_llamacpp_build_is_that_of_the_program_that_is_set(tmp_path: Path) -> None:
    path = program(tmp_path, "echo 'version: 6123 (79c1160b)' >&2")
    build = find_build(Settings(home=tmp_path, llama_server=path))
    assert (build.number, build.program) == ("b6123-79c1160b", path)


@pytest.mark.parametrize("script", ["echo nonsense", "exit 1"])
def test_llamacpp_another_program_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(TrackerError, match=r"names no build of llama\.cpp"):
        find_build(Settings(home=tmp_path, llama_server=program(tmp_path, script)))


def test_llamacpp_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="TRACKER_LLAMA_SERVER names"):
        find_build(Settings(home=tmp_path, llama_server=str(tmp_path / "none")))


def test_llamacpp_program_gets_our_settings_under_its_names_and_no_key() -> None:
    launch = Launch("/m.gguf", 1024, 2, 4, 10, "q8_0", program="/bin/llama-server", port=81, key="secret")
    line = " ".join(launch.argv())
    assert line.startswith("/bin/llama-server --model /m.gguf --host 127.0.0.1 --port 81 --api-prefix /llama")
    assert "--ctx-size 1024 --parallel 2" in line
    assert "--cache-type-k q8_0 --cache-type-v q8_0 --cache-ram 0 --n-gpu-layers 10" in line
    assert "secret" not in line + repr(launch)
    assert "--n-gpu-layers" not in " ".join(replace(launch, n_gpu_layers=None).argv())  # it fits them itself
    assert "--n-gpu-layers 0" in " ".join(replace(launch, n_gpu_layers=0).argv())
