"""The forms in which models answer: each is read as what it states, or refused; none is guessed."""

from __future__ import annotations

import ast
import html
import json
import time
from dataclasses import replace

import pytest

from runners.research.agents.parse_change import read_change
from runners.research.agents.prompting import prompt_messages, repair_messages
from runners.research.problem.script import regions, shipped
from runners.research.problem.tiers import TIERS, tier
from tests.doubles.research_asks import ask, study
from tracker.records.studies import Track

SCRIPT = shipped(tier("smoke"))
BETA2 = next(line for line in SCRIPT.splitlines() if "beta2: float" in line)
BETA1 = next(line for line in SCRIPT.splitlines() if "beta1: float" in line)
NEW_BETA2 = "    beta2: float = 0.98"
TAB = "\t"
CODE_ASK = ask(study("model", track=Track.CODE))
PARAMS_ASK = ask(study("model"))


def block(search: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{search}\n=======\n{new}\n>>>>>>> REPLACE\n"


def function(name: str) -> str:
    """The code of a definition of the script."""
    region = regions(SCRIPT).editable
    start = next(i for i in (region.find(f"def {name}("), region.find(f"class {name}")) if i >= 0)
    return region[start:].split("\n\n\n")[0]


def replies(old: str, new: str) -> str:
    """The whole script after `old` became `new`, which stands there once."""
    assert SCRIPT.count(old) == 1
    return SCRIPT.replace(old, new)


PLAIN = block("    beta2: float = 0.95", NEW_BETA2)
LR_SCALE = function("lr_scale")
NEW_LR_SCALE = LR_SCALE.replace("return 1.0", "return 0.9")
MLP = function("Mlp")
NEW_MLP = MLP.replace("F.relu(self.up(x)).square()", "F.gelu(self.up(x))")
TUNED = SCRIPT.replace(BETA2, NEW_BETA2)
SCALED = SCRIPT.replace(LR_SCALE, NEW_LR_SCALE)
GELU = SCRIPT.replace(MLP, NEW_MLP)
REGION = regions(SCRIPT).editable
DIFF_LINES = f""" {BETA1}
-{BETA2}
+{NEW_BETA2}"""
RELU = "        return self.down(F.relu(self.up(x)).square())"
GELU_LINE = "        return self.down(F.gelu(self.up(x)))"
FORWARD = MLP[MLP.index("    def forward") :]
NEW_FORWARD = NEW_MLP[NEW_MLP.index("    def forward") :]
CLIP = """        if self.t.grad_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.t.grad_clip)
        self.optimizer.step(lr_scale(progress, self.t))"""
OPTIMIZER = function("Optimizer")
OLD_STEP = OPTIMIZER[OPTIMIZER.index("    @torch.no_grad()") :]
NEW_STEP = OLD_STEP.replace("self.n_steps += 1", "self.n_steps += 2")
STEPPED = SCRIPT.replace(OLD_STEP, NEW_STEP)
ROTATED = "def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:"
NEW_CLIP = CLIP.replace("self.t.grad_clip > 0", "progress > 0.1")
KIND = next(line for line in SCRIPT.splitlines() if 'name.split(".")' in line)
NEW_KIND = "            kind = name.partition('.')[0]"

CODE_FORMS: dict[str, tuple[str, str]] = {
    # the form that was asked for, and its variants
    "asked for, whole line": ("Why.\n" + block(BETA2, NEW_BETA2), TUNED),
    "without the comment of the line": ("Why.\n" + PLAIN, TUNED),
    "in a fence": (f"```python\n{PLAIN}```", TUNED),
    "fences inside the parts": (
        block(f"```python\n{BETA2}\n```", f"```python\n{NEW_BETA2}\n```"),
        TUNED,
    ),
    "after the file's name": (f"train.py\n```\n{PLAIN}```\nDone.", TUNED),
    "with a colon": (PLAIN.replace("SEARCH", "SEARCH:").replace("REPLACE", "REPLACE:"), TUNED),
    "in small letters": (PLAIN.replace("SEARCH", "search").replace("REPLACE", "replace"), TUNED),
    "ORIGINAL and UPDATED": (PLAIN.replace("SEARCH", "ORIGINAL").replace("REPLACE", "UPDATED"), TUNED),
    "short markers": (
        PLAIN.replace("<<<<<<<", "<<<").replace("=======", "===").replace(">>>>>>>", ">>>"),
        TUNED,
    ),
    "text after REPLACE": (PLAIN.replace(">>> REPLACE", ">>> REPLACE This remembers longer."), TUNED),
    "no blank after the arrows": (
        PLAIN.replace("< SEARCH", "<SEARCH").replace("> REPLACE", ">REPLACE"),
        TUNED,
    ),
    "CRLF": (PLAIN.replace("\n", "\r\n"), TUNED),
    "trailing blanks": (block(BETA2 + "  ", NEW_BETA2), TUNED),
    "without indentation": (block("beta2: float = 0.95", "beta2: float = 0.98"), TUNED),
    "labels and fences": (
        f"**SEARCH:**\n```python\n{BETA2}\n```\n**REPLACE:**\n```python\n{NEW_BETA2}\n```\n",
        TUNED,
    ),
    "labels alone": (f"SEARCH:\n{BETA2}\nREPLACE:\n{NEW_BETA2}\n", TUNED),
    "after the number of its first line": (
        PLAIN.replace("SEARCH\n", "SEARCH\n:start_line:41\n-------\n"),
        TUNED,
    ),
    "after a character that nobody sees": (block(f"\u200b{BETA2}", NEW_BETA2), TUNED),
    "typographic quotes in the new lines": (
        block(KIND, NEW_KIND.replace("'.'", "“.”")),
        SCRIPT.replace(KIND, NEW_KIND),
    ),
    "options weighed before": (f"Option A: beta1.\nOption B: beta2, which I take.\n{PLAIN}", TUNED),
    # thinking
    "an answer in tags after thinking that is not closed": (
        f"<think>{block(BETA1, 'x')}\n<answer>{PLAIN}</answer>",
        TUNED,
    ),
    "in the marks of Kimi": (f"◁think▷{block(BETA1, 'x')}◁/think▷{PLAIN}", TUNED),
    "folded by a chat": (
        f'<details type="reasoning" done="true">{block(BETA1, "x")}</details>\n{PLAIN}',
        TUNED,
    ),
    "draft in <think>": (f"<think>{block(BETA1, '    beta1: float = 0.5')} no.</think>\n{PLAIN}", TUNED),
    "half a draft in <think>": (f"<think>\n<<<<<<< SEARCH\n{BETA1}\n hm</think>{PLAIN}", TUNED),
    "thinking without its beginning": (f"{block(BETA1, '    beta1: float = 0.5')}</think>{PLAIN}", TUNED),
    "draft in <reasoning>": (f"<reasoning>{block(BETA1, 'x')}</reasoning>{PLAIN}", TUNED),
    "gpt-oss channels": (
        f"<|channel|>analysis<|message|>{block(BETA1, 'x')}<|end|><|start|>assistant<|channel|>final"
        f"<|message|>{PLAIN}<|return|>",
        TUNED,
    ),
    "gpt-oss without special tokens": (f"analysisWe try {block(BETA1, 'x')}assistantfinal{PLAIN}", TUNED),
    "in <answer>": (f"<think>hm</think><answer>{PLAIN}</answer>", TUNED),
    "a thought between the reason and the edit": (f"Why:<think>hm</think>{PLAIN}", TUNED),
    "more thinking behind": (f"{PLAIN}<reflection>{block(BETA1, 'x')}</reflection>", TUNED),
    "in [THINK]": (f"[THINK]{block(BETA1, 'x')}[/THINK]{PLAIN}", TUNED),
    "in [REASONING]": (f"[REASONING]{block(BETA1, 'x')}[/REASONING]{PLAIN}", TUNED),
    "an index that is named like thinking": (
        f"Since w[draft] and w[thought] agree:\n{PLAIN}",
        TUNED,
    ),
    # other forms
    "unified diff": (
        f"Why.\n```diff\n--- a/train.py\n+++ b/train.py\n@@ -40,2 +40,2 @@\n{DIFF_LINES}\n```",
        TUNED,
    ),
    "unified diff, bare": (f"--- train.py\n+++ train.py\n@@ -40,2 +40,2 @@\n{DIFF_LINES}\n", TUNED),
    "unified diff without numbers": (f"```diff\n@@\n{DIFF_LINES}\n```", TUNED),
    "unified diff without a head": (f"```diff\n-{BETA2}\n+{NEW_BETA2}\n```", TUNED),
    "unified diff over the marker": (
        "```diff\n@@ -20,4 +20,5 @@\n from torch import Tensor, nn\n from torch.nn import functional as F\n"
        " \n"
        f" {next(x for x in SCRIPT.splitlines() if 'EDITABLE: begin' in x)}\n \n \n @dataclass(frozen=True)\n"
        " class Tunables:\n```\n```diff\n@@\n" + DIFF_LINES + "\n```",
        TUNED,
    ),
    "unified diff with other paths": (
        "```diff\ndiff --git a/src/train.py b/src/new.py\nsimilarity index 98%\nrename from src/train.py\n"
        "rename to src/new.py\n--- a/src/train.py\n+++ b/src/new.py\n@@ -40,2 +40,2 @@\n"
        f"{DIFF_LINES}\n```",
        TUNED,
    ),
    "a function escaped for HTML": (f"```python\n{html.escape(NEW_LR_SCALE)}\n```", SCALED),
    "a function with tabs": (f"```python\n{NEW_LR_SCALE.replace('    ', TAB)}\n```", SCALED),
    "a fence within a fence": (f"````markdown\n```python\n{NEW_LR_SCALE}\n```\n````", SCALED),
    "a fence within one of its own length": (f"```markdown\n```python\n{NEW_LR_SCALE}\n```\n```", SCALED),
    "a call in XML, escaped": (
        f'<invoke name="edit"><parameter name="old_str">{html.escape(ROTATED)}</parameter>'
        f'<parameter name="new_str">{html.escape(ROTATED.replace("rotated", "turned"))}</parameter></invoke>',
        SCRIPT.replace(ROTATED, ROTATED.replace("rotated", "turned")),
    ),
    "tags with CDATA": (
        f"<search><![CDATA[\n{BETA2}\n]]></search><replace><![CDATA[\n{NEW_BETA2}\n]]></replace>",
        TUNED,
    ),
    "apply_patch": (
        f"*** Begin Patch\n*** Update File: train.py\n@@ class Tunables:\n{DIFF_LINES}\n*** End Patch",
        TUNED,
    ),
    "apply_patch without @@": (
        f"```\n*** Begin Patch\n*** Update File: train.py\n-{BETA2}\n+{NEW_BETA2}\n*** End Patch\n```",
        TUNED,
    ),
    "whole file": (f"Why.\n```python\n{SCALED}```", SCALED),
    "whole file, bare": (SCALED, SCALED),
    "whole editable part": (f"```python\n{REGION.replace(LR_SCALE, NEW_LR_SCALE)}```", SCALED),
    "whole class": (f"```python\n{NEW_MLP}\n```", GELU),
    "whole function": (f"Why.\n\n```python\n{NEW_LR_SCALE}\n```", SCALED),
    "whole function beside the old one": (
        f"Now:\n```python\n{LR_SCALE}\n```\nBetter:\n```python\n{NEW_LR_SCALE}\n```",
        SCALED,
    ),
    "one method that names its class by its arguments": (f"```python\n{NEW_FORWARD}\n```", GELU),
    "one method of one class": (f"```python\n{NEW_STEP}\n```", STEPPED),
    "str_replace": (json.dumps({"command": "str_replace", "old_str": BETA2, "new_str": NEW_BETA2}), TUNED),
    "str_replace of a part of a line": (
        json.dumps(
            {
                "command": "str_replace",
                "path": "train.py",
                "old_str": "beta2: float = 0.95",
                "new_str": "beta2: float = 0.98",
            }
        ),
        SCRIPT.replace("beta2: float = 0.95", "beta2: float = 0.98"),
    ),
    "edits": (json.dumps({"edits": [{"old": BETA2, "new": NEW_BETA2}]}), TUNED),
    "search and replace as JSON": (
        f"```json\n{json.dumps({'changes': [{'search': BETA2, 'replace': NEW_BETA2}]}, indent=1)}\n```",
        TUNED,
    ),
    "tool call": (
        "<tool_call>\n"
        + json.dumps({"name": "edit", "arguments": {"old_string": BETA2, "new_string": NEW_BETA2}})
        + "\n</tool_call>",
        TUNED,
    ),
    "tool call, arguments as a text": (
        json.dumps({"function": {"name": "edit", "arguments": json.dumps({"old": BETA2, "new": NEW_BETA2})}}),
        TUNED,
    ),
    "tool call with a patch": (
        json.dumps(
            {
                "name": "apply_patch",
                "arguments": {
                    "input": f"*** Begin Patch\n*** Update File: train.py\n@@\n{DIFF_LINES}\n*** End Patch"
                },
            }
        ),
        TUNED,
    ),
    "tool call with a whole file": (
        json.dumps({"command": "create", "path": "train.py", "file_text": SCALED}),
        SCALED,
    ),
    "tool call in XML": (
        "<tool_call><function=str_replace><parameter=old_str>\n"
        f"{BETA2}\n</parameter>\n<parameter=new_str>\n{NEW_BETA2}\n</parameter></function></tool_call>",
        TUNED,
    ),
    "<search> and <replace>": (f"<search>\n{BETA2}\n</search>\n<replace>\n{NEW_BETA2}\n</replace>", TUNED),
    "a patch as words of a command": (
        json.dumps({"cmd": ["apply_patch", f"*** Begin Patch\n@@\n{DIFF_LINES}\n*** End Patch"]}),
        TUNED,
    ),
    "a patch for a shell": (
        f"```bash\napply_patch <<'EOF'\n*** Begin Patch\n@@\n{DIFF_LINES}\n*** End Patch\nEOF\n```",
        TUNED,
    ),
    "a diff with wrong counts": (
        f"```diff\n--- a/train.py\n+++ b/train.py\n@@ -1,99 +1,3 @@ class Tunables:\n{DIFF_LINES}\n```",
        TUNED,
    ),
    "JSON with a comment and a comma too many": (
        f'{{\n // longer\n "old_str": {json.dumps(BETA2)},\n "new_str": {json.dumps(NEW_BETA2)},\n}}',
        TUNED,
    ),
    "JSON with lists of lines": (json.dumps({"old": [BETA1, BETA2], "new": [BETA1, NEW_BETA2]}), TUNED),
    "a call with keys and values in tags": (
        f"<tool_call>edit\n<arg_key>old_str</arg_key>\n<arg_value>{BETA2}</arg_value>\n"
        f"<arg_key>new_str</arg_key>\n<arg_value>{NEW_BETA2}</arg_value></tool_call>",
        TUNED,
    ),
    "a call with named parameters": (
        f'<invoke name="edit">\n<parameter name="old_str">{BETA2}</parameter>\n'
        f'<parameter name="new_str">{NEW_BETA2}</parameter>\n</invoke>',
        TUNED,
    ),
    "a call after a mark": (
        f"[TOOL_CALLS][{json.dumps({'name': 'edit', 'arguments': {'old': BETA2, 'new': NEW_BETA2}})}]",
        TUNED,
    ),
    "replace this with that": (
        f"Replace\n```python\n{BETA2}\n```\nwith\n```python\n{NEW_BETA2}\n```",
        TUNED,
    ),
    "change these lines to": (
        f"Change these lines:\n```python\n{BETA2}\n```\nTo:\n```python\n{NEW_BETA2}\n```",
        TUNED,
    ),
    "in a quotation": ("".join(f"> {line}\n" for line in PLAIN.splitlines()), TUNED),
    "escaped for HTML": (PLAIN.replace("<", "&lt;").replace(">", "&gt;"), TUNED),
    "the same block twice": (f"{PLAIN}\nSo, once more:\n{PLAIN}", TUNED),
    "another fence around it": (f"````markdown\nHere:\n```python\n{PLAIN}```\n````", TUNED),
    "a function in a list": (
        "1. This:\n\n   ```python\n"
        + "".join(f"   {line}\n" for line in NEW_LR_SCALE.split("\n"))
        + "   ```",
        SCALED,
    ),
    "an open fence in the thinking": (
        f"<think>\n```python\ndef lr_scale():\n    x\n</think>\n{PLAIN}",
        TUNED,
    ),
    # drift
    "a mark before the text and blanks that do not break": (
        "\ufeff" + block(BETA2.replace(" ", "\u00a0"), NEW_BETA2),
        TUNED,
    ),
    "wrong character in a comment": (block(BETA2.replace("§", "S"), NEW_BETA2), TUNED),
    "dropped empty line": (
        block(
            f"    return angle.cos(), angle.sin()\n{ROTATED}",
            f"    return angle.sin(), angle.cos()\n{ROTATED}",
        ),
        replies("    return angle.cos(), angle.sin()", "    return angle.sin(), angle.cos()"),
    ),
    "dropped comment line": (
        block(
            "    weight_decay: float = 0.1\n    beta1: float = 0.9",
            "    weight_decay: float = 0.1\n    beta1: float = 0.8",
        ),
        SCRIPT.replace("beta1: float = 0.9", "beta1: float = 0.8"),
    ),
    "dropped docstring": (
        block(
            MLP.replace('    """Two layers with ReLU² between them."""\n\n', ""),
            NEW_MLP.replace('    """Two layers with ReLU² between them."""\n\n', ""),
        ),
        GELU,
    ),
    "typographic quotes": (block(KIND.replace('"."', "“.”"), NEW_KIND), replies(KIND, NEW_KIND)),
    "copied line numbers": (
        block(
            f"  119 | {CLIP.splitlines()[0]}\n  120 | {CLIP.splitlines()[1]}",
            f"  119 | {NEW_CLIP.splitlines()[0]}\n  120 | {NEW_CLIP.splitlines()[1]}",
        ),
        replies(CLIP, NEW_CLIP),
    ),
    "lines left out on both sides": (
        block("class Mlp(nn.Module):\n    ...\n" + RELU, "class Mlp(nn.Module):\n    ...\n" + GELU_LINE),
        GELU,
    ),
    "lines left out by a comment": (
        block(
            "class Mlp(nn.Module):\n    # ... existing code ...\n" + RELU,
            "class Mlp(nn.Module):\n    # ... existing code ...\n" + GELU_LINE,
        ),
        GELU,
    ),
    "single quotes": (block(KIND.replace('"', "'"), NEW_KIND), replies(KIND, NEW_KIND)),
    "tabs": (block(RELU.replace("    ", "\t"), GELU_LINE.replace("    ", "\t")), GELU),
    "import at the top of the script": (
        block("import dataclasses\nimport json", "import dataclasses\nimport itertools\nimport json") + PLAIN,
        TUNED.replace(
            "@dataclass(frozen=True)\nclass Tun", "import itertools\n@dataclass(frozen=True)\nclass Tun"
        ),
    ),
    "whole function with a new helper and an import": (
        f"```python\nimport itertools\n\nGAIN = 0.9\n\n\n{NEW_LR_SCALE.replace('0.9', 'GAIN')}\n```",
        SCRIPT.replace(LR_SCALE, "GAIN = 0.9\n" + NEW_LR_SCALE.replace("0.9", "GAIN")).replace(
            "@dataclass(frozen=True)\nclass Tun", "import itertools\n@dataclass(frozen=True)\nclass Tun"
        ),
    ),
}
CODE_REFUSED: dict[str, tuple[str, str]] = {
    "a wish": ("I would raise beta2 to 0.98.", "has no SEARCH/REPLACE block"),
    "a refusal": ("I'm sorry, I can't help with that.", "has no SEARCH/REPLACE block"),
    "nothing": ("", "has no SEARCH/REPLACE block"),
    "thinking that never ends": (f"<think>{PLAIN}", "has no SEARCH/REPLACE block"),
    "only gpt-oss's analysis": (f"<|channel|>analysis<|message|>{PLAIN}", "has no SEARCH/REPLACE block"),
    "two places": (block("    return x", "    return x + 1"), "is not in the script"),
    "two places, by code alone": (
        block("        self.t = t", "        self.t = t\n        self.n = 0"),
        "occurs 2 times",
    ),
    "one wrong character of code": (block("    beta2: float = 0.59", NEW_BETA2), "is not in the script"),
    "a last block cut off": (PLAIN + "<<<<<<< SEARCH\n    beta1", "does not end with"),
    "one block of two is stale": (
        PLAIN + block("    beta1: float = 0.85", "    beta1: float = 0.8"),
        "of 2 blocks 1 fit, and none was",
    ),
    "lines left out of the new text alone": (
        block(MLP, "class Mlp(nn.Module):\n    # ... rest unchanged\n" + GELU_LINE),
        "on one side only",
    ),
    "a method of several classes": (
        "```python\ndef __init__(self, t: Tunables) -> None:\n    pass\n```",
        "which class the method",
    ),
    "a class that lacks a method": (
        f"```python\nclass Mlp(nn.Module):\n{NEW_FORWARD}\n```",
        "lacks `__init__`",
    ),
    "a function that leaves lines out": (
        "```python\ndef lr_scale(progress, t):\n    # ... same as before\n    return 0.9\n```",
        "leaves code out",
    ),
    "two different functions of one name": (
        f"```python\n{NEW_LR_SCALE}\n```\nand\n```python\n{NEW_LR_SCALE.replace('0.9', '0.8')}\n```",
        "in several ways",
    ),
    "two forms at once": (
        f"```diff\n@@\n{DIFF_LINES}\n```\n```python\n{NEW_LR_SCALE}\n```",
        "a unified diff and whole code",
    ),
    "a whole file with another frozen part": (
        f"```python\n{SCALED.replace('N_CURVE_POINTS = 100', 'N_CURVE_POINTS = 9')}```",
        "the frozen part",
    ),
    "a frozen function": ("```python\ndef batches(job, batch_size):\n    return []\n```", "the frozen part"),
    "a patch of the frozen part": (
        "*** Begin Patch\n*** Update File: train.py\n@@\n-EXIT_DIVERGED = 21\n+EXIT_DIVERGED = 0\n"
        "*** End Patch",
        "edits the frozen part",
    ),
    "an import that replaces another": (block("import json", "import pickle"), "the frozen part"),
    "a new file": (
        "*** Begin Patch\n*** Add File: x.py\n+x = 1\n*** Update File: train.py\n*** End Patch",
        "adds, deletes",
    ),
    "a patch cut off": (f"*** Begin Patch\n*** Update File: train.py\n@@\n{DIFF_LINES}", "does not end with"),
    "a fence cut off": (f"```python\n{NEW_LR_SCALE}", "ends inside its code"),
    "the same": (f"```python\n{LR_SCALE}\n```", "nothing would change"),
    "two alternatives": (
        f"{block(BETA2, NEW_BETA2)}and\n{block(BETA2, NEW_BETA2.replace('8', '9'))}",
        "of 2 blocks 1 fit, and none was",
    ),
    "two alternatives as diffs": (
        f"```diff\n@@\n{DIFF_LINES}\n```\nand\n```diff\n@@\n{DIFF_LINES.replace('0.98', '0.99')}\n```",
        "of 2 blocks 1 fit, and none was",
    ),
    "a line of a diff cut off": (f"```diff\n@@\n{DIFF_LINES[:-1]}", "ends inside its code"),
    "two options": (
        f"Option A:\n```python\n{NEW_LR_SCALE}\n```\n**Option B**\n```python\n{NEW_MLP}\n```",
        "offers several alternatives",
    ),
    "two options in other places": (
        f"### Option 1\n{PLAIN}### Option 2\n{block(BETA1, '    beta1: float = 0.8')}",
        "offers several alternatives",
    ),
    "this or that": (
        f"{PLAIN}\nor\n\n{block(BETA1, '    beta1: float = 0.8')}",
        "offers several alternatives",
    ),
    "thinking that a chat folds": (
        f"<details>\n<summary>Thought for 9 seconds</summary>\n{PLAIN}</details>\nDone.",
        "has no SEARCH/REPLACE block",
    ),
    "thinking escaped for HTML": (
        f"&lt;think&gt;{PLAIN}&lt;/think&gt;Nothing.",
        "has no SEARCH/REPLACE block",
    ),
    "an answer in the middle of open thinking": (
        f"<think><answer>{PLAIN}</answer> no, that is wrong",
        "has no SEARCH/REPLACE block",
    ),
    "no change": ("NO CHANGE", "has no SEARCH/REPLACE block"),
    "a call to do something": ("```python\ndef f():\n    pass\nprint(1)\n```", "not clear where `print(1)`"),
}


def test_there_are_as_many_forms_as_promised() -> None:
    assert len(CODE_FORMS) >= 54
    assert len(CODE_REFUSED) >= 15
    assert len(PARAMS_FORMS) >= 45
    assert len(PARAMS_REFUSED) >= 15


@pytest.mark.parametrize(("reply", "expected"), CODE_FORMS.values(), ids=list(CODE_FORMS))
def test_an_edit_is_read_in_the_form_of_(reply: str, expected: str) -> None:
    change = read_change(reply, CODE_ASK).change
    assert change.script is not None
    assert ast.dump(ast.parse(change.script)) == ast.dump(ast.parse(expected))
    assert regions(change.script).frozen_hash == regions(SCRIPT).frozen_hash


@pytest.mark.parametrize(("reply", "sentence"), CODE_REFUSED.values(), ids=list(CODE_REFUSED))
def test_no_edit_is_read_out_of_(reply: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_change(reply, CODE_ASK)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", list(TIERS))
def test_the_example_in_the_prompt_applies_as_it_stands(name: str) -> None:
    asked = replace(CODE_ASK, tier=tier(name), script=shipped(tier(name)))
    messages = prompt_messages(asked, max_chars=100_000)
    assert messages is not None
    change = read_change(messages[1]["content"], asked).change
    assert change.script is not None
    assert len(set(asked.script.splitlines()) - set(change.script.splitlines())) == 1


def test_a_repair_shows_the_lines_that_are_most_like_the_wanted_ones() -> None:
    answer = block(RELU.replace("square", "pow2"), GELU_LINE)
    with pytest.raises(ValueError, match="is not in the script") as refused:
        read_change(answer, CODE_ASK)
    (*_, last) = repair_messages([], answer, refused.value, CODE_ASK)
    assert RELU in last["content"]
    with pytest.raises(ValueError, match="is not in the script") as refused:
        read_change(block("zebra = 7\nquagga = 8", "x = 1"), CODE_ASK)
    (*_, last) = repair_messages([], answer, refused.value, CODE_ASK)
    assert "most like" not in last["content"]


# --- numbers ---------------------------------------------------------------------------------------------

ONE = '{"rationale": "why", "changes": [{"name": "beta2", "value": 0.98}]}'
WANTED = {"beta2": 0.98}


def wrapped(**members: object) -> str:
    return json.dumps(members)


PARAMS_FORMS: dict[str, str] = {
    "asked for": ONE,
    "an object": wrapped(rationale="why", changes={"beta2": 0.98}),
    "in a fence": f"Sure:\n```json\n{ONE}\n```\nGood luck {{:-}}",
    "after a draft": f'<think>{{"changes": {{"beta1": 0.5}}}}</think>{ONE}',
    "after thinking without its beginning": f'{{"changes": {{"beta1": 0.5}}}}</think>{ONE}',
    "after <thinking>": f'<thinking>{{"changes": {{"beta1": 0.5}}}}</thinking>{ONE}',
    "in <answer>": f"<answer>{ONE}</answer>",
    "before more thinking": f"{ONE}<think>was that right?</think>",
    "gpt-oss": f"<|channel|>analysis<|message|>{{}}<|end|><|start|>assistant<|channel|>final<|message|>{ONE}",
    "the last word": f'First {{"changes": {{"beta1": 0.5}}}}; no: {ONE}',
    "a text as a value": ONE.replace("0.98", '"0.98"'),
    "a text with its change": ONE.replace("0.98", '"0.95 → 0.98"'),
    "a text with an arrow": ONE.replace("0.98", '"0.95->0.98"'),
    "an extra key": ONE.replace('"value"', '"old": 0.95, "category": "betas", "value"'),
    "another key for the value": ONE.replace('"value"', '"new_value"'),
    "another key for the name": ONE.replace('"name"', '"parameter"'),
    "one item alone": wrapped(name="beta2", value=0.98),
    "one item with its reason": wrapped(name="beta2", value=0.98, rationale="why"),
    "items alone": '[{"name": "beta2", "value": 0.98}]',
    "names alone": wrapped(beta2=0.98),
    "names with a reason": wrapped(rationale="why", beta2=0.98),
    "names with remarks": wrapped(reasoning="why", beta2=0.98, confidence=0.7, category="betas"),
    "params": wrapped(params={"beta2": 0.98}),
    "parameters": wrapped(rationale="why", parameters={"beta2": 0.98}),
    "one member each": wrapped(changes=[{"beta2": 0.98}]),
    "one change without a list": wrapped(changes={"name": "beta2", "value": 0.98}),
    "from and to": wrapped(changes={"beta2": {"from": 0.95, "to": 0.98}}),
    "a call": wrapped(name="propose", arguments=json.loads(ONE)),
    "a call in tags": f'<tool_call>\n{wrapped(name="propose", arguments=json.loads(ONE))}\n</tool_call>',
    "a call with its arguments as a text": wrapped(function={"name": "propose", "arguments": ONE}),
    "a list of calls": wrapped(tool_calls=[{"function": {"name": "propose", "arguments": ONE}}]),
    "a call with parameters": wrapped(name="propose", parameters={"beta2": 0.98}),
    "a comma too many": ONE.replace("}]}", "},],}"),
    "a comment": ONE.replace("}]}", "}] // longer memory\n}"),
    "a comment of Python": ONE.replace("}]}", "}] # longer memory\n}"),
    "a comment of C": ONE.replace('"changes"', '/* what */ "changes"'),
    "single quotes": ONE.replace('"', "'"),
    "typographic quotes": "{“rationale”: “why”, “changes”: [{“name”: “beta2”, “value”: 0.98}]}",
    "an apostrophe in single quotes": ONE.replace('"', "'").replace("why", "it doesn't forget"),
    "quotes in the reason": ONE.replace("why", 'the "right" memory'),
    "a line break in the reason": ONE.replace("why", "longer\nmemory"),
    "a tab in the reason": ONE.replace("why", "longer\tmemory"),
    "True": ONE.replace('"changes"', '"final": True, "changes"'),
    "None": ONE.replace('"changes"', '"other": None, "changes"'),
    "no zero before the point": ONE.replace("0.98", ".98"),
    "a plus": ONE.replace("0.98", "+0.98"),
    "the last brace is missing": ONE[:-1],
    "the last brace is missing in a fence": f"```json\n{ONE[:-1]}\n```",
    "the reason as a list": ONE.replace('"why"', '["longer", "memory"]'),
    "names without quotes": '{rationale: "why", changes: [{name: "beta2", value: 0.98}]}',
    "a name with its category": ONE.replace('"beta2"', '"betas: beta2"'),
    "a name with its class": ONE.replace('"beta2"', '"Tunables.beta2"'),
    "a name with a capital": ONE.replace('"beta2"', '"Beta2"'),
    "a name in backticks": ONE.replace('"beta2"', '"`beta2`"'),
    "a reason under another name": ONE.replace("rationale", "explanation"),
    "all numbers again": wrapped(changes={t.name: t.default for t in PARAMS_ASK.space} | {"beta2": 0.98}),
    "many braces before": "{" * 1000 + ONE,
    "lines of a list": "I try:\n- **beta2**: 0.95 → 0.98\nThat is all.",
    "YAML": "```yaml\nrationale: why\nchanges:\n  - name: beta2\n    value: 0.98\n```",
    "TOML": "```toml\nbeta2 = 0.98\n```",
    "Python": "```python\nbeta2: float = 0.98  # longer memory\n```",
    "a line with its reason": "beta2 = 0.98 (longer memory)\nNothing else.",
    "a call of Python": 'propose(beta2=0.98, rationale="why")',
    "a parameter in tags": '<invoke name="propose"><parameter name="beta2">0.98</parameter></invoke>',
    "escaped for HTML": html.escape(ONE),
    "in tags after open thinking": f'<think>{{"changes": {{"beta1": 0.5}}}}\n<answer>{ONE}</answer>',
    "JSON5": "{ // longer\n rationale: 'why',\n changes: [{name: 'beta2', value: .98,},],\n}",
    "a fence within a fence": f"````markdown\n```json\n{ONE}\n```\n````",
    "a tag of its own": "<changes><beta2>0.98</beta2></changes>",
}  # fmt: skip
PARAMS_REFUSED: dict[str, tuple[str, str]] = {
    "a wish": ("Raise beta2 to 0.98.", "has no JSON object"),
    "a refusal": ("I'm sorry, I can't help with that.", "has no JSON object"),
    "thinking that never ends": (f"<think>{ONE}", "the answer is empty"),
    "a number cut off": ('{"rationale": "why", "changes": {"beta2": 0.9', "no complete JSON object"),
    "a list cut off": (ONE[:-2], "no complete JSON object"),
    "a number without its end": ('{"beta2": 0.9', "no complete JSON object"),
    "two values": (wrapped(changes={"beta2": [0.95, 0.98]}), "`beta2` must be a number"),
    "a value and a doubt": (ONE.replace("0.98", '"0.98 or 0.99"'), "`beta2` must be a number"),
    "a share": (ONE.replace("0.98", '"98%"'), "`beta2` must be a number"),
    "a name twice": ('{"changes": {"beta2": 0.98, "beta2": 0.99}}', 'names "beta2" twice'),
    "several single changes": (
        '{"name": "beta1", "value": 0.8} or {"name": "beta2", "value": 0.98}', "several JSON objects"
    ),
    "an unknown name beside a known one": (wrapped(beta2=0.98, lr=0.1), "no number called `lr`"),
    "outside": (ONE.replace("0.98", "7"), "must be between"),
    "truth": (ONE.replace("0.98", "True"), "must be a number"),
    "no number": (ONE.replace("0.98", "NaN"), "NaN is not a valid value"),
    "an endless number": (ONE.replace("0.98", '"1e999"'), "`beta2` must be a number"),
    "the same": (ONE.replace("0.98", "0.95"), "nothing would change"),
    "too many": (wrapped(changes=dict.fromkeys(("beta1", "beta2", "eps", "n_head", "d_head"), 0.7)), "more"),
    "a line that may be cut off": ("beta2 = 0.9", "has no JSON object"),
    "two values on lines": ("beta2 = 0.98\nor\nbeta2 = 0.99\n.", "with several values"),
    "two options": (f"Option A: {ONE}\nOption B: {ONE.replace('98', '99')}", "offers several alternatives"),
    "no value": ('{"changes": [{"name": "beta2"}]}', 'must have a "name" and a "value"'),
}  # fmt: skip


@pytest.mark.parametrize("reply", PARAMS_FORMS.values(), ids=list(PARAMS_FORMS))
def test_numbers_are_read_in_the_form_of_(reply: str) -> None:
    assert dict(read_change(reply, PARAMS_ASK).change.params) == WANTED


@pytest.mark.parametrize(("reply", "sentence"), PARAMS_REFUSED.values(), ids=list(PARAMS_REFUSED))
def test_no_numbers_are_read_out_of_(reply: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_change(reply, PARAMS_ASK)
    assert sentence in str(refused.value)


# --- time ------------------------------------------------------------------------------------------------

LONG = 200_000
HOSTILE = {
    "braces": "{" * LONG,
    "braces and brackets": "{[" * (LONG // 2),
    "members without an end": '{"a":1,' * (LONG // 7),
    "texts without an end": '{"a' * (LONG // 3),
    "single quotes": "{'" * (LONG // 2),
    "comments without an end": "{/*" * (LONG // 3),
    "comments of a line": "{//" * (LONG // 3),
    "typographic quotes": "{“" * (LONG // 2),
    "a long thought": "<think>" + "hm " * (LONG // 3) + "</think>",
    "many thoughts": "<think></think>" * (LONG // 15),
    "marks that are none": "</" + "think" * (LONG // 5),
    "openings": "<think>" * (LONG // 7),
    "channels": "<|channel|>" * (LONG // 11),
    "markers": "<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n" * (LONG // 40),
    "arrows": "<" * LONG,
    "fences": "```\n" * (LONG // 4),
    "hunks": "@@\n-x\n+y\n" * (LONG // 9),
    "tags": "<search>x</search>" * (LONG // 18),
    "blanks": '{"a"' + " " * LONG + "{",
    "quotes": '{"' + '"x' * (LONG // 2),
    "keys in tags": "<arg_key>a</arg_key>" * (LONG // 20),
    "parameters": '<parameter name="old_str">' * (LONG // 26),
    "patches": "*** Begin Patch\n" * (LONG // 16),
    "values": "beta2 = 1\nbeta3: " * (LONG // 17),
    "names": "a" * LONG,
    "arguments": "f(" + "a=1," * (LONG // 4),
    "quotations": "> <<<<<<< SEARCH\n" * (LONG // 17),
    "characters of XML": "<![CDATA[" * (LONG // 9),
    "folds": '<details type="reasoning">' * (LONG // 26),
    "summaries": "<details><summary>" * (LONG // 18),
    "options": "Option A\n```\n" * (LONG // 14),
    "words within a fence": "```markdown\n" * (LONG // 12),
    "labels": "Replace\nx\nwith\n" * (LONG // 15),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
@pytest.mark.parametrize("track", ["numbers", "code"])
def test_the_time_for_an_answer_grows_with_its_length_alone(text: str, track: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r"\w"):
        read_change(text, PARAMS_ASK if track == "numbers" else CODE_ASK)
    assert time.process_time() - started < 2.5


def test_an_answer_is_found_after_many_beginnings_of_another() -> None:
    started = time.process_time()
    assert dict(read_change("{" * LONG + ONE, PARAMS_ASK).change.params) == WANTED
    assert time.process_time() - started < 2.5
