"""``HUMANST_*`` settings, and the one function that finds the data that travel with humanst.

Nothing is read at import: :func:`settings` reads the environment when it is called.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from humanst.errors import UsageError

# Ten years, and the memory of no machine: the system takes no number as large as one may write.
MOST_SECONDS = 10 * 365 * 24 * 3600
MOST_GIB = 1 << 20


class Settings(BaseSettings):
    """Settings taken from ``HUMANST_*`` environment variables.

    Attributes
    ----------
    mirror
        ``HUMANST_MIRROR``: URLs or folders, comma-separated, tried in order before the original hosts. Each holds
        ``<study or resource id>/<path>``.
    cache_dir
        ``HUMANST_CACHE_DIR``: where fetched files are placed (default: the platform's user cache).
    shared_cache
        ``HUMANST_SHARED_CACHE``: cache folders of others, comma-separated, looked at before anything is downloaded and
        never written to.
    fetch_budget_s
        ``HUMANST_FETCH_BUDGET_S``: seconds that the download of one file may take (default: ten minutes, and one second
        more for every 100 kB).
    offline
        ``HUMANST_OFFLINE`` (or ``HF_HUB_OFFLINE``): never open a connection; folder mirrors still count.
    catalog
        ``HUMANST_CATALOG``: another ``catalog.yaml`` than the one that ships.
    accept_licenses
        ``HUMANST_ACCEPT_LICENSES``: SPDX ids of gated licences that are accepted, comma-separated.
    allow_loopback_http
        ``HUMANST_ALLOW_LOOPBACK_HTTP``: let plain http to 127.0.0.1 through, for local test servers.
    task_memory_gib, task_cpu_s
        ``HUMANST_TASK_MEMORY_GIB``, ``HUMANST_TASK_CPU_S``: memory and processor seconds that reading and building one
        section may take (default: this machine's memory shared out among the workers, at least 6 GiB; six hours).
    one_process
        ``HUMANST_ONE_PROCESS``: with one worker do everything in this process, for debuggers; a reader that crashes
        ends the command then.
    """

    model_config = SettingsConfigDict(env_prefix="HUMANST_", extra="ignore")

    mirror: Annotated[tuple[str, ...], NoDecode] = ()
    cache_dir: Path | None = None
    shared_cache: Annotated[tuple[str, ...], NoDecode] = ()
    fetch_budget_s: float | None = Field(default=None, gt=0, le=MOST_SECONDS)
    offline: bool = False
    catalog: Path | None = None
    accept_licenses: Annotated[tuple[str, ...], NoDecode] = ()
    allow_loopback_http: bool = False
    task_memory_gib: float | None = Field(default=None, gt=0, le=MOST_GIB)
    task_cpu_s: float | None = Field(default=None, ge=1, le=MOST_SECONDS)
    one_process: bool = False

    @field_validator("mirror", "shared_cache", "accept_licenses", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    def resolved_cache_dir(self) -> Path:
        """The cache folder: the setting, else the platform's user cache."""
        if self.cache_dir is not None:
            return self.cache_dir.expanduser()
        import pooch

        return Path(pooch.os_cache("humanst"))


def settings() -> Settings:
    """Read the settings from the environment now."""
    try:
        found = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            "A setting cannot be read",
            field=f"HUMANST_{str(first['loc'][0]).upper()}",
            expected=first["msg"],
            found=repr(first["input"]),
        ) from error
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        found = found.model_copy(update={"offline": True})
    return found


def data_path(*parts: str) -> Path:
    """Find ``catalog.yaml``, ``curation/`` or ``schemas/``: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "_data"
    root = inside if inside.is_dir() else package.parent
    return root.joinpath(*parts)
