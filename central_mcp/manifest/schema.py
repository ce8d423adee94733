"""For people who write a central.yml: the JSON Schema for their editor, and a first file to start from. Pure."""

from typing import Any

from central_mcp.manifest.model import Manifest
from central_mcp.manifest.rules import SERVER_NAME, check_project_name

_TEMPLATE = """\
# yaml-language-server: $schema=central.schema.json
# (for your editor: central schema > central.schema.json)
#
# What this project runs in the cloud. `git push` deploys it; `central plan` says before what a push would change.
central: 1
project: {project}

servers:
  # A well-known server of the catalogue. The key is its name in the cloud, where names are unique.
  {example}-files:
    use: filesystem

  # A pinned package of PyPI or npm. Categories: database, filesystem, api, ai-ml, version-control, dev-tools, system,
  # communication, business, iot.
  # {example}-git:
  #   category: version-control
  #   description: Reads the history of our repository
  #   package: pypi:mcp-server-git==2026.10.19      # or npm:NAME@1.2.3
  #   run: [mcp-server-git]            # argv, never a shell; {{data}} is the server's own folder
  #   env: {{LOG_LEVEL: info}}

  # Source code in this repository (with a pyproject.toml or package.json; a lock with hashes makes pushes fast):
  # {example}-notes:
  #   category: dev-tools
  #   description: Notes of this project
  #   source: ./servers/notes
  #   run: [python, -m, notes]
  #   sessions: per-principal          # shared | per-principal | per-client
  #   start: on-demand                 # always | on-demand
  #   limits: {{memory: 512M, call: 60s, idle: 10m}}
  #   health: {{tool: search, arguments: {{text: ping}}}}    # a call that must work before the release may serve
  #   listen: false                    # true: its own port on loopback answers, too
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of central.yml, with descriptions that editors show."""
    schema = Manifest.model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "central.yml"
    schema["description"] = "What a project runs in its MCP cloud"
    server = schema["$defs"]["ServerSpec"]
    server["oneOf"] = [{"required": ["source"]}, {"required": ["package"]}, {"required": ["use"]}]
    server["dependentRequired"] = {"source": ["category", "run"], "package": ["category"], "as": ["use"]}
    schema["properties"]["servers"]["propertyNames"] = {"pattern": SERVER_NAME}
    scalar = {"type": ["string", "number", "boolean"]}
    server["properties"]["env"]["additionalProperties"] = scalar  # taken as they are written
    for option in server["properties"]["run"]["anyOf"]:
        if "items" in option:
            option["items"] = scalar
    _drop_nulls(schema)
    return schema


def template(project: str) -> str:
    """A commented central.yml that deploys one server. Raises `ValueError` for a name that no project may have."""
    check_project_name(project)
    example = project.removeprefix("PROJECT_").lower().replace("_", "-")[:20].strip("-") or "my"
    return _TEMPLATE.format(project=project, example=example)


def _drop_nulls(node: Any) -> None:
    """An absent key is absent: `T | None` is written as T, so that an editor does not offer null."""
    if isinstance(node, dict):
        options = node.get("anyOf")
        if isinstance(options, list) and {"type": "null"} in options:
            rest = [option for option in options if option != {"type": "null"}]
            if len(rest) == 1:
                del node["anyOf"]
                node |= {**rest[0], **node}
            else:
                node["anyOf"] = rest
            if node.get("default", 0) is None:
                del node["default"]
        for value in node.values():
            _drop_nulls(value)
    elif isinstance(node, list):
        for value in node:
            _drop_nulls(value)
