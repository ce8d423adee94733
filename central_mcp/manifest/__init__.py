"""What a project declares: central.yml, the catalogue, names and ports. Pure; imports nothing else of ours.

manifest = load(text)                          # ManifestError: all problems, with file and line
servers = resolve(manifest, Catalogue.read())  # name -> ResolvedServer
"""

from central_mcp.manifest.catalogue import Catalogue, Entry
from central_mcp.manifest.errors import CatalogueError, ManifestError, Problem
from central_mcp.manifest.load import load
from central_mcp.manifest.model import Health, Limits, Manifest, Replicas, Rollout, ServerSpec, Thresholds
from central_mcp.manifest.resolve import ResolvedServer, resolve
from central_mcp.manifest.rules import CATEGORIES, PLACEHOLDERS, check_project_name, check_server_name
from central_mcp.manifest.schema import json_schema, template

__all__ = [
    "CATEGORIES",
    "PLACEHOLDERS",
    "Catalogue",
    "CatalogueError",
    "Entry",
    "Health",
    "Limits",
    "Manifest",
    "ManifestError",
    "Problem",
    "Replicas",
    "ResolvedServer",
    "Rollout",
    "ServerSpec",
    "Thresholds",
    "check_project_name",
    "check_server_name",
    "json_schema",
    "load",
    "resolve",
    "template",
]
