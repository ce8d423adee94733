"""central-mcp: a private MCP cloud on your own VM (the VM side)."""

__version__ = "0.1.0"
