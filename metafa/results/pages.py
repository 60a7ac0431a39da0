"""The pages of a Parquet file: whether they hold no more than its footer says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from metafa.errors import PartError
from metafa.results.schemas import TEXT_BYTES

PAGE_VALUES = 256  # on average at least, but for a few pages; pyarrow writes 20,000
SOME_PAGES = 64
MOST_COMPRESSED = {"UNCOMPRESSED": 1, "SNAPPY": 32, "ZSTD": 2**15}  # how many bytes one byte can stand for


def check_pages(content: bytes, metadata: pq.FileMetaData, places: Sequence[int]) -> list[str]:
    """Raises `PartError` where pages are other than the footer says. Returns the columns of text, as paths in the
    schema, that are to be read with equal texts shared, since it may be that they do not fit otherwise.

    Pages are looked at where a chunk could hold much, whatever the footer says: most chunks of a trial are too small.
    """
    shared: dict[str, None] = {}
    text, unseen = 0, 0
    for j in places:
        column = metadata.schema.column(j)
        path, nested = column.path, column.max_repetition_level > 0
        is_text = column.physical_type == "BYTE_ARRAY"
        for i in range(metadata.num_row_groups):
            chunk = metadata.row_group(i).column(j)
            worst = chunk.total_compressed_size * MOST_COMPRESSED[chunk.compression]
            worst *= chunk.num_values if is_text else 1
            if not nested and unseen + worst <= TEXT_BYTES:
                unseen += worst
                continue
            _walk(content, chunk)
            text += chunk.num_values * chunk.total_uncompressed_size * is_text
            if is_text and text > TEXT_BYTES:
                shared[path] = None
    return list(shared)


def _walk(content: bytes, chunk: Any) -> None:
    """Raises `PartError` where the pages of a column chunk hold anything else than its footer says."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end = start + chunk.total_compressed_size
    path = chunk.path_in_schema
    if not 4 <= start <= end <= len(content):
        raise PartError(f"has the column {path!r} outside of itself")
    at, values, plain, pages = start, 0, 0, 0
    try:
        while at < end and values < chunk.num_values:
            header = _Header(content, at)
            held = header.plain + header.end - at
            if header.plain < 0 or header.compressed < 0 or header.values < 0:
                raise PartError(f"has a page of the column {path!r} that is damaged")
            if header.of_dictionary and header.values > header.plain:
                raise PartError(f"has a dictionary of the column {path!r} that does not fit")
            values += 0 if header.of_dictionary else header.values
            plain, pages, at = plain + held, pages + 1, header.end + header.compressed
            if plain > chunk.total_uncompressed_size or values > chunk.num_values:
                raise PartError(f"holds more in the column {path!r} than it claims to")
            if pages > SOME_PAGES + chunk.num_values // PAGE_VALUES:
                raise PartError(f"has the column {path!r} in too many pages")
            if chunk.physical_type == "BYTE_ARRAY" and header.encoding not in (0, 2, 3, 8):
                raise PartError(f"has the column {path!r} encoded as metafa does not")
    except IndexError as error:
        raise PartError(f"has a page of the column {path!r} that is cut off") from error
    if at > end:
        raise PartError(f"has a page of the column {path!r} that is cut off")


class _Header:
    """The header of a page, in Thrift's compact protocol: how many bytes the page has, plain and ``compressed``, how
    many ``values``, and where the header ends. Raises IndexError where it is cut off, `PartError` where it is none."""

    def __init__(self, content: bytes, at: int):
        self.content, self.end, self.fields = content, at, 0
        self.plain = self.compressed = self.values = self.encoding = 0
        self.of_dictionary = False
        self._read(top=True)

    def _read(self, top: bool, depth: int = 0, of: int = 0) -> None:
        if depth > 8:
            raise PartError("has a page whose header is damaged")
        number = 0
        while kind := self.content[self.end]:
            self.end, self.fields = self.end + 1, self.fields + 1
            if self.fields > 200:
                raise PartError("has a page whose header is damaged")
            number = number + (kind >> 4) if kind >> 4 else self._whole()
            kind &= 15
            if top and kind == 12 and number in (5, 7, 8):  # of data, of a dictionary, of data of the second version
                self.of_dictionary = number == 7
                self._read(top=False, depth=depth + 1, of=number)
            elif kind == 5:
                found = self._whole()
                if top and number in (2, 3):
                    self.plain, self.compressed = (found, self.compressed) if number == 2 else (self.plain, found)
                elif of and number == 1:
                    self.values = found
                elif of and number == (4 if of == 8 else 2):
                    self.encoding = found
            else:
                self._skip(kind, depth)
        self.end += 1

    def _skip(self, kind: int, depth: int) -> None:
        match kind:
            case 1 | 2:  # a truth value, which the kind says
                pass
            case 3:
                self.end += 1
            case 4 | 6:
                self._varint()
            case 7:
                self.end += 8
            case 8:
                length = self._varint()
                self.end += length
            case 12:
                self._read(top=False, depth=depth + 1)
            case _:  # lists and maps, which headers have none of
                raise PartError("has a page whose header is damaged")

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self.content[self.end]
            self.end += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found
            if shift > 63:
                raise PartError("has a page whose header is damaged")

    def _whole(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)
