"""What provisioning does to one home: folders and settings, core programs, hooks, the keeper.

Each function looks first, changes only what differs and answers with an `Outcome`; in check mode it only looks.
Called by the thin Ansible modules in plugins/modules: central_home, central_programs, central_hooks, central_service.
"""

from .outcome import Outcome, ProvisionError

__all__ = ["Outcome", "ProvisionError"]
