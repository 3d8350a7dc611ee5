"""Documents of the test tasks: small, exact, the same every time."""

from datasets import Dataset

N_SUMS, N_PARITY = 400, 100


def sums(**_):
    """Additions whose answer is the sum."""
    rows = [{"question": f"{a} + {a + 3} =", "answer": str(2 * a + 3)} for a in range(N_SUMS)]
    return {"test": Dataset.from_list(rows)}


def parity(**_):
    """Is a number even or odd?"""
    rows = [
        {"question": f"{n} is", "choices": ["even", "odd", "neither of the two"], "gold": n % 2}
        for n in range(N_PARITY)
    ]
    return {"test": Dataset.from_list(rows)}


def as_question(doc):
    """The question as the plain task writes it."""
    return f"Q: {doc['question']}\nA:"
