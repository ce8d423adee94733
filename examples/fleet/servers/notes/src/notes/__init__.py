"""Notes over MCP: `store` keeps them, `server` offers them as tools."""

__version__ = "1.0.0"
