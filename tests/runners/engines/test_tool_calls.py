"""Tool calls in what a model wrote: the common formats are read, and what cannot be read is told."""

from __future__ import annotations

import json
import time

import pytest

from runners.engines.marked_calls import ToolCall
from runners.engines.tool_calls import AnswerParts, read_answer, served_calls

CALL = ToolCall("share_report", {"id": "R1234", "copies": 3})
ONE = json.dumps({"name": CALL.name, "arguments": CALL.arguments})
FORMATS = {
    "plain": ONE,
    "hermes": f"I will share it.\n<tool_call>\n{ONE}\n</tool_call>",
    "llama": json.dumps({"name": CALL.name, "parameters": CALL.arguments}),
    "llama with a tag": f"<|python_tag|>{ONE}",
    "mistral": f"[TOOL_CALLS] [{ONE}]",
    "newer mistral": '[TOOL_CALLS]share_report[ARGS]{"id": "R1234", "copies": 3}',
    "newer mistral without its marks": 'share_report{"id": "R1234", "copies": 3}',
    "python list": '[share_report(id="R1234", copies=3)]',
    "python": 'share_report(id="R1234", copies=3)',
    "qwen coder": "<tool_call>\n<function=share_report>\n<parameter=id>\nR1234\n</parameter>\n"
    "<parameter=copies>\n3\n</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>share_report\n<arg_key>id</arg_key>\n<arg_value>R1234</arg_value>\n"
    "<arg_key>copies</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "fenced": f"```json\n{ONE}\n```",
    "openai": json.dumps({"type": "function", "function": {"name": CALL.name, "arguments": CALL.arguments}}),
    "gpt-oss": "<|channel|>analysis<|message|>I share it.<|end|><|start|>assistant<|channel|>commentary"
    ' to=functions.share_report <|constrain|>json<|message|>{"id": "R1234", "copies": 3}<|call|>',
    "gpt-oss without its marks": "analysisI share it.assistantcommentary to=functions.share_report json"
    '{"id": "R1234", "copies": 3}',
    "deepseek v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>share_report\n```json\n"
    '{"id": "R1234", "copies": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek v3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>share_report<｜tool▁sep｜>"
    '{"id": "R1234", "copies": 3}'
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek v3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="share_report">\n'
    '<｜DSML｜parameter name="id" string="true">R1234</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="copies" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    "</｜DSML｜function_calls>",
    "kimi k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.share_report:0"
    "<|tool_call_argument_begin|>"
    '{"id": "R1234", "copies": 3}<|tool_call_end|><|tool_calls_section_end|>',
    "kimi k2 without its marks": 'functions.share_report:0{"id": "R1234", "copies": 3}',
    "minimax": '<minimax:tool_call>\n<invoke name="share_report">\n<parameter name="id">R1234</parameter>\n'
    '<parameter name="copies">3</parameter>\n</invoke>\n</minimax:tool_call>',
    "functiongemma": "<start_function_call>"
    "call:share_report{copies:3,id:<escape>R1234<escape>}<end_function_call>",
    "gemma 4": '<|tool_call>call:share_report{copies:3,id:<|"|>R1234<|"|>}<tool_call|>',
    "gemma without its marks": "call:share_report{copies:3,id:R1234}",
    "gemma 3": '```tool_code\nprint(default_api.share_report(id="R1234", copies=3))\n```',
    "olmo 3": '<function_calls>\nshare_report(id="R1234", copies=3)\n</function_calls>',
    "lfm2": '<|tool_call_start|>[share_report(id="R1234", copies=3)]<|tool_call_end|>I share it.',
    "command": '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "share_report", "parameters": '
    '{"id": "R1234", "copies": 3}}]<|END_ACTION|>',
    "phi": f"<|tool_call|>[{ONE}]<|/tool_call|>",
    "llama 3.1": '<function=share_report>{"id": "R1234", "copies": 3}</function>',
    "seed": "<seed:tool_call>\n<function=share_report>\n<parameter=id>R1234</parameter>\n"
    "<parameter=copies>3</parameter>\n</function>\n</seed:tool_call>",
    "arguments as text": json.dumps({"name": CALL.name, "arguments": json.dumps(CALL.arguments)}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_tool_calls_of_each_format_are_read(name: str) -> None:
    found = read_answer(FORMATS[name], known=["share_report"])
    assert (found.calls, found.problem) == ((CALL,), None)


def test_tool_calls_several_of_one_answer_are_read_in_order() -> None:
    other = ToolCall("archive_memo", {})
    second = '{"name": "archive_memo", "arguments": {}}'
    for text in (f"{ONE}\n{second}", f"[{ONE}, {second}]",
                 f"<tool_call>{ONE}</tool_call><tool_call>{second}</tool_call>",
                 '[share_report(id="R1234", copies=3), archive_memo()]',
                 "call:share_report{id:<escape>R1234<escape>,copies:3}call:archive_memo{}",
                 'functions.share_report:0{"id": "R1234", "copies": 3}functions.archive_memo:1{}',
                 'to=functions.share_report json{"id": "R1234", "copies": 3} to=functions.archive_memo {}',
                 '```tool_code\nshare_report(id="R1234", copies=3)\narchive_memo()\n```'):  # fmt: skip
        assert read_answer(text, known=["share_report", "archive_memo"]).calls == (CALL, other)


def test_tool_calls_values_of_gemma_are_texts_numbers_lists_and_objects() -> None:
    text = (
        "call:plan{at:<escape>7:30, or {later}<escape>,days:[1,2.5,<escape>Mo<escape>],"
        "opt:{loud:true,who:null}}"
    )
    (call,) = read_answer(text).calls
    assert call.arguments == {
        "at": "7:30, or {later}",
        "days": [1, 2.5, "Mo"],
        "opt": {"loud": True, "who": None},
    }


@pytest.mark.parametrize(
    "text",
    ["Done.", "", 'It costs {"price": 3}.', "The list is [1, 2, 3].", "print(x)", "Ask me (or her)."],
)
def test_tool_calls_words_are_no_call(text: str) -> None:
    assert read_answer(text, known=["share_report"]) == AnswerParts(text=text)


DEEP = '{"name": "x", "arguments": ' + "[" * 100_000
HOSTILE = {
    "broken": ('<tool_call>{"name": "share_report", "arguments": {"id": </tool_call>', "not readable"),
    "half a character": ('{"name": "x", "arguments": {"id": "\\ud800"}}', "not readable"),
    "no number": ('{"name": "x", "arguments": {"id": NaN}}', "not readable"),
    "digits without end": ('{"name": "x", "arguments": {"id": ' + "9" * 100_000 + "}}", "not readable"),
    "10 MB": ('{"name": "x", "arguments": {"id": "' + "a" * 10_000_000 + '"}}', "too large"),
    "deep": (DEEP, None),
    "deep and closed": (DEEP + "]" * 100_000 + "}", None),
    "deep Python": ("x(a=" + "[" * 5_000 + "]" * 5_000 + ")", None),
    "open functions": ("<function=x>" * 15_000, "not readable"),
    "open keys": ("<tool_call>" + "<arg_key>" * 20_000 + "</tool_call>", "not readable"),
    "names": ('"name":' * 28_000, None),
    "blanks": ("x" + " " * 190_000, None),
    "blanks in Python": (" " * 190_000 + "x(", None),
    "open braces": ("{" * 199_000, None),
    "open objects": ('{"a":' * 39_000, None),
} | {  # marks whose end never comes, each of which would look through the whole rest
    f"only {mark!r}": ((mark * 200_000)[:199_000], None)
    for mark in ('"name":', "<function=x>", "<function=x><parameter=a>", "<tool_call>x<arg_key>",
                 "<tool_call>x<arg_key></arg_value>", "[TOOL_CALLS]x ", "x(a=", "<tool_call>x ",
                 "to=functions.x ", "functions.x:1 ", "<｜tool▁call▁begin｜>x ", '<invoke name="x">',
                 "call:x{a:", "call:x{", "call:x{a:<escape>", "call:x{a:[", "<function=x> ", "}call:x",
                 "```tool_code", "x(a=1)\n", '<invoke name="x"><parameter name="a">', "<function_calls>")
} | {"blanks": ("[TOOL_CALLS]x" + " " * 199_000, "not readable")}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_tool_calls_hostile_answers_cost_little_and_are_told(name: str) -> None:
    text, problem = HOSTILE[name]
    started = time.process_time()
    found = read_answer(text, known=["x"])
    assert time.process_time() - started < 5.0
    assert found.calls == ()
    assert found.text == text
    if problem is not None:
        assert found.problem == problem


def test_tool_calls_of_a_server_are_joined_and_what_is_no_json_is_kept() -> None:
    pieces = {1: ("archive_memo", ""), 0: ("share_report", '{"id": "R1234", "copies": 3}'), 2: ("x", "{oh")}
    found = served_calls(pieces)
    assert found == (CALL, ToolCall("archive_memo", {}), ToolCall("x", "{oh"))
    assert read_answer("", given=found).calls == found
