"""The router: owns the back of every category, from frames to the stdio of servers.

Imports link's peers `protocol` and `registry`, and `home`; nothing of coordinator or engine. Run as a program.
"""
