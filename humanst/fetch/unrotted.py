"""Files of the cache hashed once more, right before something is made of them.

A stamp is believed as long as size and time of its file are those it names, which spares a fetch hashing terabytes. A
disk that rots changes neither.
"""

from __future__ import annotations

from humanst import files
from humanst.errors import IntegrityError
from humanst.fetch.local import LocalFiles
from humanst.fetch.stamps import outside_stamp, stamp_path
from humanst.settings import settings


def require_unrotted(local: LocalFiles) -> None:
    """Hash the files of a section, and ask that they are what their stamps say.

    Raises
    ------
    IntegrityError
        ``cache-rotten``. The stamp was removed, so that the next fetch looks at the file again and gets another.
    """
    cache = settings().resolved_cache_dir()
    for role, path in local.paths.items():
        if (found := files.sha256_file(path)) == local.sha256[role]:
            continue
        # The caches of others are never written to: what their files hashed to is noted in the own one.
        for stamp in (outside_stamp(path, cache), *((stamp_path(path),) if path.is_relative_to(cache) else ())):
            files.remove(stamp)
        raise IntegrityError(
            "A file of the cache is not what was placed",
            code="cache-rotten",
            study=local.study_id,
            section=local.section_id,
            file=local.names[role],
            field="sha256",
            expected=f"sha256 {local.sha256[role]}",
            found=f"sha256 {found}, with the size and time of the file that was placed",
            done="Nothing was made of it, and its stamp was removed",
            todo="Run the same command again: the file is fetched anew; then look at the disk",
        )
