"""A stranger's program in our process is ended by its limits, and what follows is not affected."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from runners.engines import open_engine
from runners.engines.chat import render_chat
from runners.executors.supervisor import WorkerEnd
from runners.step_limits import KILLED_BY, MIB, StepLimitError, limited_step
from tests.builders.hostile_repositories import hostile_repository
from tests.builders.tiny_models import save_random, tiny_tokenizer
from tests.conftest import ROOT
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture
def no_limits_left() -> Any:
    before = resource.getrlimit(resource.RLIMIT_AS)
    yield
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == signal.SIG_DFL


@pytest.mark.usefixtures("no_limits_left")
def test_a_step_without_end_is_ended() -> None:
    with (
        pytest.raises(StepLimitError, match=r"the filter took more than 0\.3 s") as caught,
        limited_step("the filter", cpu_s=0.3, extra_bytes=MIB),
    ):
        re.fullmatch(r"(a+)+", "a" * 60 + "b")
    assert caught.value.reason == "unsupported"


@pytest.mark.usefixtures("no_limits_left")
@pytest.mark.parametrize("make", [lambda: bytes(10**12), lambda: "a" * 3 * 10**10, lambda: [0] * 10**11])
def test_a_step_that_takes_all_memory_is_ended(make: Any) -> None:
    with (
        pytest.raises(StepLimitError, match="needed more than 256 MiB of memory"),
        limited_step("the template", cpu_s=60, extra_bytes=256 * MIB),
    ):
        make()


@pytest.mark.usefixtures("no_limits_left")
def test_what_we_know_passes_a_step_unchanged() -> None:
    with pytest.raises(EngineError, match="known"), limited_step("it", cpu_s=9, extra_bytes=256 * MIB):
        raise EngineError("known", reason="gated")
    with pytest.raises(KeyboardInterrupt), limited_step("it", cpu_s=9, extra_bytes=256 * MIB):
        raise KeyboardInterrupt
    with (
        pytest.raises(EngineError, match=r"it failed: TypeError: .\[31m odd"),
        limited_step("it", cpu_s=9, extra_bytes=256 * MIB),
    ):
        raise TypeError("\x1b[31m\nodd")


def test_code_that_never_returns_is_killed_and_the_run_says_why(tmp_path: Path) -> None:
    code = (
        "import signal\nfrom runners.step_limits import limited_step\n"
        "with limited_step('it', cpu_s=0.2, extra_bytes=2**30):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGVTALRM])\n"  # as code in C or Rust
        "    while 1: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -KILLED_BY
    end = WorkerEnd(done.returncode, tmp_path / "no.log")
    assert (end.reason, end.exit_code(if_killed=3)) == ("unsupported", 3)
    assert "took too much computing time" in end.detail


def test_a_library_in_rust_without_memory_is_named_as_the_cause(tmp_path: Path) -> None:
    log_path = tmp_path / "worker.log"
    log_path.write_text("memory allocation of 137438953472 bytes failed\nnote: run with `RUST_BACKTRACE=1`\n")
    end = WorkerEnd(-signal.SIGABRT, log_path)
    assert end.reason == "out_of_memory"
    assert "asked for more memory than it may have" in end.detail
    log_path.write_text("terminate called\n")
    assert (end.reason, end.detail) == ("engine_died", "terminate called")


# --- templates and tokenizers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    save_random(folder, tiny_tokenizer())
    return folder


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of twenty."""
    monkeypatch.setattr("runners.engines.chat.RENDER_S", 2.0)
    monkeypatch.setattr("runners.engines.encoding.ENCODE_S", 1.0)


@pytest.mark.usefixtures("hasty", "no_limits_left")
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("template loop", "the model's chat template took more than 2 s of computing time"),
        ("template memory", "the model's chat template needed more than 256 MiB of memory"),
        ("template doubling", "the model's chat template needed more than 256 MiB of memory"),
        ("template long", "the model's chat template makes 9,000,000 characters of 26"),
        ("tokenizer regex", "the model's tokenizer failed: PanicException: "),
        ("tokenizer types", "loading the tokenizer failed: AttributeError: "),
    ],
)
def test_a_bomb_is_found_before_the_weights_are_loaded(
    kind: str, says: str, good: Path, tmp_path: Path
) -> None:
    folder = hostile_repository(tmp_path / "evil", good, kind)
    with pytest.raises(EngineError) as caught:
        open_engine(Model("evil/model", "sha256:0", path=str(folder)), EngineSettings())
    assert caught.value.reason == "unsupported"
    assert says in str(caught.value)


@pytest.mark.usefixtures("no_limits_left")
def test_a_good_template_is_rendered_as_before(good: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(good)
    rendered = render_chat(tokenizer, MESSAGES, add_generation_prompt=True, thinking=None)
    assert rendered == tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)


def test_a_template_that_asks_for_the_date_or_the_time_gets_the_same_every_day(good: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(good)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y %H:%M:%S') }}{{ messages[0].content }}"
    rendered = render_chat(tokenizer, MESSAGES, add_generation_prompt=True, thinking=None)
    assert rendered == f"01 Jan 2026 12:00:00{MESSAGES[0]['content']}"


def test_the_attention_is_ours_to_choose(good: Path, tmp_path: Path) -> None:
    folder = hostile_repository(tmp_path / "evil", good, "kernel")
    engine = open_engine(Model("evil/model", "sha256:0", path=str(folder)), EngineSettings())
    assert engine.info.attention == "sdpa"
    engine.close()
