"""The two eras of MCP: their versions, their `_meta` keys, and how a version is agreed.

Pure. Source: MCP 2026-07-28 (basic, versioning) and the four handshake revisions before it. Used by the front side
(coordinator) and the back side (router).
"""

from typing import Final, Literal

Era = Literal["legacy", "modern"]
LEGACY: Final = "legacy"
MODERN: Final = "modern"

MODERN_VERSIONS: Final = ("2026-07-28",)
LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
NEWEST_LEGACY: Final = LEGACY_VERSIONS[-1]
ALL_VERSIONS: Final = (*MODERN_VERSIONS, *reversed(LEGACY_VERSIONS))
"""What discover lists: both eras, the newest first. A list without a modern version would read as "legacy only"."""

RESERVED: Final = "io.modelcontextprotocol/"
META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"

LOG_LEVELS: Final = frozenset(("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"))
CACHEABLE: Final = frozenset(
    ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
)
"""Methods whose complete results must carry `ttlMs` and `cacheScope` in the modern era."""
MAY_ASK: Final = frozenset(("tools/call", "prompts/get", "resources/read"))
"""Methods whose modern result may be `input_required`."""


def agree(requested: str) -> str:
    """The legacy version to answer `initialize` with: the client's own if known, else our newest."""
    return requested if requested in LEGACY_VERSIONS else NEWEST_LEGACY
