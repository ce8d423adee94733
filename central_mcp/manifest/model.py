"""What a project declares, as values: units parsed, defaults filled in. Pure.

The field descriptions are the reference of central.yml: the JSON Schema for editors is made from them. Rules that join
several keys, and keys that have no meaning yet, are in `load`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, WithJsonSchema

from central_mcp.manifest import rules, units
from central_mcp.manifest.document import Document
from central_mcp.manifest.errors import ManifestError

Category = Literal[
    "database", "filesystem", "api", "ai-ml", "version-control",
    "dev-tools", "system", "communication", "business", "iot",
]  # fmt: skip


def _unit(pattern: str, *examples: str, number: str = "") -> WithJsonSchema:
    text = {"type": "string", "pattern": pattern, "examples": list(examples)}
    return WithJsonSchema({"anyOf": [text, {"type": number}]} if number else text)


def _memory(value: int) -> int:
    if not 16 << 20 <= value <= 1 << 42:
        raise ValueError("must be from 16M to 4T")  # `512` without its M would end every process at once
    return value


Bytes = Annotated[
    int,
    BeforeValidator(units.size),
    AfterValidator(_memory),
    _unit(units.SIZE_PATTERN, "512M", "2G", number="integer"),
]
Seconds = Annotated[
    float,
    BeforeValidator(units.seconds),
    Field(gt=0, le=7 * 86400),
    _unit(units.TIME_PATTERN, "60s", "10m", number="number"),
]
Share = Annotated[float, BeforeValidator(units.share), Field(ge=0, le=1), _unit(units.SHARE_PATTERN, "1%")]
Factor = Annotated[float, BeforeValidator(units.factor), Field(ge=1), _unit(units.FACTOR_PATTERN, "2x")]
ServerName = Annotated[
    str, AfterValidator(rules.check_server_name), Field(json_schema_extra={"pattern": rules.SERVER_NAME})
]
ProjectName = Annotated[
    str, AfterValidator(rules.check_project_name), Field(json_schema_extra={"pattern": rules.PROJECT_NAME})
]
Run = Annotated[tuple[str, ...], AfterValidator(rules.check_run)]
Env = Annotated[dict[str, str], AfterValidator(rules.check_env)]
Pin = Annotated[str, AfterValidator(rules.check_pin)]


def _package(text: str) -> str:
    rules.parse_package(text)
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, hide_input_in_errors=True)


class Replicas(_Part):
    """Processes of a server whose sessions are shared."""

    min: int = Field(default=1, ge=1, le=64, description="Processes kept open when start is `always`")
    max: int = Field(default=1, ge=1, le=64, description="Processes opened at most under load")


class Limits(_Part):
    """How much one server may use."""

    memory: Bytes = Field(default=512 << 20, description="Memory of one process and its children")
    processes: int = Field(default=32, ge=1, le=4096, description="Processes of one session")
    files: int = Field(default=1024, ge=64, le=1 << 20, description="Open files of one process")
    sessions: int = Field(
        default=50, ge=1, le=10_000, description="Processes of this server at once, over all principals"
    )
    call: Seconds = Field(default=60.0, description="A call that takes longer is cancelled and answered as timed out")
    idle: Seconds = Field(default=600.0, description="A process unused for this long is closed")


class Health(_Part):
    """A real call that each new release must answer at the gate; without it: negotiation and tools/list."""

    tool: str = Field(min_length=1, max_length=128, description="Tool to call")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its arguments")
    timeout: Seconds = Field(default=5.0, description="Longest time that it may take")


class Thresholds(_Part):
    """When a fresh release is taken back during the watch."""

    errors: Share = Field(default=0.01, description="Share of failed calls above which the release is reverted")
    p95: Factor = Field(
        default=2.0, description="Growth of the 95th percentile of call times above which it is reverted"
    )


class Rollout(_Part):
    """How a new release takes over from the old one."""

    strategy: Literal["blue-green"] = Field(default="blue-green", description="How a new release takes over")
    watch: Seconds = Field(default=60.0, description="How long real calls are watched after the switch")
    thresholds: Thresholds = Field(default_factory=Thresholds)


class ServerSpec(_Part):
    """One MCP server. Exactly one of `source`, `package` and `use` says where it comes from."""

    category: Category | None = Field(
        default=None, description="Kind of server; decides the range of its loopback port. `use:` brings its own"
    )
    description: str = Field(default="", max_length=500, description="One sentence for people and for `central status`")
    source: Annotated[str, AfterValidator(rules.check_source)] | None = Field(
        default=None,
        description="Folder of this repository with the server's code, e.g. ./servers/notes",
        examples=["./servers/notes"],
    )
    package: Annotated[str, AfterValidator(_package)] | None = Field(
        default=None,
        description="Pinned package: pypi:NAME==VERSION (extras allowed) or npm:NAME@VERSION",
        json_schema_extra={"pattern": rules.PACKAGE_PATTERN},
        examples=["pypi:mcp-server-fetch==2026.10.24", "npm:@modelcontextprotocol/server-filesystem@2026.8.31"],
    )
    use: str | None = Field(default=None, description="Name of a well-known server of the catalogue")
    as_: ServerName | None = Field(default=None, alias="as", description="Another name for a server taken with `use:`")
    pins: tuple[Pin, ...] = Field(
        default=(), description="Version constraints for dependencies of a PyPI package", examples=[["mcp<2"]]
    )
    run: Run | None = Field(
        default=None,
        min_length=1,
        description="Program and arguments, never a shell. {data} is the server's own folder, {source} its code, "
        "{env} its environment. Default for a package: its only program",
        examples=[["python", "-m", "my_server"]],
    )
    transport: Literal["stdio"] = Field(default="stdio", description="How the cloud talks with the server")
    era: Literal["auto", "legacy", "modern"] = Field(
        default="auto", description="MCP revision to speak with it; auto finds out"
    )
    sessions: Literal["shared", "per-principal", "per-client"] | None = Field(
        default=None, description="Who shares a process: everybody, one key, or one client. Default per-principal"
    )
    start: Literal["always", "on-demand"] = Field(
        default="on-demand",
        description="always: processes of shared sessions are kept open; else the first call opens one",
    )
    restart: Literal["on-failure", "always", "never"] = Field(
        default="on-failure",
        description="never: once it has ended it stays down until the next deploy; else it is opened again",
    )
    replicas: Replicas = Field(default_factory=Replicas, description="Processes of a server whose sessions are shared")
    limits: Limits = Field(default_factory=Limits)
    env: Env = Field(
        default_factory=dict, description="Environment variables; no secrets. The placeholders of `run` work here too"
    )
    listen: bool = Field(default=False, description="true: the server's port answers on loopback")
    scripts: bool = Field(default=False, description="true: install scripts and builds from source may run")
    health: Health | None = Field(default=None, description="A real call that proves each new release at the gate")
    rollout: Rollout = Field(default_factory=Rollout)


class Manifest(_Part):
    """The whole of central.yml."""

    central: Literal[1] = Field(description="Version of this format")
    project: ProjectName = Field(description="Name of the project, PROJECT_NAME of its clients")
    servers: dict[ServerName, ServerSpec] = Field(description="The project's servers by name")

    _document: Document | None = PrivateAttr(None)

    def error(self, where: tuple[str, ...], what: str, hint: str = "") -> ManifestError:
        """A `ManifestError` with file and line, for what only shows later, e.g. at `("servers", "git", "source")`."""
        document = self._document or Document("central.yml")
        return ManifestError([document.problem(where, what, hint)])
