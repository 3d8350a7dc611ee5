"""The checksums of a Parquet file's pages, held against their bytes without decoding them.

Each page follows its header, a struct in Thrift's compact protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md

Of the header only the size and the CRC-32 are read, fields 3 and 4 of `PageHeader` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import zlib

COMPRESSED_SIZE, CRC = 3, 4  # fields of a page header
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
VARINTS = (4, 5, 6)  # i16, i32, i64
LONG = 15  # a list of this size or more says its size behind its first byte
MOST_NESTED = 8  # a page header has three levels


def pages_hold(content: bytes, *, start: int, end: int) -> bool:
    """Whether the pages from `start` to `end` follow each other without a gap and have their checksums.

    Pages without a checksum hold if all are so: not every program writes them.
    """
    at = start
    with_crc: set[bool] = set()
    try:
        while at < end:
            fields, at = _struct(content, at, 0)
            size = fields.get(COMPRESSED_SIZE, -1)
            if size < 0 or at + size > end:
                return False
            crc = fields.get(CRC)
            with_crc.add(crc is not None)
            if crc is not None and zlib.crc32(content[at : at + size]) != crc & 0xFFFFFFFF:
                return False
            at += size
    except (IndexError, ValueError):
        return False
    return at == end and len(with_crc) <= 1


def _struct(content: bytes, at: int, depth: int) -> tuple[dict[int, int], int]:
    """The integers of a struct by field, and where it ends.

    Raises:
        ValueError: it is no struct.
        IndexError: it goes beyond the content.
    """
    if depth > MOST_NESTED:
        raise ValueError("nested too deeply")
    fields: dict[int, int] = {}
    field = 0
    while (head := content[at]) != STOP:
        at += 1
        kind = head & 0x0F
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(content, at)
        if kind in VARINTS:
            fields[field], at = _integer(content, at)
        else:
            at = _skipped(content, at, kind, depth)
    return fields, at + 1


def _skipped(content: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value of this kind ends."""
    if kind in (TRUE, FALSE):
        return at
    if kind == BYTE:
        return at + 1
    if kind == DOUBLE:
        return at + 8
    if kind == BINARY:
        size, at = _unsigned(content, at)
        return at + size
    if kind in (LIST, SET):
        head, at = content[at], at + 1
        size, of = head >> 4, head & 0x0F
        if size == LONG:
            size, at = _unsigned(content, at)
        for _ in range(size):
            if at >= len(content):
                raise ValueError("a list goes beyond the end")
            at = _unsigned(content, at)[1] if of in VARINTS else _skipped(content, at, max(of, BYTE), depth)
        return at
    if kind == STRUCT:
        return _struct(content, at, depth + 1)[1]
    raise ValueError(f"unknown kind {kind}")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(content, at)
    return (value >> 1) ^ -(value & 1), at  # zigzag


def _unsigned(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no integer")
