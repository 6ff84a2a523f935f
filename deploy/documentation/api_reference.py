"""The reference of the REST API: `python -m deploy.documentation.api_reference > docs/api-reference.md`.

Owns: which parts of the OpenAPI document are told, and in which words. Never calls the API. Invariant: every operation
and every object of the document is told once, with what the code says of it.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from inference.client import ServerClient
from scheduler.api.app import create_app
from scheduler.api.problems import PROBLEM_JSON
from scheduler.api.request import MOST
from scheduler.core.errors import ServerUnavailable
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from scheduler.state.connection import connect

Json = Mapping[str, object]

_HEAD = """# REST API reference

Every call and every object, written from the code by `python -m deploy.documentation.api_reference`.
[The REST API](api.md) has the shape of it, [Tokens](operations.md#tokens) who may call what. A running scheduler has
the same as `/openapi.json`, for generators, and as `/docs`.

A call that fails is answered with a problem document (RFC 9457, `application/problem+json`): `type`, `title`,
`status`, `detail` with what to do, and `field` where one is at fault.
"""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_LENGTHS = {"minLength": "at least {} characters", "maxLength": "at most {} characters", "minItems": "at least {}"}
_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}


def document() -> Json:
    """The OpenAPI document of an application that is never served."""

    def nobody(url: str) -> ServerClient:
        raise ServerUnavailable(f"{url} is not called for a document")

    service = Service(connect("redis://127.0.0.1"), Fleet(()), RewardPool(1), EngineSettings(), connect=nobody)
    return create_app(service).openapi()


def reference(told: Json) -> str:
    """The page."""
    return "\n".join([_HEAD, *_calls(told), "## Objects\n", *_objects(told)]).rstrip("\n") + "\n"


def _calls(told: Json) -> Iterator[str]:
    for tag in cast(Sequence[Mapping[str, str]], told["tags"]):
        yield f"## Calls: {tag['name']}\n\n{tag['description']}\n"
        for path, methods in _in(told, "paths").items():
            for method, operation in methods.items():
                if tag["name"] in cast(Sequence[str], _in(operation, "")["tags"]):
                    yield _call(f"{method.upper()} {path}", cast(Json, operation))


def _call(name: str, operation: Json) -> str:
    parts = [f"### `{name}`\n", f"{_sentence(str(operation['summary']))}\n"]
    if "description" in operation:
        parts.append(f"{operation['description']}\n")
    given = cast(Sequence[Json], operation.get("parameters", ()))
    # Those in the path stand in the path.
    if rows := [_parameter(parameter) for parameter in given if parameter["in"] != "path"]:
        parts.append(_table(("parameter", "in", "kind", "default", "meaning"), rows))
    if "requestBody" in operation:
        parts.append(f"Body: {_content(_in(operation, 'requestBody'))}.\n")
    answers = _in(operation, "responses")
    successes = [f"{status}: {_content(answer)}" for status, answer in answers.items() if status[0] == "2"]
    return "\n".join([*parts, f"Answer: {'; '.join(successes)}.\n"])


def _sentence(words: str) -> str:
    return words if words.endswith("?") else f"{words}."


def _parameter(parameter: Json) -> tuple[str, ...]:
    schema = _in(parameter, "schema")
    default = "required" if parameter.get("required") else _default(schema)
    return f"`{parameter['name']}`", str(parameter["in"]), _kind(schema), default, _meaning(parameter)


def _content(holder: Json) -> str:
    """What a body or an answer holds."""
    told = [
        _kind(_in(content, "schema")) if media == "application/json" else f"`{media}`"
        for media, content in cast(Mapping[str, Json], holder.get("content", {})).items()
        if media != PROBLEM_JSON
    ]
    return ", or ".join(told) or "nothing"


def _objects(told: Json) -> Iterator[str]:
    for name, schema in _in(told, "components", "schemas").items():
        yield f"### {name}\n"
        if "description" in schema:
            yield f"{schema['description']}\n"
        if "enum" in schema:
            yield f"One of {', '.join(f'`{value}`' for value in cast(Sequence[object], schema['enum']))}.\n"
        else:
            required = cast(Sequence[str], schema.get("required", ()))
            rows = [
                (f"`{field}`", _kind(value), "required" if field in required else _default(value), _meaning(value))
                for field, value in _in(schema, "properties").items()
            ]
            yield _table(("field", "kind", "default", "meaning"), rows)


def _kind(schema: Json) -> str:
    """The kind of a value, with a link where it is an object of ours."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in cast(Sequence[Json], schema[several])))
    if "enum" in schema or "const" in schema:
        values = cast(Sequence[object], schema.get("enum", (schema.get("const"),)))
        return ", ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(cast(Json, schema.get('items', {})))}" + _limits(schema)
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_kind(cast(Json, inner))}" if isinstance(inner, dict) and inner else "object"
    return _KINDS.get(str(schema.get("type", "")), "anything") + _limits(schema)


def _limits(schema: Json) -> str:
    bounds = [
        f"{sign} {schema[name]:,}"
        for name, sign in _BOUNDS.items()
        if isinstance(schema.get(name), int | float) and abs(cast(float, schema[name])) < MOST
    ]
    lengths = [words.format(schema[name]) for name, words in _LENGTHS.items() if name in schema]
    return "".join(f", {limit}" for limit in (*bounds, *lengths))


def _default(schema: Json) -> str:
    if schema.get("default") is None:
        return "none"
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"


def _meaning(holder: Json) -> str:
    return " ".join(str(holder.get("description", "")).split()).replace("|", "\\|")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _in(holder: object, *path: str) -> Mapping[str, Json]:
    for name in filter(None, path):
        holder = cast(Json, holder).get(name, {})
    return cast(Mapping[str, Json], holder)


def main() -> int:
    """Print the page."""
    sys.stdout.write(reference(document()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
