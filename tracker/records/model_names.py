"""How sources write models' names: a provider in front, the effort behind, dashes for dots, words reordered.

Pure functions of a name. Two spellings with the same `name_key` name the same model if the same organization
made it; the caller checks that, and the dates.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import date, timedelta

# an organization, a provider or an account as sources write it → the maker's accounts on the Hub
ACCOUNTS = {
    "01.ai": ("01-ai",),
    "ai2": ("allenai",),
    "alibaba": ("qwen",),
    "alibaba-cn": ("qwen",),
    "allen institute for ai": ("allenai",),
    "arcee ai": ("arcee-ai",),
    "baichuan": ("baichuan-inc",),
    "baidu": ("baidu",),
    "bigcode": ("bigcode",),
    "bytedance": ("bytedance-seed",),
    "cerebras systems": ("cerebras",),
    "cohere": ("coherelabs", "cohereforai"),
    "databricks": ("databricks",),
    "deepseek": ("deepseek-ai",),
    "google": ("google",),
    "google deepmind": ("google",),
    "google-vertex": ("google",),
    "hugging face": ("huggingfacetb",),
    "huggingface": ("huggingfacetb",),
    "ibm": ("ibm-granite",),
    "kimi": ("moonshotai",),
    "lg ai research": ("lgai-exaone",),
    "liquid ai": ("liquidai",),
    "llama": ("meta-llama",),  # Meta's own API, as models.dev names it
    "meituan": ("meituan-longcat",),
    "meta": ("meta-llama",),
    "meta ai": ("meta-llama",),
    "microsoft": ("microsoft",),
    "microsoft azure": ("microsoft",),
    "microsoft research": ("microsoft",),
    "minimax": ("minimaxai",),
    "minimax-cn": ("minimaxai",),
    "mistral": ("mistralai",),
    "mistral ai": ("mistralai",),
    "moonshot": ("moonshotai",),
    "moonshot ai": ("moonshotai",),
    "moonshotai": ("moonshotai",),
    "moonshotai-cn": ("moonshotai",),
    "mosaicml": ("mosaicml",),
    "nous research": ("nousresearch",),
    "nvidia": ("nvidia",),
    "openai": ("openai",),
    "prime intellect": ("primeintellect",),
    "qwen": ("qwen",),
    "shanghai ai laboratory": ("internlm", "opengvlab"),
    "stability ai": ("stabilityai",),
    "stepfun": ("stepfun-ai",),
    "technology innovation institute": ("tiiuae",),
    "tencent": ("tencent",),
    "thinking machines": ("thinkingmachines",),
    "tii": ("tiiuae",),
    "together": ("togethercomputer",),
    "x-ai": ("xai-org",),
    "xai": ("xai-org",),
    "xiaomi": ("xiaomimimo",),
    "z-ai": ("zai-org",),
    "z.ai": ("zai-org",),
    "z.ai (zhipu ai)": ("zai-org",),
    "zai": ("zai-org",),
    "zhipu ai": ("zai-org",),
    "zhipuai": ("zai-org",),
}
NameKey = tuple[tuple[str, ...], tuple[str, ...]]  # version numbers in order, words sorted
MAKERS = frozenset(account for accounts in ACCOUNTS.values() for account in accounts)
# Between the day that a source gives and that of the repository or of the dated snapshot: of the 78 models of
# data/frontier/models.csv with both, 71 lie within 32 days, the others 51 or more apart.
SAME_RELEASE = timedelta(days=45)
# routes of one model at a provider: `:free`, `:0` of Bedrock, `-maas` of Vertex; `:120b` is a size
_ROUTE = re.compile(r"(?i)(?::(?:free|beta|nitro|floor|online|extended|exacto|batch|latest|\d)|-maas|-tee)$")
_EFFORT = r"(?:minimal|low|medium|high|xhigh)"
_BUDGET = r"\d+k"
_THINKING = rf"(?:(?:no|non)[-_ ]?)?(?:thinking|reasoning)(?:[-_ ](?:{_EFFORT}|max|{_BUDGET}))?"
_SUFFIX = re.compile(
    rf"(?i)(?:[-_ ](?:{_THINKING}|{_EFFORT}|instant|adaptive)"
    rf"|_(?:none|max|{_BUDGET}|unspecified)|\s*\((?P<note>[^()]*)\))$"
)  # a maker's own `-max`, as in `qwen3-max`, is another model
# an effort, or a model of its own like Phi-4-reasoning
THINKING = re.compile(r"(?i)(?<!no[-_ ])(?<!non[-_ ])(?:thinking|reasoning)$")
_NOTE = re.compile(rf"(?i)^(?:{_THINKING}|{_EFFORT}|max|none|instant|adaptive|{_BUDGET})(?:\s+effort)?$")
_DATE = re.compile(r"[-_@ ](?P<year>20\d\d)-?(?P<month>\d\d)-?(?P<day>\d\d)$")
KEPT = 65_536  # names whose key is remembered: matching asks for the same ones again and again
# words by which two names of one release differ: before and after it is final, base and chat model
_SAME_DAY = frozenset(("preview", "beta", "latest", "it", "instruct", "chat", "base"))


def accounts(organization: str) -> tuple[str, ...]:
    """The accounts on the Hub of every maker in a list such as `DeepSeek,Peking University`, casefolded."""
    whole = organization.casefold().strip()
    if whole in ACCOUNTS:
        return ACCOUNTS[whole]
    found: list[str] = []
    for part in whole.split(","):
        if name := part.strip():
            found += ACCOUNTS.get(name, (name,))
    return tuple(dict.fromkeys(found))


def bare_name(name: str) -> str:
    """The last part of a path of providers, without a route: `chutes/zai-org/GLM-5:free` is `GLM-5`."""
    return _ROUTE.sub("", name.rpartition("/")[2]).replace(":", "-")


@functools.lru_cache(KEPT)
def without_effort(name: str) -> str:
    """The name without suffixes for the effort: `gpt-oss-120b_high`, `kimi-k2.5-instant`, `GPT-5.4 (xhigh)`.

    What is left must have a version: `mistral-medium` stays as it is.
    """
    while found := _SUFFIX.search(name):
        note = found.group("note")
        words = [word.strip() for word in note.split(",")] if note is not None else []
        rest = name[: found.start()]
        if not all(_NOTE.match(word) for word in words) or not re.search(r"\d", rest):
            break
        name = rest
    return name


def named_date(name: str) -> date | None:
    """The day at the end of a name: `claude-opus-4-5-20251101`; None if it has none."""
    found = _DATE.search(name)
    if found is None:
        return None
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None


def is_same_release(one: date | None, other: date | None) -> bool | None:
    """Whether two days can be those of one release; None if one is not known."""
    if one is None or other is None:
        return None
    return abs(one - other) <= SAME_RELEASE


def spellings(name: str) -> Iterator[str]:
    """The name as written, without its effort, and without its date: up to three, the surest first."""
    bare = bare_name(name)
    model = without_effort(bare)
    yield from dict.fromkeys((bare, model, _DATE.sub("", model)))


@functools.lru_cache(KEPT)
def name_key(name: str) -> NameKey:
    """What all spellings of a name share: its version numbers in order, and its words in any order.

    A number with a unit is a word: `llama-3-3-instruct-70b` and `Llama-3.3-70B-Instruct` agree, `Qwen2.5-3B`
    and `Qwen3.5-2B` do not.
    """
    text = re.sub(r"(?<=\d)p(?=\d)", ".", name.casefold())  # `kimi-k2p5`
    tokens = re.findall(r"\d+[a-z]+|\d+|[a-z]+", text)
    numbers = tuple(token for token in tokens if token.isdigit())
    return numbers, tuple(sorted(token for token in tokens if not token.isdigit()))


def model_key(name: str) -> NameKey:
    """The key of the model that a name is a variant of: without provider and effort."""
    return name_key(without_effort(bare_name(name)))


def released_key(name: str) -> NameKey:
    """The key that all names of one release share, such as `gemini-3-pro-preview` and `gemini-3-pro`."""
    numbers, words = name_key(name)
    return numbers, tuple(word for word in words if word not in _SAME_DAY)
