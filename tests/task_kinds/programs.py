"""Small programming tasks of our own, shaped as HumanEval and MBPP, with answers in place of a model's."""

import evaluate
from datasets import Dataset

code_eval = evaluate.load("code_eval")
RIGHT = "    return a + b\n"
WRONG = "    return a - b\n"
ENDS = "    import os\n    os._exit(0)\n"
PROBLEMS = [  # the number of right bodies: 3, 1 and 0 of 3
    {"name": "plus", "bodies": [RIGHT, RIGHT + "def check(f):\n    raise ValueError\n", RIGHT]},
    {"name": "add", "bodies": [WRONG, RIGHT, ENDS]},
    {"name": "total", "bodies": ["    return a +\n", WRONG, "    while True:\n        pass\n"]},
]


def docs(**_):
    """Each problem with its prompt and its tests."""
    rows = [
        {
            **problem,
            "prompt": f'def {problem["name"]}(a, b):\n    """Add two numbers."""\n',
            "test": "def check(f):\n    assert f(1, 2) == 3\n    assert f(-1, 1) == 0\n",
            "test_list": [f"assert {problem['name']}({a}, 2) == {a + 2}" for a in (0, 5)],
        }
        for problem in PROBLEMS
    ]
    return {"test": Dataset.from_list(rows)}


def bodies(resps, docs):
    """The first bodies of each problem as programs, one for each answer of the model."""
    return [
        [doc["prompt"] + body for body in doc["bodies"][: len(resp)]]
        for resp, doc in zip(resps, docs, strict=True)
    ]


def pass_at_k(references, predictions, k):
    """The share of problems of which one of `k` programs passes."""
    return code_eval.compute(references=references, predictions=predictions, k=k, timeout=1.0)[0]


def pass_at_1(references, predictions):
    """Whether the first program passes."""
    return code_eval.compute(references=references, predictions=predictions, k=[1], timeout=1.0)[0]["pass@1"]
