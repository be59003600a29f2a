"""``catalog.yaml`` and ``curation/`` as frozen objects: what exists, who made it, under which licence, from where.

Nothing here touches the network. A catalog that breaks its schema is refused with every fault named by file and
field, and a file path that would leave its folder is refused before anything is fetched.
"""

from __future__ import annotations

from humanst.catalog.licenses import Acceptances, Item, Terms, is_redistributable, terms_of
from humanst.catalog.listed import ListedStudy, without_files
from humanst.catalog.reading import load_catalog, load_recipe, recipe_from
from humanst.catalog.records import (
    Catalog,
    Lattice,
    Published,
    Recipe,
    Resource,
    Section,
    Source,
    Study,
)
from humanst.catalog.samples import read_samples
from humanst.catalog.yaml_files import read_yaml

__all__ = [
    "Acceptances",
    "Catalog",
    "Item",
    "Lattice",
    "ListedStudy",
    "Published",
    "Recipe",
    "Resource",
    "Section",
    "Source",
    "Study",
    "Terms",
    "is_redistributable",
    "load_catalog",
    "load_recipe",
    "read_samples",
    "read_yaml",
    "recipe_from",
    "terms_of",
    "without_files",
]
