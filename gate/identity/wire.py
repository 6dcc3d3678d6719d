"""Reading SSH's wire encoding (RFC 4251, section 5), strictly. Knows no keys and no signatures."""

import base64
import binascii
import struct
from dataclasses import dataclass

_UINT32 = struct.Struct(">I")
_SIGN_BIT = 0x80


class MalformedError(ValueError):
    """These bytes are not what their place in the format calls for; the text says why and shows none of them."""


@dataclass(slots=True)
class Reader:
    """A cursor over `data`. Every method raises MalformedError when the bytes end too early."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if end > len(self.data):
            raise MalformedError("it ends too early")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def uint32(self) -> int:
        """The next four bytes as a number."""
        return int(_UINT32.unpack(self.take(4))[0])

    def string(self) -> bytes:
        """The next length-prefixed bytes."""
        return self.take(self.uint32())

    def mpint(self) -> int:
        """The next number: positive and in its shortest form, so that one number has one encoding."""
        raw = self.string()
        padded = len(raw) > 1 and raw[0] == 0 and not raw[1] & _SIGN_BIT
        if not raw or raw[0] & _SIGN_BIT or raw == b"\0" or padded:
            raise MalformedError("a number is not in its shortest form")
        return int.from_bytes(raw)

    def end(self) -> None:
        """Raise MalformedError when anything is left."""
        if self.at != len(self.data):
            raise MalformedError("something follows its end")


def string(data: bytes) -> bytes:
    """`data` as a length-prefixed string."""
    return _UINT32.pack(len(data)) + data


def base64_strict(text: bytes) -> bytes:
    """What `text` stands for in base64; raises MalformedError unless it is the one encoding of those bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedError("it is not base64") from error
    if base64.b64encode(data) != text:
        raise MalformedError("it is not base64 in its one form")
    return data
