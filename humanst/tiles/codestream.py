"""What a JPEG 2000 tile says of its size, looked at before it is decoded: the decoder makes room for all it claims."""

from __future__ import annotations

import struct

# Start of codestream, and the size marker that must follow it; boxes of a JP2 file may come first.
_SOC_SIZ = b"\xff\x4f\xff\x51"
_SEARCHED_BYTES = 4096
_AFTER_MARKER = struct.Struct(">HHIIII")


def claimed_px(data: bytes) -> int:
    """Pixels that a JPEG 2000 codestream claims to hold; 0 for anything else.

    The claim is of the image area: the size of its reference grid without the offset.
    """
    start = data.find(_SOC_SIZ, 0, _SEARCHED_BYTES)
    if start < 0 or len(data) < start + len(_SOC_SIZ) + _AFTER_MARKER.size:
        return 0
    _, _, right, lower, left, upper = _AFTER_MARKER.unpack_from(data, start + len(_SOC_SIZ))
    return int(max(right - left, 0) * max(lower - upper, 0))
