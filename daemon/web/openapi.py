"""GET /api/v1/openapi.json: the document of the API (OpenAPI 3.1), made from what the routes say of themselves."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from daemon.web.access import Role
from daemon.web.routes import Register, Route, add_routes, known_routes

PATH = "/api/v1/openapi.json"
_REF = "#/components/schemas/{model}"
_PLACE = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_ABOUT = (
    "Everything that the page and the command line do. Answers stand under `data`; the routes that Prometheus has as"
    " well answer as it does. What may be NaN or infinite is sent as a text."
)
_ERROR = {
    "type": "object",
    "required": ["status", "errorType", "error"],
    "properties": {
        "status": {"const": "error"},
        "errorType": {"type": "string", "description": "what kind of error, for programs"},
        "error": {"type": "string", "description": "what went wrong, for people"},
        "hint": {"type": ["string", "null"], "description": "what to do about it"},
        "code": {"type": ["string", "null"], "description": "the error's code, as the command line shows it"},
    },
}


def openapi_routes() -> Register:
    """The route of the document; register it after all others."""

    def register(application: web.Application) -> None:
        made: list[tuple[bytes, str]] = []
        turn = asyncio.Lock()

        def make() -> tuple[bytes, str]:
            body = to_json(describe(known_routes(application)), fallback=str)
            return body, hashlib.sha256(body).hexdigest()

        async def send(request: web.Request) -> web.Response:
            async with turn:
                if not made:  # 0.2 s, once
                    made.append(await asyncio.to_thread(make))
            body, digest = made[0]
            known = request.if_none_match or ()
            response = (
                web.Response(status=304) if any(tag.value == digest for tag in known) else web.Response(body=body)
            )
            response.content_type = "application/json"
            response.etag = digest
            response.headers["Cache-Control"] = "no-cache"  # kept, and asked for each time
            return response

        summary = "This document"
        add_routes(application, [Route("GET", PATH, send, Role.VIEWER, summary)])

    return register


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of those that are in the API."""
    routes = [route for route in routes if route.in_api]
    adapters = [(route, TypeAdapter(route.answer)) for route in routes if route.answer is not None]
    answers, definitions = TypeAdapter.json_schemas(
        [(route, "serialization", adapter) for route, adapter in adapters], ref_template=_REF
    )
    bodies = sorted({route.body for route in routes if route.body is not None}, key=lambda model: model.__name__)
    read, more = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    schemas = definitions.get("$defs", {}) | more.get("$defs", {}) | {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation: dict[str, Any] = {
            "summary": route.summary,
            "tags": [route.path.split("/")[3]],
            "parameters": [*_places(route.path), *([] if route.query is None else _parameters(route.query))],
            "responses": _responses(route, answers.get((route, "serialization"))),
            "security": [] if route.role is Role.PUBLIC else [{"token": []}, {"password": []}],
        }
        if route.body is not None:
            schema = read[route.body, "validation"]
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths.setdefault(_PLACE.sub(r"{\1}", route.path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Custode", "version": version("custode"), "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _places(path: str) -> Iterator[dict[str, Any]]:
    for name in _PLACE.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _parameters(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Each field of a flat model; definitions that it needs stand in their place."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for name, found in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        shown = _inlined(found, definitions)
        parameter = {"name": name, "in": "query", "required": required, "schema": shown}
        if "description" in shown:
            parameter["description"] = shown.pop("description")
        yield parameter


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    match value:
        case {"$ref": str(name)}:
            return _inlined(definitions[name.rpartition("/")[2]], definitions)
        case dict():
            # a parameter that is absent is not null
            kept = {key: _inlined(part, definitions) for key, part in value.items() if (key, part) != ("default", None)}
            options = [one for one in kept.pop("anyOf", []) if one != {"type": "null"}]
            return kept | (options[0] if len(options) == 1 else {"anyOf": options} if options else {})
        case list():
            return [_inlined(part, definitions) for part in value]
    return value


def _responses(route: Route, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    success = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "success"}, "data": answer if answer is not None else {}},
    }
    error = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    if route.path == PATH:
        success = {"type": "object"}
    return {
        "200": {"description": "done", "content": {"application/json": {"schema": success}}},
        "default": {"description": "what is wrong", "content": error},
    }
