"""Ansible callback: one short line a task, with its seconds. The engine keeps it as log/rollouts/<id>.log."""

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: central
type: stdout
short_description: One line a task, with its seconds
description: [For the log of a rollout; diffs are printed as Ansible prints them.]
author: [central-mcp]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "central"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._display.display(play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._began = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._began = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._tell("changed" if result.result.get("changed") else "ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._tell("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._tell(f"unreachable: {result.result.get('msg', '')}", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._tell(f"failed: {result.result.get('msg', '')}", result)
        for name in ("module_stderr", "module_stdout", "exception"):
            if text := result.result.get(name):
                self._display.display(str(text))

    def v2_on_file_diff(self, result: Any) -> None:
        if diff := result.result.get("diff"):
            self._display.display(self._get_diff(diff))

    def _tell(self, what: str, result: Any) -> None:
        self._display.display(f"{time.monotonic() - self._began:6.2f} s  {result.task.get_name()}: {what}")
