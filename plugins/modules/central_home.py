#!/usr/bin/python
"""Ansible module: the folders, the machine key and the settings of one home."""

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: central_home
short_description: Make the home of a cloud
description: [Folders with their modes, the machine key (once), etc/settings.json.]
options:
  home: {description: CENTRAL_HOME, type: path, required: true}
  settings: {description: "Settings to have, by name; those not named stay as recorded", type: dict, default: {}}
author: [central-mcp]
"""
EXAMPLES = """
- name: Make the home
  central_home: {home: /srv/central, settings: {port: 3000}}
"""
RETURN = """
changes: {description: What was changed, type: list, returned: always}
run: {description: Folder of the sockets, type: str, returned: always}
port: {description: Port of the coordinator, type: int, returned: always}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"home": {"type": "path", "required": True}, "settings": {"type": "dict", "default": {}}},
        supports_check_mode=True,
    )
    from pathlib import Path

    from central_mcp.provision import ProvisionError
    from central_mcp.provision.home import prepare

    wishes = {name: value for name, value in module.params["settings"].items() if value not in (None, "")}
    try:
        outcome = prepare(Path(module.params["home"]), wishes, check=module.check_mode)
    except (ProvisionError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome.result())


if __name__ == "__main__":
    main()
