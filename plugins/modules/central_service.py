#!/usr/bin/python
"""Ansible module: the cloud of one home runs and answers."""

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: central_service
short_description: Start the cloud, or let it take up a new configuration
description: [Starts the keeper detached unless it runs; waits until the engine and the coordinator answer.]
options:
  home: {description: CENTRAL_HOME, type: path, required: true}
  timeout: {description: Seconds to wait for the answers, type: float, default: 60}
author: [central-mcp]
"""
EXAMPLES = """
- name: Start the cloud
  central_service: {home: /srv/central}
"""
RETURN = """
changes: {description: What was changed, type: list, returned: always}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"home": {"type": "path", "required": True}, "timeout": {"type": "float", "default": 60.0}},
        supports_check_mode=True,
    )
    from pathlib import Path

    from central_mcp.home import Home, HomeError
    from central_mcp.provision import ProvisionError
    from central_mcp.provision.service import serve

    home = Home(Path(module.params["home"]))
    if module.check_mode and not (home.etc / "settings.json").exists():
        module.exit_json(changed=True, changes=["keeper and supervisord started (once the home is there)"])
    try:
        outcome = serve(home, check=module.check_mode, timeout_s=module.params["timeout"])
    except (HomeError, ProvisionError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome.result())


if __name__ == "__main__":
    main()
