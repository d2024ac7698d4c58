"""Whether a file holds all of its picture, where its decoder fills in what is missing.

A copy that was interrupted leaves a file of the right length whose end is empty: zeros, or 0xFF
from flash memory. Decoders of JPEG read zeros as a sound code and paint grey; that of PNG stops,
and leaves black; those of WebP, AVIF and JPEG 2000 go on with what they make of it. So what these
formats themselves say of their end is looked up. Formats without compression cannot tell zeros
from black.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

EMPTY = 512
"""Bytes of one value from which on a part is empty: the smallest block that disks write."""
EMPTY_END = 16
"""As :data:`EMPTY`, where the end mark of the file is missing as well."""

AT_ONCE = 1 << 20
"""Bytes that are unpacked at a time."""

CHECKED = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "JPEG2000"})
"""Formats that are looked into, as Pillow calls them."""

_EOI, _SOS, _DHT = 0xD9, 0xDA, 0xC4
_END_MARK = bytes([0xFF, _EOI])
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers of a JPEG that no length follows."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends compressed pixels of a JPEG."""


@dataclass(frozen=True)
class Wholeness:
    """What of a picture is in its file.

    Attributes:
        missing: What is not, ``None`` as far as one can tell.
        has_gap: Whether a part of its compressed pixels is empty, so that what is shown there may
            be made up.
    """

    missing: str | None = None
    has_gap: bool = False


def wholeness_of(
    content: bytes, file_format: str | None, metadata: Sequence[bytes] = ()
) -> Wholeness:
    """What of a picture is in its file.

    Args:
        content: The file.
        file_format: What Pillow calls its format.
        metadata: What in the file is none of the picture, where it may lie among its pixels.
    """
    if file_format in {"JPEG", "MPO"}:
        return _of_jpeg(content)
    if file_format == "PNG":
        return Wholeness(_missing_of_png(content))
    if not _is_empty(content):
        return Wholeness()
    if file_format == "WEBP":
        return Wholeness(None, any(map(_is_empty, _webp_pixels(content))))
    for told in metadata:
        content = content.replace(told, b"")
    # The pixels follow what is told of them: in the box mdat, or from the first tile on.
    start = {"AVIF": content.find(b"mdat"), "JPEG2000": content.find(b"\xff\x93")}
    first = start.get(file_format or "", -1)
    return Wholeness(None, first > 0 and _is_empty(content[first:]))


def _is_empty(part: bytes, length: int = EMPTY) -> bool:
    """Whether so many bytes in it are all 0 or all 0xFF."""
    return bytes(length) in part or b"\xff" * length in part


# --- JPEG -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scan:
    """Compressed pixels of a JPEG.

    Attributes:
        pixels: They.
        codes: Of each table that they are coded with, what the code of zeros stands for; 0 where
            that is that nothing changes.
    """

    pixels: bytes
    codes: list[int]


def _of_jpeg(content: bytes) -> Wholeness:
    is_suspect = _is_empty(content)
    if content.endswith(_END_MARK) and not is_suspect:
        return Wholeness()
    try:
        scans, has_end = _scans(content)
    except (IndexError, ValueError, struct.error):
        return Wholeness()  # its decoder has read it, so that its headers are odd only
    if not scans or has_end:
        # Where all codes of zeros say that nothing changes, an even area is such a run.
        gaps = (any(scan.codes) and bytes(EMPTY) in scan.pixels for scan in scans)
        return Wholeness(None, is_suspect and any(gaps))
    end = scans[-1].pixels[-EMPTY_END:]
    reason = "its end is empty" if _is_empty(end, EMPTY_END) else "it has no end mark"
    return Wholeness(f"cut short: {reason}")


def _scans(content: bytes) -> tuple[list[_Scan], bool]:
    """The scans of the first picture in a JPEG file, and whether its end mark follows."""
    scans: list[_Scan] = []
    tables: dict[int, int] = {}
    place = 2
    while (place := content.find(b"\xff", place)) >= 0 and place + 1 < len(content):
        marker = content[place + 1]
        if marker == _EOI:
            return scans, True
        if marker == 0xFF:
            place += 1
            continue
        if marker in _NO_LENGTH:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        segment = content[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == _DHT:
            tables.update(_zero_symbols(segment))
        if marker == _SOS:
            found = _MARKER.search(content, place)
            last = found.start() if found else len(content)
            scans.append(_Scan(content[place:last], _zero_codes(segment, tables)))
            place = last
    return scans, False


def _zero_symbols(segment: bytes) -> Iterator[tuple[int, int]]:
    """Class and number of each Huffman table, and what its first code, of zeros, stands for."""
    place = 0
    while place + 17 < len(segment):
        yield segment[place], segment[place + 17]
        place += 17 + sum(segment[place + 1 : place + 17])


def _zero_codes(header: bytes, tables: Mapping[int, int]) -> list[int]:
    """What zeros stand for in each table of a scan; none where its bits have no table.

    Args:
        header: Of the scan.
        tables: From class and number of a table to what its code of zeros stands for.
    """
    number = header[0]
    first, last, approximation = header[1 + 2 * number : 4 + 2 * number]
    if approximation >> 4:
        return []  # it refines values of earlier scans
    codes = []
    for component in range(number):
        chosen = header[2 + 2 * component]
        if first == 0:
            codes.append(tables.get(chosen >> 4, 0))
        if last > 0:
            # The lower half is the size of a value; without one it is the end of a block, but for
            # 0xF0, which is 16 zeros of many.
            symbol = tables.get(0x10 | (chosen & 15), 0)
            codes.append(symbol if symbol == 0xF0 else symbol & 15)
    return codes


# --- PNG ------------------------------------------------------------------------------------------


def _missing_of_png(content: bytes) -> str | None:
    """Whether a part of the compressed pixels is missing, or is not what was written."""
    place = 8
    pixels: list[bytes] = []
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if pixels and name in {b"IEND", b"fcTL"}:
            return None
        if name == b"IDAT":
            data = content[place + 8 : place + 8 + length]
            pixels.append(data)
            checksum = content[place + 8 + length : place + 12 + length]
            if len(checksum) < 4:
                break
            if zlib.crc32(data, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
                return "damaged: its pixels do not have their checksum"
        elif pixels and not name.isalpha():
            break
        place += 12 + length
    return None if _is_complete(pixels) else "cut short: a part of its pixels is missing"


def _is_complete(pixels: list[bytes]) -> bool:
    """Whether compressed data ends where it says."""
    unpacker = zlib.decompressobj()
    try:
        for part in pixels:
            unpacker.decompress(part, AT_ONCE)
            while unpacker.unconsumed_tail:
                unpacker.decompress(unpacker.unconsumed_tail, AT_ONCE)
    except zlib.error:
        return False
    return unpacker.eof


# --- WebP -----------------------------------------------------------------------------------------


def _webp_pixels(content: bytes) -> Iterator[bytes]:
    """The compressed pixels of a WebP file, without its metadata."""
    place = 12
    while place + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        if name in {b"VP8 ", b"VP8L", b"ALPH", b"ANMF"}:
            yield content[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
