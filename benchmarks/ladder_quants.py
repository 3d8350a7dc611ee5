"""Further quantizations of the embedded model as GGUF files, to measure a ladder on.

The embedded file has 4-bit weights; these are read as they are, in 32 bits, and quantized again by the
package `gguf`, tensor by tensor: matrices get the type, vectors stay in 32 bits. Metadata and tokenizer are
those of the embedded file. `python -m benchmarks.ladder_quants FOLDER [TYPE …]` writes the files and prints
how far each is from the weights it was made of.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from runners.models.demo import gguf_path

TYPES = ("F16", "Q8_0", "Q5_0", "Q4_0")
WRITTEN_BY_US = ("general.architecture", "general.file_type", "general.quantization_version")
FILE_TYPES = {
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}


def write_quantized(source: Path, target: Path, name: str) -> float:
    """Write `source` with its matrices as type `name`; returns the relative error of the weights."""
    kind = gguf.GGMLQuantizationType[name]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(_value(reader.fields["general.architecture"])))
    writer.add_file_type(FILE_TYPES[name])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in WRITTEN_BY_US:
            of_array = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, _value(field), field.types[0], sub_type=of_array)
    square, error = 0.0, 0.0
    for tensor in reader.tensors:
        weights = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if weights.ndim < 2:
            writer.add_tensor(tensor.name, weights)
            continue
        packed = quantize(weights, kind)
        square += float(np.square(weights).sum())
        error += float(np.square(weights - dequantize(packed, kind)).sum())
        writer.add_tensor(tensor.name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return float(np.sqrt(error / square))


def _value(field: Any) -> Any:
    return field.contents()


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python -m benchmarks.ladder_quants FOLDER [TYPE …]")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    source = gguf_path()
    for name in sys.argv[2:] or TYPES:
        target = folder / f"SmolLM2-135M-Instruct.{name}.gguf"
        error = write_quantized(source, target, name)
        print(f"{target.name}: {target.stat().st_size / 1e6:.0f} MB, relative error {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
