"""What an upload may cost, checked before the memory is spent."""

from __future__ import annotations

import io
from dataclasses import dataclass

from cxrserve.errors import UploadTooLarge

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one image; every one is a setting.

    Attributes:
        upload_bytes: size of the upload. A 4000 x 5000 detector at 16 bits is 40 MB.
        pixels: declared rows x columns. The largest phone cameras give 200 million.
        decoded_bytes: what decoding may allocate, after any reduced-scale decoding.
        inflate_ratio: decoded over compressed bytes, once decoding takes over 16 MiB; real
            radiographs compress by less than 50, deflate can reach 1032 (RFC 1951).
        jpeg_side: a JPEG is decoded at the smallest DCT scale whose shorter side keeps this.
        header_elements: DICOM elements before the pixels, nested ones included; real files have
            a few hundred.
    """

    upload_bytes: int = 64 * MIB
    pixels: int = 100_000_000
    decoded_bytes: int = 192 * MIB
    inflate_ratio: float = 250.0
    jpeg_side: int = 512
    header_elements: int = 20_000

    def check_upload(self, size: int) -> None:
        """Raise `UploadTooLarge` for more than `upload_bytes`."""
        if size > self.upload_bytes:
            raise UploadTooLarge(
                f"the upload has more than {self.upload_bytes} bytes",
                advice="send one radiograph at a time, compressed without loss if need be",
                limit_bytes=self.upload_bytes,
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raise `UploadTooLarge` for more declared pixels than `pixels`."""
        if width * height > self.pixels:
            raise UploadTooLarge(
                f"the image declares {width} x {height} pixels, the limit is {self.pixels}",
                advice="scale the image down before sending it",
                width=width,
                height=height,
                limit_pixels=self.pixels,
            )

    def check_inflation(self, decoded: int, compressed: int) -> None:
        """Raise `UploadTooLarge` when decoding would take too much, or suspiciously much."""
        if decoded > self.decoded_bytes:
            raise UploadTooLarge(
                f"decoding would take {decoded} bytes, the limit is {self.decoded_bytes}",
                advice="scale the image down before sending it",
                limit_bytes=self.decoded_bytes,
            )
        if decoded > 16 * MIB and decoded > self.inflate_ratio * max(compressed, 1):
            raise UploadTooLarge(
                f"{compressed} compressed bytes would inflate to {decoded}",
                advice="no radiograph compresses this far; check the file",
                limit_ratio=self.inflate_ratio,
            )


class BoundedReads(io.BytesIO):
    """Bytes that can be read only so often, so that parsing them ends however they nest.

    A DICOM parser reads an element's head and its value, and pixels in pieces of 8 KiB.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        super().__init__(data)
        self._left = 2 * limits.header_elements + len(data) // 8192

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; raise `UploadTooLarge` once too often."""
        self._left -= 1
        if self._left < 0:
            raise UploadTooLarge(
                "the DICOM file has too many elements",
                advice="send the image object alone, as the scanner made it",
            )
        return super().read(size)
