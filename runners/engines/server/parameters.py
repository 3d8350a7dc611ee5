"""What a server does not take of a request: read from its refusal, then left out or renamed for good.

Not covered: a parameter without which the request would mean something else (`messages`, `response_format`,
the thinking switch): its refusal is the request's.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# How a sentence says that a parameter is not taken: OpenAI, Azure, Bedrock, Groq, Gemini, LiteLLM, FastAPI.
UNKNOWN = re.compile(
    r"unsupported|(?:not|n't|longer) support|unrecogni[sz]ed|unknown|unexpected|extra (?:inputs|fields)"
    r"|extraneous|not (?:be )?permitted|not allowed|deprecated|forbidden|removed in",
    re.IGNORECASE,
)
# The same of two that the server does not take together.
EXCLUSIVE = re.compile(
    r"cannot both|can(?:not|'t) be .{0,20}together|mutually exclusive|only one of|not both", re.I
)
# The same of its value, which is no reason to rename it.
WRONG_VALUE = re.compile(
    r"must|(?:only|should|cannot|can't) be|only the default|supports up to|invalid|out of range"
    rf"|{EXCLUSIVE.pattern}",
    re.IGNORECASE,
)
# Of the length of this one request, which may name `max_tokens` too.
TOO_LONG = re.compile(r"too large|too long|context (?:length|window)|maximum.{0,40}tokens", re.IGNORECASE)
# Of what the prompt says, which may name anything.
ABOUT_CONTENT = re.compile(
    r"content.{0,12}(?:filter|polic|management)|usage polic|moderat|safety|flagged|jailbreak|blocked"
    r"|(?:prompt|input|messages?) (?:was|were|is|has|contains?)\b",
    re.IGNORECASE,
)
CONTENT_WORD = re.compile(r"\b(?:contents?|prompts?|messages?|words?|phrases?|text|topics?)\b", re.IGNORECASE)
PARAMETER_WORD = r"(?:parameter|param|argument|property|field|option|key|setting|input|name)"
# After these words a sentence names what may be used instead.
INSTEAD = re.compile(
    r"did you mean|\b(?:please )?(?:use|try|remove)\b|(?:must be|expected) one of|\b(?<!un)supported \w+ are",
    re.IGNORECASE,
)
QUOTED = re.compile(
    r"(?P<mark>[`\"])(?P<marked>.*?)(?P=mark)|(?<!\w)'(?P<single>.*?)'(?!\w)|“(?P<curly>.*?)”", re.DOTALL
)
UNCLOSED = re.compile(r"[`\"“].*|(?<!\w)'.*", re.DOTALL)  # text that was cut
LOC_IN_TEXT = re.compile(
    r"""['"]loc['"]: ?[(\[]['"]body['"], ?['"](\w+)"""
)  # a list of FastAPI's, written out
SENTENCE_END = re.compile(r"(?<=[.;!?])\s+|\n")
VERB = r"(?::|is|are|isn't|aren't|must|can|cannot|can't|may|does|doesn't|has|not|should)"
OF_AN_ERROR = re.compile(r"error|exception|request|invalid|failed", re.IGNORECASE)  # "HTTP error 400: "
MAX_TEXT = 2000  # characters of one message; what follows repeats the request
# Fields of a refusal that are no sentence, or repeat the request.
NO_TEXT = ("input", "body", "type", "code", "status", "param", "loc", "error_type", "object", "ctx", "url")
RENAMED = {"max_tokens": "max_completion_tokens"}
# What may be left out, with the value that means the same as nothing; `stop` is also applied here.
DROPPABLE: Mapping[str, Any] = {
    "temperature": None, "top_p": 1.0, "seed": None, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "stop": ...,
}  # fmt: skip
_log = logging.getLogger(__name__)


class ServerParameters:
    """The parameters that one server refuses; `differences` are sentences about those that change answers."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        """`options`: the user's KEY=VALUE, which replace fields of a request, or leave them out if `null`."""
        self.options = dict(_option(one) for one in options)
        self.dropped: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.differences: list[str] = []

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as this server takes it, with the user's options."""
        kept = {name: value for name, value in body.items() if name not in self.dropped}
        given = {name: value for name, value in {**kept, **self.options}.items() if value is not None}
        return {self.renamed.get(name, name): value for name, value in given.items()}

    def learn(self, answer: bytes, body: Mapping[str, Any]) -> bool:
        """Take in the refusal of `body`, as it was sent; False: it blames nothing that can be left out."""
        known = {name for name in (*DROPPABLE, *RENAMED) if name in body}
        named = blamed_parameters(answer, known)
        blamed = named - self.options.keys()
        # one that says nothing goes first: without it the server may take the others
        neutral = {name for name in blamed if name in DROPPABLE and DROPPABLE[name] == body[name]}
        if neutral:
            blamed = neutral
        elif len(named) > 1 and EXCLUSIVE.search(" ".join(_texts(_parsed(answer)))):
            blamed.discard("temperature")
        for name in sorted(blamed - self.dropped - self.renamed.keys()):
            if name in RENAMED:
                self.renamed[name] = RENAMED[name]
            else:
                self.dropped.add(name)
                if DROPPABLE[name] not in (body[name], ...):
                    applies = f"its own default applies instead of {body[name]!r}"
                    self.differences.append(f"the server does not take `{name}`, so {applies}")
                    _log.warning("%s", self.differences[-1])
        return bool(blamed)


