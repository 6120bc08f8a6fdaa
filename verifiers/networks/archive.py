"""Zip archives from strangers (torch files, .npz): opened without reading more than a short table of contents."""

import io
import os
import zipfile
from typing import BinaryIO

ARCHIVE = b"PK\x03\x04"  # how a zip begins
MOST_CONTENTS = 2**20  # bytes of the table of contents: more than 10 000 entries


class _Reader(io.RawIOBase):
    """A file that refuses long reads until it is told that they are meant."""

    def __init__(self, file: BinaryIO):
        self.file, self.most = file, MOST_CONTENTS

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise zipfile.BadZipFile("its table of contents has an absurd length")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """The archive in an open file. BadZipFile when its contents are absurdly many, or claim more bytes than the file has."""
    reader = _Reader(file)
    archive = zipfile.ZipFile(reader)
    size = file.seek(0, os.SEEK_END)
    if sum(entry.compress_size for entry in archive.infolist()) > size:
        raise zipfile.BadZipFile("its entries overlap")
    reader.most = size
    return archive
