"""The settings of the environment, and the catalog that travels with humanst or is named by them."""

from __future__ import annotations

import os

from humanst.doctor.checks import Check
from humanst.errors import HumanstError, UsageError
from humanst.fetch.reach import masked
from humanst.settings import Settings, data_path, settings

# Read beside the settings: by the progress bars and by the tests.
_OTHERS = frozenset({"HUMANST_NO_PROGRESS", "HUMANST_TEST_DATA", "HUMANST_FETCH_KILLS", "HUMANST_BUILD_KILLS"})
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def known_settings() -> Settings:
    """The settings, or those of an empty environment where one cannot be read: a check of its own says so."""
    try:
        return settings()
    except UsageError:
        return Settings.model_construct()


def setting_checks() -> list[Check]:
    """What ``HUMANST_*`` says, misspelt names, and the proxies."""
    known = {f"HUMANST_{name.upper()}" for name in Settings.model_fields}
    ours = {name: value for name, value in os.environ.items() if name.startswith("HUMANST_")}
    checks = []
    try:
        settings()
    except UsageError as error:
        facts = error.facts
        found = f"{facts.what}: {masked(str(facts.found))}"
        todo = f"Correct or unset it; the other checks take it as not set ({facts.expected})"
        checks.append(Check("settings", str(facts.field), "fail", found, todo, UsageError))
    bad = {check.item for check in checks}
    for name, value in sorted(ours.items()):
        if name in known and name not in bad:
            checks.append(Check("settings", name, "ok", masked(value)))
        elif name not in known | _OTHERS | bad:
            there = f"Nothing reads it; the settings are {', '.join(sorted(known))}"
            checks.append(Check("settings", name, "warn", "unknown", there))
    for name in _PROXIES:
        proxy = os.environ.get(name) or os.environ.get(name.lower())
        if proxy:
            checks.append(Check("settings", name, "ok", masked(proxy if "://" in proxy else f"http://{proxy}")))
    return checks


def catalog_checks(known: Settings) -> list[Check]:
    """Whether the catalog can be read."""
    from humanst.catalog import load_catalog

    try:
        catalog = load_catalog(known.catalog or data_path("catalog.yaml"))
    except HumanstError as error:
        todo = "Correct HUMANST_CATALOG" if known.catalog is not None else "Install humanst again"
        return [Check("catalog", "catalog.yaml", "fail", str(error), todo, type(error))]
    except OSError as error:
        found = f"{error.strerror or error} ({known.catalog or 'catalog.yaml'})"
        return [Check("catalog", "catalog.yaml", "fail", found, "Ask its owner to let you read it", UsageError)]
    return [Check("catalog", "catalog.yaml", "ok", f"{len(catalog.studies)} studies")]