def _option(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; a value that is no JSON is text."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def blamed_parameters(answer: bytes, sent: set[str]) -> set[str]:
    """The names in `sent` that the body of a refusal (HTTP 400 or 422) gives as its cause."""
    document = _parsed(answer)
    texts = list(_texts(document))
    whole = " ".join(text[:MAX_TEXT] for text in texts)
    named = set(_named(document)) | set(LOC_IN_TEXT.findall(whole))
    blamed = named & sent
    if not named or EXCLUSIVE.search(whole):
        blamed |= {name for text in texts for name in _mentioned(text, sent)}
    is_unknown = UNKNOWN.search(whole) is not None
    return blamed if is_unknown and not TOO_LONG.search(whole) else blamed - RENAMED.keys()


def _parsed(answer: bytes | str) -> Any:
    """The JSON of an answer, also behind a few words; without any, its text."""
    text = answer if isinstance(answer, str) else answer.decode(errors="replace")
    for begin in (0, text.find("{")):
        try:
            document = json.loads(text[max(0, begin) :])
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict | list | str):
            return document
    return text


def _mentioned(text: str, sent: set[str]) -> Iterator[str]:
    """The names that the sentences of a message blame, outside of longer quotations."""
    plain = UNCLOSED.sub(" ", QUOTED.sub(_only_a_name, text[:MAX_TEXT]))
    if ABOUT_CONTENT.search(plain):
        return
    for place, sentence in enumerate(SENTENCE_END.split(plain)):
        said = INSTEAD.split(sentence)[0]
        is_refusal = UNKNOWN.search(said) or WRONG_VALUE.search(said)
        is_about = re.search(PARAMETER_WORD, said, re.IGNORECASE) or not CONTENT_WORD.search(said)
        if is_refusal and is_about:
            yield from (name for name in sent if _is_named(name, said, is_first=place == 0))


def _only_a_name(quoted: re.Match[str]) -> str:
    """A quotation that is one name, between brackets of ours; of any other only a space."""
    inner = next(part for part in quoted.group("marked", "single", "curly") if part is not None)
    return f"⟦{inner}⟧" if re.fullmatch(r"\w+", inner) else " "


def _is_named(name: str, said: str, *, is_first: bool) -> bool:
    """Whether a sentence has the name in quotes, beside a word such as "parameter", or as its subject."""
    one = rf"\b{name.replace('_', '_?')}\b"
    before = r"(?:\w+(?:, (?:and )?| and | or ))*"  # the others of a list
    after = r"(?:(?:, (?:and )?| and | or )\w+)*"
    forms = [
        rf"⟦{one}⟧",
        rf"{PARAMETER_WORD}s?(?: supplied| found| names?)?\s*:?\s*[\[(]?(?:\w+\.)?{before}{one}(?!\.\w)",
        rf"\bthe {before}{one}{after}(?: sampling)? {PARAMETER_WORD}",
        rf"{one} (?:sampling )?(?:parameter|param|argument)",
    ]
    if is_first and any(
        re.match(rf"\W{{,9}}(?:the )?{before}{one}{after}\s*{VERB}(?!\w)", subject, re.IGNORECASE)
        for subject in _subjects(said)
    ):
        return True
    return any(re.search(form, said, re.IGNORECASE) for form in forms)


def _subjects(said: str) -> Iterator[str]:
    """A sentence, and what is left of it without the names of an error before it."""
    yield said
    for colon in re.finditer(r":\s", said):
        if OF_AN_ERROR.search(said[: colon.start()].rpartition(":")[2]):
            yield said[colon.end() :]


def _named(document: Any) -> Iterator[str]:
    """The names in the fields meant for them: OpenAI's `param`, the `loc` of FastAPI."""
    if isinstance(document, str):
        nested = _parsed(document) if "{" in document else ""
        yield from () if isinstance(nested, str) else _named(nested)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key == "param" and isinstance(value, str):
                yield from (found.group() for part in value.split(",") if (found := re.search(r"\w+", part)))
            elif key == "loc" and isinstance(value, list):
                yield from [part for part in value if isinstance(part, str) and part != "body"][:1]
            elif key not in NO_TEXT:
                yield from _named(value)
    elif isinstance(document, list):
        for one in document:
            yield from _named(one)


def _texts(document: Any) -> Iterator[str]:
    """Every sentence in it, but not what it repeats of the request."""
    if isinstance(document, str):
        nested = _parsed(document) if "{" in document else ""
        yield from [document] if isinstance(nested, str) else _texts(nested)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key not in NO_TEXT:
                yield from _texts(value)
    elif isinstance(document, list):
        for one in document:
            yield from _texts(one)
