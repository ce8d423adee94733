"""`python -m central_mcp.router --instance main#1`: the router of this machine. Run by supervisord."""

import argparse
import gc
import os
import resource
import sys

import uvloop

from central_mcp import logs
from central_mcp.home import Home, HomeError
from central_mcp.registry import RegistryError

from .program import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="central_mcp.router", description=__doc__)
    parser.add_argument("--instance", default="main#1", help="how links address this router (default: %(default)s)")
    parser.add_argument(
        "--allow", type=int, action="append", default=[], metavar="UID", help="a further uid for links (repeatable)"
    )
    parser.add_argument(
        "--engine", type=int, action="append", default=[], metavar="UID", help="a further uid of engines (repeatable)"
    )
    options = parser.parse_args()
    os.umask(0o077)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        home = Home.find()
        logs.configure(home.log / "router.log")
        gc.freeze()  # modules live for ever
        uvloop.run(serve(home, options.instance, options.allow, options.engine))
    except (HomeError, RegistryError, OSError) as exc:
        print(f"router: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
