"""Documents and functions of the tasks beside it: one task of each kind that lm-eval has."""

import math
from functools import partial

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

WORDS = ["fox", "dog", "quick", "lazy", "brown", "tracker", "question", "answer"]
N_DOCS = 8


def docs(**_):
    """Questions with three choices, a text to continue and a pair of contexts."""
    rows = [
        {
            "question": f"Question: what comes after {WORDS[n]}?",
            "choices": [WORDS[(n + 1) % 8], WORDS[(n + 3) % 8] + " and more", WORDS[(n + 5) % 8]],
            "gold": n % 3,
            "answer": WORDS[(n + 1) % 8],
            "text": f"The {WORDS[n]} jumps over the {WORDS[(n + 2) % 8]}",
            "is_true": n % 2,
            "page": " ".join(f"The {word} , {n}" for word in WORDS for _ in range(1 + 12 * (n % 3)))
            * (n > 0),
            "separated": f"{WORDS[n]}\u2028one\u0085two\x0cthree\u2029{n}",
        }
        for n in range(N_DOCS)
    ]
    return {"test": Dataset.from_list(rows), "train": Dataset.from_list(rows)}


def right_context(doc):
    """The number of the context that is right."""
    return doc["is_true"]


def contexts(doc):
    """Two beginnings with the same end."""
    return [f"{doc['text']} because the {word} is" for word in ("fox", "dog")]


def ending(doc):
    """The end of both."""
    return "lazy"


def two_right(doc):
    """The numbers of two choices that are both right."""
    return [doc["gold"], (doc["gold"] + 1) % 3]


def two_answers(doc):
    """Two right answers, one of which a model can begin with."""
    return [doc["answer"], ""]


def loud_answer(doc):
    """The answer with capitals and marks."""
    return f"${doc['answer'].upper()}, 1!"


def every_other(dataset):
    """Half of the documents."""
    return dataset.filter(lambda doc: doc["is_true"] == 0)


def without_spaces(doc):
    """The page without the spaces before its commas."""
    return doc["page"].replace(" , ", ", ")


def by_words_before(doc, results):
    """Log-probability and size, with the words of the page before anything was removed."""
    (log_prob,) = results
    return {
        "word_perplexity": (log_prob, len(doc["page"].split(" "))),
        "bits_per_byte": (log_prob, len(doc["page"].encode()) or 1),
    }


def share_of_gold(doc, results):
    """The probability of the right choice among all."""
    log_probs = [log_prob for log_prob, _ in results]
    total = sum(math.exp(value - max(log_probs)) for value in log_probs)
    return {"share": math.exp(log_probs[doc["gold"]] - max(log_probs)) / total}


def n_letters(references: list[str], predictions: list[str], **_: object) -> float:
    """A mean that is no share: more than 1, of answers that are longer than a letter."""
    return float(1 + len(predictions[0]))


def shared_letters(references, predictions, **_):
    """How many letters of the answer occur in the text."""
    return len(set(references[0]) & set(predictions[0]))


def highest(values):
    """The largest of them."""
    return max(values)


def length(doc, results):
    """How long the answer is: numbers that are no shares."""
    return {"n_characters": len(results[0]), "n_words": len(results[0].split())}


def _mean(values, digits):
    return round(sum(values) / len(values), digits)


mean_of = partial(_mean, digits=3)  # which has no name, as those of lm-eval's `squadv2`


class Mixed(ConfigurableTask):
    """A text and the probability of another one for each document, as `squadv2` asks."""

    VERSION = 1

    def __init__(self, config=None):
        """Take the documents of this module."""
        super().__init__(config={"metadata": {"version": 1}, "custom_dataset": docs, "test_split": "test"})

    def doc_to_text(self, doc):
        """The question."""
        return doc["question"]

    def doc_to_target(self, doc):
        """The answer."""
        return " " + doc["answer"]

    def construct_requests(self, doc, ctx, **kwargs):
        """One request of each type."""
        for name in ("apply_chat_template", "chat_template"):
            kwargs.pop(name, None)
        written = {"until": ["\n"], "max_gen_toks": 8}
        return [
            Instance(request_type="generate_until", doc=doc, arguments=(ctx, written), idx=0, **kwargs),
            Instance(request_type="loglikelihood", doc=doc, arguments=(ctx, " no"), idx=1, **kwargs),
        ]

    def process_results(self, doc, results):
        """Whether the text is right, and the log-probability of the other."""
        text, (log_prob, _) = results
        return {"exact": float(text.strip() == doc["answer"]), "log_prob": log_prob}

    def aggregation(self):
        """Means."""
        return {"exact": lambda values: sum(values) / len(values), "log_prob": min}

    def higher_is_better(self):
        """More of both."""
        return {"exact": True, "log_prob": True}
