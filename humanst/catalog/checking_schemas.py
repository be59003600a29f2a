"""Whether the contracts of ``schemas/`` are contracts."""

from __future__ import annotations

from humanst.catalog.located import Log
from humanst.schemas import DOCUMENTS, TABLES, document_schema, table_schema


def check_schemas(log: Log) -> set[str]:
    """Check every schema that humanst has; returns the names of their files."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    for name in DOCUMENTS:
        try:
            Draft202012Validator.check_schema(document_schema(name))
        except SchemaError as error:
            field = ".".join(map(str, error.absolute_path))
            what = "This is no JSON Schema"
            log.tell("bad-schema", what, file=f"schemas/{name}.yaml", field=field, found=error.message)
    for name in TABLES:
        table_schema(name)
    return {f"schemas/{name}.yaml" for name in (*DOCUMENTS, *TABLES)}
