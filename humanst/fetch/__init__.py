"""From the catalog's sources to verified local files.

The order is: the cache (checked), caches of others (``HUMANST_SHARED_CACHE``), the mirrors of ``HUMANST_MIRROR`` in
order, the original host. Bytes are hashed and counted while they are written aside, and a file gets its name only when
they are the bytes on record. A file without a digest on record is refused unless it is pinned on purpose.
"""

from __future__ import annotations

from humanst.fetch.local import LocalFiles, fetch_resource, fetch_section, fetch_sections
from humanst.fetch.unrotted import require_unrotted

__all__ = ["LocalFiles", "fetch_resource", "fetch_section", "fetch_sections", "require_unrotted"]
