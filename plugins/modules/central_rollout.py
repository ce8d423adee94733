#!/usr/bin/python
"""Ansible module: one step of a rollout, done by the engine."""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: central_rollout
short_description: Do one step of a rollout
description:
  - Asks the engine over its socket; the engine does the work, holds the project's lock and keeps the record.
  - Without O(rollout) the first step begins a rollout of O(commit); the other steps take its number from the result.
  - In check mode nothing is done; the plan is told, as a diff.
options:
  home: {description: CENTRAL_HOME, type: path, required: true}
  step: {description: The step, type: str, required: true, choices: [plan, stage, switch, watch, retire, revert]}
  project: {description: The project, type: str, required: true}
  commit: {description: Commit or branch to deploy, type: str, default: ""}
  rollout: {description: Number of the rollout; 0 begins one, type: int, default: 0}
author: [central-mcp]
"""
EXAMPLES = """
- name: Stage the commit beside what serves
  central_rollout: {home: /srv/central, step: stage, project: PROJECT_fleet, commit: main}
"""
RETURN = """
rollout: {description: Number of the rollout, type: int, returned: success}
stage: {description: Where the rollout is now, type: str, returned: success}
plan: {description: What the rollout changes, returned: success, type: list, elements: dict}
"""
QUIET = frozenset({"unchanged", "done"})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "step": {
                "type": "str",
                "required": True,
                "choices": ["plan", "stage", "switch", "watch", "retire", "revert"],
            },
            "project": {"type": "str", "required": True},
            "commit": {"type": "str", "default": ""},
            "rollout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    from central_mcp.engine.client import Engine, EngineError, find_socket, user

    asked = module.params
    step = "plan" if module.check_mode else asked["step"]
    arguments = {name: asked[name] for name in ("project", "commit", "rollout") if asked[name]}
    try:
        engine = Engine(find_socket(Path(asked["home"])))
        answer = engine.ask("step", step=step, who=user(), **arguments)
    except EngineError as exc:
        module.fail_json(msg=f"{exc.message}. {exc.hint}".rstrip(". "))
    except (OSError, ValueError, KeyError) as exc:
        module.fail_json(msg=f"{asked['home']}: no cloud here ({exc}). Provision it first")
    module.exit_json(**(planned(answer, first=asked["step"] == "stage") if step == "plan" else done(answer)))


def done(answer: dict[str, Any]) -> dict[str, Any]:
    return {"changed": answer["stage"] not in QUIET, **answer}


def planned(answer: dict[str, Any], *, first: bool) -> dict[str, Any]:
    """Check mode: the plan as a diff, told once, by the first step."""
    changes = answer["changes"]
    wanted = [change for change in changes if change["change"] != "removed"]
    served = [change for change in changes if change["change"] != "new"]
    diff = {
        "before": "".join(f"{c['server']}\n" for c in served),
        "after": "".join(f"{c['server']}{told(c)}\n" for c in wanted),
    }
    differs = any(change["change"] != "unchanged" for change in changes)
    return {
        "changed": differs,
        "plan": changes,
        "rollout": 0,
        "stage": "planned",
        **({"diff": diff} if differs and first else {}),
    }


def told(change: dict[str, Any]) -> str:
    return "" if change["change"] == "unchanged" else f"  ({change['change']}: {change['why']})"


if __name__ == "__main__":
    main()
