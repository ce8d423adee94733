"""The client end of the frames link to a router: `Link` is one connection, `Redial` keeps one alive.

Called by the coordinator and the engine. Imports protocol only.
"""

from .link import Done, Link, LinkLost, OnChanged, OnNote, error_from
from .redial import Redial

__all__ = ["Done", "Link", "LinkLost", "OnChanged", "OnNote", "Redial", "error_from"]
