"""Real but tiny models, created in a second: random ones, and one that generates a fixed text."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast

from tracker.records import Model

CORPUS = (
    "The quick brown fox jumps over the lazy dog. Question: what is two plus three? Answer: five.",
    "A tracker keeps every item of every run: A, B, C or D.\n\nQuestion: is 7 prime? Answer: yes",
)
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% if enable_thinking %} <think>{% endif %}{% endif %}"
)
MARKS = ["<think>", "</think>"]


def tiny_tokenizer(
    *, bos: bool = True, metaspace: bool = False, thinks: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens, or one that marks words as SentencePiece does.

    `bos`: add a beginning-of-sequence token to every text.
    """
    tokenizer = Tokenizer(models.BPE())
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    special = ["</s>", *(["<s>"] if bos else [])]
    alphabet = list("abcdefghijklmnopqrstuvwxyz") if metaspace else pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        place = tokenizer.token_to_id("<s>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", place)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="</s>",
        **({"bos_token": "<s>"} if bos else {}),
    )
    if thinks:
        fast.add_tokens(MARKS)
    fast.chat_template = TEMPLATE
    return fast


def tiny_config(tokenizer: PreTrainedTokenizerFast, **changes: object) -> LlamaConfig:
    """A configuration with two layers, four heads and two key-value heads."""
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,  # wide, so that log-probs differ as much as in a trained model
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return LlamaConfig(**(sizes | changes))


def save_random(
    folder: Path, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig | None = None
) -> Model:
    """A model with seeded random weights."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config or tiny_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Model("tiny/random", "sha256:0", path=str(folder))


def save_speaker(folder: Path, tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> Model:
    """A model that generates `ids[i + 1]` after `ids[i]`; every token may occur only once in `ids`."""
    assert len(set(ids)) == len(ids)
    size = -(-len(tokenizer) // 8) * 8  # four heads of an even size
    config = tiny_config(
        tokenizer, hidden_size=size, intermediate_size=8, num_hidden_layers=1, tie_word_embeddings=False
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.requires_grad_(False).zero_()
    model.model.norm.weight.fill_(1.0)
    model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), size))
    for before, after in itertools.pairwise(ids):
        model.lm_head.weight[after, before] = 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Model("tiny/speaker", "sha256:0", path=str(folder))
