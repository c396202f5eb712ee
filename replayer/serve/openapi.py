"""The description at /openapi.json: OpenAPI 3.1, made from the route table and the models the views use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from replayer.serve.problems import MEDIA_TYPE, ProblemDetails
from replayer.serve.queries import Query
from replayer.serve.site import Operation

_REFS = "#/components/schemas/{model}"
_ALWAYS = (400, 413, 414, 500)
_GUARDED = (429,)
_BY_TOKEN = (401, 403)
_OPEN = (421,)


def document(operations: Sequence[Operation], *, tokens: bool) -> dict[str, Any]:
    """The whole description, for a server that asks for tokens or one that does not."""
    models: list[type[BaseModel]] = [ProblemDetails]
    models += [operation.answer for operation in operations if not isinstance(operation.answer, str)]
    _, schemas = models_json_schema([(model, "serialization") for model in models], ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, tokens)
    components: dict[str, Any] = {"schemas": schemas.get("$defs", {})}
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "replayer",
            "version": version("replayer"),
            "description": "Timelines and decisions of AI workflows, and replays of them. Any worker answers anything.",
        },
        "paths": paths,
        "components": components,
    }


def _operation(operation: Operation, tokens: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation.query)],
        "responses": {"200": _success(operation.answer)},
    }
    refusals = {*_ALWAYS, *operation.refusals}
    if operation.needs is not None:
        refusals |= {*_GUARDED, *(_BY_TOKEN if tokens else _OPEN)}
        if tokens:
            described["security"] = [{"token": []}]
            described["x-needs-role"] = operation.needs.value
    for status in sorted(refusals):
        described["responses"][str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _ref(ProblemDetails)}},
        }
    return described


def _success(answer: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"description": "OK", "content": {answer: {}}}
    return {
        "description": (answer.__doc__ or "OK").strip(),
        "content": {"application/json": {"schema": _ref(answer)}},
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFS.format(model=model.__name__)}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": kind.json_schema()}
        for name, kind in operation.ids.items()
    ]


def _query_parameters(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REFS)
    required = schema.get("required", ())
    parameters = []
    for name, field in schema.get("properties", {}).items():
        plain = _not_null(field)
        described: dict[str, Any] = {"name": name, "in": "query", "required": name in required, "schema": plain}
        if "description" in plain:
            described["description"] = plain.pop("description")
        parameters.append(described)
    return parameters


def _not_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is not one that is null: only the former can be written in a URL."""
    kept = {name: value for name, value in field.items() if name not in ("anyOf", "default", "title")}
    if field.get("default") is not None:
        kept["default"] = field["default"]
    for option in field.get("anyOf", ()):
        if option != {"type": "null"}:
            kept = {**option, **kept}
    return kept
