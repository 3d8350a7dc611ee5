"""How llama.cpp's server is started: one record, and its form as the options of the program."""

from __future__ import annotations

from dataclasses import dataclass, field

HOST = "127.0.0.1"
PREFIX = "/llama"  # of every path, so that llama.cpp's own and OpenAI's have one base


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that decides how the server runs."""

    path: str  # of the first GGUF file
    n_ctx: int  # tokens of all slots together
    n_parallel: int  # slots
    n_threads: int
    n_gpu_layers: int | None  # None: llama.cpp fits as many as the card holds
    kv_cache_dtype: str
    program: str | None  # None: the package
    is_speculative: bool = False
    draft_path: str | None = None  # of the model that proposes tokens; None: what followed them before
    port: int = 0
    key: str = field(default="", repr=False)

    def argv(self) -> list[str]:
        """The command line of the program; the one place where our names become its options."""
        assert self.program is not None
        given: dict[str, object] = {
            "model": self.path,
            "host": HOST,
            "port": self.port,
            "api-prefix": PREFIX,
            "ctx-size": self.n_ctx,
            "parallel": self.n_parallel,
            "threads": self.n_threads,
            "cache-type-k": self.kv_cache_dtype,
            "cache-type-v": self.kv_cache_dtype,
            "cache-ram": 0,
        } | ({} if self.n_gpu_layers is None else {"n-gpu-layers": self.n_gpu_layers})
        if self.is_speculative:
            given |= {"spec-type": "draft-simple" if self.draft_path else "ngram-simple"}
            given |= {"model-draft": self.draft_path} if self.draft_path else {}
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [self.program, *options, "--no-context-shift", "--no-warmup", "--no-webui", "--no-slots"]
