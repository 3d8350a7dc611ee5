"""Repositories that attack whoever measures them: each a small good model with one harm in one place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "9" * 4000
ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x"
TEXT_PART = {"model_type": "llama"}

Harm = Callable[[Path], None]


def json_keys(file: str, **keys: Any) -> Harm:
    """Other values for keys of a JSON file."""

    def do(folder: Path) -> None:
        path = folder / file
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | keys))

    return do


def json_text(file: str, more: str) -> Harm:
    """A JSON object of its old keys and this text."""

    def do(folder: Path) -> None:
        path = folder / file
        known = path.read_text().rstrip() if path.is_file() else '{"a": 1}'
        path.write_text(known[:-1] + "," + more + "}")

    return do


def content(file: str, text: str | bytes) -> Harm:
    """Another content of a file."""

    def do(folder: Path) -> None:
        (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)

    return do


def header(text: str | bytes, length: int | None = None) -> Harm:
    """Weights with this header."""
    raw = text.encode() if isinstance(text, str) else text
    size = (len(raw) if length is None else length).to_bytes(8, "little")
    return content("model.safetensors", size + raw + bytes(4))


def shape(value: str) -> Harm:
    """Weights with one tensor of this shape."""
    return header(ENTRY.join(('{"a":', "}")).replace("[1]", value))


def index(*names: str) -> Harm:
    """An index of these weight files."""
    weight_map = {f"t{n}": name for n, name in enumerate(names)}

    def do(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return do


def template(text: str) -> Harm:
    """Another chat template."""

    def do(folder: Path) -> None:
        for path in folder.glob("*.jinja"):
            path.unlink()
        json_keys("tokenizer_config.json", chat_template=text)(folder)

    return do


def tokenizer(change: Callable[[dict[str, Any]], None]) -> Harm:
    """Another tokenizer.json."""

    def do(folder: Path) -> None:
        path = folder / "tokenizer.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return do


def _regex(document: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": r"(\w+\s?)+$"}, "behavior": "Isolated", "invert": False}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split]}


def _growth(document: dict[str, Any]) -> None:
    step = {"type": "Replace", "pattern": {"Regex": "(.)"}, "content": "ab" * 40}
    document["normalizer"] = {"type": "Sequence", "normalizers": [step] * 6}


HARMS: Mapping[str, Harm] = {
    # those of the ordinary run
    "config list": json_keys("config.json", quantization_config=["fp8"]),
    "header shape inf": shape("[1e999]"),
    "template loop": template(LOOP),
    "tokenizer regex": tokenizer(_regex),
    # config.json
    "config deep": json_text("config.json", f'"x":{DEEP}'),
    "config digits": json_text("config.json", f'"hidden_size":{HUGE}'),
    "config surrogate": json_text("config.json", '"model_type":"\\ud800"'),
    "config surrogate inside": json_text("config.json", '"x":{"y":["\\udfff\\u001b[31m"]}'),
    "config utf-16": content("config.json", '{"model_type":"llama"}'.encode("utf-16")),
    "config array": content("config.json", "[]"),
    "config cut": content("config.json", '{"model_type":'),
    "config layers": json_keys("config.json", num_hidden_layers=10**9),
    "config many layers": json_keys("config.json", num_hidden_layers=9_000),
    "config vocabulary": json_keys("config.json", vocab_size=2**39),
    "config inf": json_keys("config.json", hidden_size=float("inf")),
    "config negative": json_keys("config.json", num_attention_heads=-4),
    "config text": json_keys("config.json", num_key_value_heads="2"),
    "config part is text": json_keys("config.json", text_config="llama"),
    "config unknown type": json_keys("config.json", model_type="nobody", architectures=["Nobody"]),
    "config type is a path": json_keys("config.json", model_type="../..", auto_map={"AutoConfig": "evil.C"}),
    "code": json_keys("config.json", model_type="own", auto_map={"AutoModelForCausalLM": "evil.Model"}),
    "code elsewhere": json_keys("config.json", auto_map={"AutoModelForCausalLM": "evil/code--evil.Model"}),
    "code elsewhere inside": json_keys(
        "config.json", text_config=TEXT_PART | {"auto_map": {"AutoConfig": "evil/code--evil.C"}}
    ),
    "kernel": json_keys("config.json", _attn_implementation="evil/kernel"),
    "kernel inside": json_keys("config.json", vision_config={"attn_implementation": "evil/kernel:run"}),
    "other weights": json_keys("config.json", transformers_weights="../other.safetensors"),
    "draft": json_keys("config.json", speculators_config={"verifier": {"name_or_path": "evil/big"}}),
    # weights
    "header deep": header(f'{{"a":{DEEP}}}'),
    "header offset inf": header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}'),
    "header shape digits": shape(f"[{','.join([HUGE] * 50)}]"),
    "header shape negative": shape("[-5]"),
    "header shape text": shape('"12"'),
    "header overlap": header(f'{{"a":{ENTRY},"b":{ENTRY}}}'),
    "header twice": header(f'{{"a":{ENTRY},"a":{ENTRY}}}'),
    "header utf-16": header("{}".encode("utf-16")),
    "header list": header("[]"),
    "header nul": header(b"\0" * 10),
    "header long": header("{}", length=2**64 - 1),
    "header many": header('{"a":' + "[" + "[]," * 2_000_000 + "[]]}"),
    "weights empty": content("model.safetensors", b""),
    "weights pointer": content("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
    "index up": index("../other.safetensors"),
    "index absolute": index("/etc/passwd"),
    "index long": index("x" * 5000),
    "index many": index(*(f"{n}.safetensors" for n in range(5_000))),
    "index list": content("model.safetensors.index.json", '{"weight_map":["other.safetensors"]}'),
    # tokenizer and template
    "template memory": template("{{ ('a' * 30000000000)|length }}x"),
    "template doubling": template(
        "{% set n = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}"
        "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}"
    ),
    "template long": template("{{ 'a' * 9000000 }}"),
    "tokenizer growth": tokenizer(_growth),
    "tokenizer deep": json_text("tokenizer.json", f'"x":{DEEP}'),
    "tokenizer types": json_keys("tokenizer_config.json", model_max_length=[1], added_tokens_decoder=[3]),
    "tokenizer code": json_keys(
        "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.T", None]}
    ),
    "tokenizer code elsewhere": json_keys(
        "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil/code--evil.T"]}
    ),
    "generation deep": json_text("generation_config.json", f'"x":{DEEP}'),
    "generation types": content("generation_config.json", "[]"),
}


def hostile_repository(folder: Path, good: Path, kind: str) -> Path:
    """A copy of the `good` model's folder in `folder` with this kind of harm."""
    shutil.copytree(good, folder)
    (folder / "evil.py").write_text("raise SystemExit('this must never run')\n")
    HARMS[kind](folder)
    return folder
