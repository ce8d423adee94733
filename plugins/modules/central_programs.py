#!/usr/bin/python
"""Ansible module: supervisord's configuration and the core programs of one home."""

import os

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: central_programs
short_description: Configure supervisord and the core programs
description: [Validated as a whole before anything is replaced. Starts nothing; central_service does.]
options:
  home: {description: CENTRAL_HOME, type: path, required: true}
author: [central-mcp]
"""
EXAMPLES = """
- name: Configure the programs
  central_programs: {home: /srv/central}
"""
RETURN = """
changes: {description: What was changed, type: list, returned: always}
"""


def main() -> None:
    module = AnsibleModule(argument_spec={"home": {"type": "path", "required": True}}, supports_check_mode=True)
    from pathlib import Path

    from central_mcp.home import Home, HomeError
    from central_mcp.provision.programs import configure
    from central_mcp.supervise import ConfigError

    home = Home(Path(module.params["home"]))
    if module.check_mode and not (home.etc / "settings.json").exists():
        module.exit_json(changed=True, changes=["configuration of supervisord (once the home is there)"])
    try:
        outcome = configure(home, dict(os.environ), check=module.check_mode)
    except (HomeError, ConfigError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome.result())


if __name__ == "__main__":
    main()
