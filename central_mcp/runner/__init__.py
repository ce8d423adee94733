"""The tiny supervised program that turns stdio servers into unix sockets.

Standard library only, and of that the small half: a thousand of these run at once. Started as
`python -I -S .../runner/main.py TABLE.json`, never imported by the other packages.
"""
