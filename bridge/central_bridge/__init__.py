"""The laptop side of central-mcp. Imports nothing of `central_mcp`."""

__version__ = "0.1.0"
