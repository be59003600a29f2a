"""The four members of a pair in a shard: what they are called, what the txt says, where they come to lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from humanst.shards.tar import CountingFile, write_members

SUFFIXES: Mapping[str, str] = {"jpg": "jpg", "json": "json", "npy": "pathway.npy"}
"""What the index calls a member -> how its name in the tar ends. The txt comes after them, and has no columns."""

PLACE = ("offset", "length", "hash")
"""What the index says of each member, as ``<kind>_<part>``."""


def pair_text(organ: str, disease: str, platform: str) -> str:
    """The txt of every pair of a section."""
    return f"{organ}, {disease}, {platform}"


def write_pair(out: CountingFile, key: str, members: Mapping[str, bytes], text: str) -> dict[str, int | str]:
    """Append a pair to a shard.

    Parameters
    ----------
    members
        ``jpg``, ``json`` and ``npy`` as bytes.

    Returns
    -------
    dict
        The columns of the index that say where they lie: ``{kind}_offset``, ``_length`` and ``_hash``.

    Raises
    ------
    DataError
        See :func:`humanst.shards.tar.member_header`.
    """
    named = [(f"{key}.{suffix}", members[kind]) for kind, suffix in SUFFIXES.items()]
    found = write_members(out, [*named, (f"{key}.txt", text.encode())])
    places: dict[str, int | str] = {}
    for kind, (offset, length) in zip(SUFFIXES, found, strict=False):
        places |= {f"{kind}_offset": offset, f"{kind}_length": length, f"{kind}_hash": member_hash(members[kind])}
    return places


def member_hash(data: bytes) -> str:
    """Hash of a member as the index records it: blake2b, 8 bytes, hex."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
