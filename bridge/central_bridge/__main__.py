"""`python -m central_bridge` is `central-mcp-bridge`."""

from .main import main

main()
