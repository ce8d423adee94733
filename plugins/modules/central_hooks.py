#!/usr/bin/python
"""Ansible module: the git hooks of all repositories of one home."""

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: central_hooks
short_description: Install the git hooks
description: [Copies pre-receive, proc-receive and post-receive, each starting with the home's own interpreter.]
options:
  home: {description: CENTRAL_HOME, type: path, required: true}
  source: {description: Folder of the hooks in the checkout, type: path, required: true}
author: [central-mcp]
"""
EXAMPLES = """
- name: Install the hooks
  central_hooks: {home: /srv/central, source: /opt/central-mcp/hooks}
"""
RETURN = """
changes: {description: What was changed, type: list, returned: always}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"home": {"type": "path", "required": True}, "source": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    from pathlib import Path

    from central_mcp.home import Home, HomeError
    from central_mcp.provision import ProvisionError
    from central_mcp.provision.hooks import install

    home = Home(Path(module.params["home"]))
    if module.check_mode and not (home.etc / "settings.json").exists():
        module.exit_json(changed=True, changes=["hooks (once the home is there)"])
    try:
        outcome = install(home, Path(module.params["source"]), check=module.check_mode)
    except (HomeError, ProvisionError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome.result())


if __name__ == "__main__":
    main()
