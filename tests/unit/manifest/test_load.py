"""central.yml is read with everything that is wrong with it at once, each by line, path, cause and cure."""

import pytest

from central_mcp.manifest import Manifest, ManifestError, load

SERVER = "central: 1\nproject: P\nservers:\n  git:\n"
PACKAGE = SERVER + "    category: api\n    package: pypi:some-server==1.0\n"


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(text.encode() if isinstance(text, str) else text)
    return [str(problem) for problem in caught.value.problems]


def server(text: str) -> Manifest:
    return load((PACKAGE + text).encode())


def test_a_full_manifest_is_parsed_with_its_units() -> None:
    manifest = load(b"""
central: 1
project: PROJECT_airbnsearch
servers:
  property-search:
    category: business
    description: Airbnb search
    source: ./servers/property/
    run: [python, -m, property_search, --port, 8080]
    transport: stdio
    era: auto
    sessions: shared
    start: always
    restart: never
    replicas: {min: 1, max: 4}
    limits: {memory: 512M, processes: 16, files: 2048, sessions: 5, call: 1m30s, idle: 10m}
    env: {LOG_LEVEL: info, VERSION: 1.10, SWITCH: yes, PORT: 0123, DATA: "{data}/x"}
    listen: true
    scripts: true
    health: {tool: search, arguments: {q: ping, n: 3, deep: {x: null}}, timeout: 500ms}
    rollout: {strategy: blue-green, watch: 60s, thresholds: {errors: 1%, p95: 2x}}
""")
    spec = manifest.servers["property-search"]
    assert spec.source == "servers/property"
    assert spec.run == ("python", "-m", "property_search", "--port", "8080")
    assert (spec.limits.memory, spec.limits.call, spec.limits.idle) == (512 << 20, 90.0, 600.0)
    assert spec.env == {"LOG_LEVEL": "info", "VERSION": "1.10", "SWITCH": "yes", "PORT": "0123", "DATA": "{data}/x"}
    assert spec.health is not None
    assert spec.health.arguments == {"q": "ping", "n": 3, "deep": {"x": None}}
    assert (spec.health.timeout, spec.rollout.thresholds.errors, spec.rollout.thresholds.p95) == (0.5, 0.01, 2.0)
    assert (spec.replicas.max, spec.listen, spec.scripts, spec.start) == (4, True, True, "always")


def test_defaults_are_those_of_the_reference() -> None:
    spec = server("").servers["git"]
    assert (spec.start, spec.restart, spec.era, spec.listen, spec.scripts) == (
        "on-demand", "on-failure", "auto", False, False,
    )  # fmt: skip
    assert (spec.limits.memory, spec.limits.call, spec.rollout.watch) == (512 << 20, 60.0, 60.0)


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        "central: 2\n"
        "servers:\n"
        "  git:\n"
        "    categry: api\n"
        "    package: pypi:x\n"
        "    limits: {memory: lots, call: 0s}\n"
        "    secrets: [A]\n"
        "  Bad__name: {use: git-operations}\n"
        "maintenance: {windows: []}\n"
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["central.yml:1", "project"],
        ["central.yml:1", "central"],
        ["central.yml:4", "servers.git.categry"],
        ["central.yml:5", "servers.git.package"],
        ["central.yml:6", "servers.git.limits.memory"],
        ["central.yml:6", "servers.git.limits.call"],
        ["central.yml:7", "servers.git.secrets"],
        ["central.yml:8", "servers.Bad__name"],
        ["central.yml:9", "maintenance"],
    ]


ONE_PROBLEM = {
    "misspelt key": (
        PACKAGE + "    sesions: shared\n",
        '7: servers.git.sesions: unknown key; did you mean "sessions"?',
    ),
    "misspelt inner key": (
        PACKAGE + "    limits: {memroy: 1G}\n",
        '7: servers.git.limits.memroy: unknown key; did you mean "memory"?',
    ),
    "misspelt deep key": (
        PACKAGE + "    rollout: {thresholds: {error: 1%}}\n",
        '7: servers.git.rollout.thresholds.error: unknown key; did you mean "errors"?',
    ),
    "misspelt top key": (
        "central: 1\nprojct: P\nproject: P\nservers: {}\n",
        '2: projct: unknown key; did you mean "project"?',
    ),
    "key unlike any": (
        PACKAGE + "    replicas: {zzz: 1}\n    sessions: shared\n",
        "zzz: unknown key; known are min, max",
    ),
    "misspelt category": (
        SERVER + "    category: version_control\n    package: pypi:a==1\n",
        'did you mean "version-control"?',
    ),
    "secrets": (PACKAGE + "    secrets: [A]\n", "7: servers.git.secrets: not supported yet by this version"),
    "endpoint": (
        SERVER + "    category: api\n    endpoint: https://x/\n",
        "6: servers.git.endpoint: not supported yet",
    ),
    "transport http": (
        PACKAGE + "    transport: http\n",
        "transport: http is not supported yet by this version; use stdio",
    ),
    "transport other": (PACKAGE + "    transport: tcp\n", "servers.git.transport: 'tcp' is not stdio"),
    "canary": (PACKAGE + "    rollout: {strategy: canary}\n", "strategy: canary is not supported yet"),
    "rolling": (PACKAGE + "    rollout: {strategy: rolling}\n", "strategy: rolling is not supported yet"),
    "maintenance": (PACKAGE + "maintenance: {windows: [x]}\n", "7: maintenance: not supported yet"),
    "every": (PACKAGE + "    health: {tool: x, every: 30s}\n", "servers.git.health.every: not supported yet"),
    "no origin": (SERVER + "    category: api\n", "4: servers.git: does not say where it comes from; add one of"),
    "two origins": (PACKAGE + "    use: git-operations\n", "7: servers.git.use: stands beside package"),
    "no category": (SERVER + "    package: pypi:a==1\n", "4: servers.git.category: is missing; add one of database"),
    "no run": (SERVER + "    category: api\n    source: ./x\n", "servers.git.run: is missing; say how to start it"),
    "as without use": (PACKAGE + "    as: other\n", "7: servers.git.as: renames a server taken with"),
    "name taken by as": (
        "central: 1\nproject: P\nservers:\n  a: {use: x}\n  b: {use: x, as: a}\n",
        "5: servers.b.as: the name 'a' is taken by servers.a",
    ),
    "range": (SERVER + "    category: api\n    package: pypi:a>=1\n", "must be pinned to one version: pypi:a==VERSION"),
    "tag": (
        SERVER + "    category: api\n    package: npm:@a/b@latest\n",
        "must be pinned to one version: npm:@a/b@1.2.3",
    ),
    "caret": (SERVER + "    category: api\n    package: npm:b@^1.0.0\n", "must be pinned to one version"),
    "url": (SERVER + "    category: api\n    package: git+https://x/y\n", "must be pypi:NAME==VERSION or npm:"),
    "pip option": (SERVER + "    category: api\n    package: 'pypi:--index-url=x==1'\n", "is no PyPI package"),
    "outside": (
        SERVER + "    category: api\n    source: ../x\n    run: [python, x]\n",
        "must lie inside the repository",
    ),
    "absolute": (
        SERVER + "    category: api\n    source: /etc\n    run: [python, x]\n",
        "must lie inside the repository",
    ),
    "git folder": (SERVER + "    category: api\n    source: .git\n    run: [python, x]\n", "must not be git's own"),
    "run as text": (PACKAGE + "    run: python -m x\n", "servers.git.run: must be a list; e.g. [python, -m, x]"),
    "run empty": (PACKAGE + "    run: []\n", "servers.git.run: "),
    "shell": (PACKAGE + "    run: [bash, -c, x]\n", "servers.git.run: is an argv, never a shell"),
    "fetches at start": (PACKAGE + "    run: [npx, -y, x]\n", "must not fetch at start (npx)"),
    "host program": (PACKAGE + "    run: [/usr/bin/x]\n", "no path of the host"),
    "placeholder": (PACKAGE + "    run: [x, '{dta}']\n", "unknown placeholder {dta}; there are {env}"),
    "env name": (PACKAGE + "    env: {A-B: 1}\n", "'A-B' is no name of an environment variable"),
    "env empty": (PACKAGE + "    env:\n      A:\n", "8: servers.git.env.A: is empty"),
    "env list": (PACKAGE + "    env: [A=1]\n", "servers.git.env: must be a mapping of keys"),
    "empty value": (PACKAGE + "    health:\n", "7: servers.git.health: is empty; give it a value or remove it"),
    "size": (PACKAGE + "    limits: {memory: 1Q}\n", "memory: must be a size such as 512M"),
    "size without unit": (PACKAGE + "    limits: {memory: 512}\n", "memory: must be from 16M to 4T"),
    "empty text": (PACKAGE + "    health: {tool: ''}\n", "servers.git.health.tool: is empty"),
    "list for text": (PACKAGE + "    description: [a]\n", "servers.git.description: must be text, not ['a']"),
    "time": (PACKAGE + "    limits: {idle: soon}\n", "idle: must be a time such as"),
    "share": (PACKAGE + "    rollout: {thresholds: {errors: 1}}\n", "must be a percentage such as 1%"),
    "factor": (PACKAGE + "    rollout: {thresholds: {p95: 2}}\n", "must be a factor such as 2x"),
    "number": (PACKAGE + "    limits: {files: many}\n", "servers.git.limits.files: must be a whole number, not 'many'"),
    "truth": (PACKAGE + "    listen: maybe\n", "servers.git.listen: must be true or false, not 'maybe'"),
    "too many": (PACKAGE + "    limits: {processes: 100000}\n", "must be less than or equal to 4096"),
    "text": (PACKAGE + "    description: 7\n", "must be text, not 7; put it in quotes"),
    "replicas of what is not shared": (PACKAGE + "    replicas: {max: 2}\n", "counts processes that are shared"),
    "pins of npm": (
        SERVER + "    category: api\n    package: npm:a@1.0.0\n    pins: [b<2]\n",
        "servers.git.pins: works for pypi packages only",
    ),
    "pin": (PACKAGE + "    pins: ['b @ https://x']\n", "servers.git.pins[0]: must be a version constraint"),
    "format": ("central: 2\nproject: P\nservers: {}\n", "1: central: 2 is not 1"),
    "project": ("central: 1\nproject: 'a b'\nservers: {}\n", "2: project: a project's name starts with"),
    "servers as list": ("central: 1\nproject: P\nservers: [a]\n", "3: servers: must be a mapping of keys"),
    "server as text": ("central: 1\nproject: P\nservers:\n  a: x\n", "4: servers.a: must be a mapping of keys"),
    "server empty": ("central: 1\nproject: P\nservers:\n  a:\n", "4: servers.a: is empty"),
    "servers missing": ("central: 1\nproject: P\n", "1: servers: is missing"),
    "twice": (
        PACKAGE + "    package: pypi:b==1\n",
        "7: servers.git.package: is there twice, first in line 6; keep one",
    ),
    "merge": (PACKAGE + "    <<: {listen: true}\n", "7: servers.git.<<: merge keys are not supported"),
    "tag of yaml": (PACKAGE + "    description: !!python/object:os.system x\n", "the tag"),
    "key is a list": ("central: 1\nproject: P\nservers: {}\n? [a]\n: 1\n", "4: a key must be plain text"),
}


@pytest.mark.parametrize(("text", "expected"), ONE_PROBLEM.values(), ids=ONE_PROBLEM)
def test_one_mistake_is_one_problem_that_says_what_and_how_to_mend_it(text: str, expected: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert expected in found[0]


UNREADABLE = {
    "empty": (b"", "central.yml:1: is empty"),
    "comment only": (b"# nothing\n", "central.yml:1: is empty"),
    "a list": (b"- a\n", "must be a mapping"),
    "a text": (b"hello\n", "must be a mapping"),
    "latin-1": (b"central: 1\nproject: caf\xe9\n", "central.yml:2: is not UTF-8 text"),
    "tab": (b"central: 1\nservers:\n\tgit: {}\n", "central.yml:3: is not YAML"),
    "unclosed": (b"central: [1\nproject: P\n", "is not YAML"),
    "control character": (b"central: 1\nproject: \x00\n", "is not YAML"),
    "unknown alias": (b"central: *a\n", "is not YAML"),
    "two documents": (b"central: 1\n---\ncentral: 1\n", "is not YAML"),
    "deep": (b"a: " + b"[" * 5000, "nested deeper"),
    "large": (b"#" * (2 << 20), "at most"),
    "many aliases": (b"a: &a [1]\nb: [" + b"*a," * 2000 + b"]\n", "aliases"),
    "alias bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 105)),
        "aliases are followed",
    ),
    "alias of itself": (b"a: &a [*a]\n", "alias of itself"),
}


@pytest.mark.parametrize(("text", "expected"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_refused_quickly_with_its_line(text: bytes, expected: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert expected in found[0]


def test_aliases_in_reason_work() -> None:
    text = PACKAGE + "    limits: &l {call: 5s}\n  b: {category: api, package: 'pypi:b==1', limits: *l}\n"
    assert load(text.encode()).servers["b"].limits.call == 5.0


def test_a_server_may_be_called_like_a_key() -> None:
    text = "central: 1\nproject: P\nservers:\n  env: {category: api, package: 'pypi:b==1', listen: yes}\n"
    assert load(text.encode()).servers["env"].listen is True


def test_problems_carry_their_column_and_the_name_of_the_file() -> None:
    with pytest.raises(ManifestError) as caught:
        load((PACKAGE + "    sesions: shared\n").encode(), "other.yml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.where) == ("other.yml", 7, 5, "servers.git.sesions")
    assert (problem.what, problem.hint) == ("unknown key", 'did you mean "sessions"?')


def test_what_shows_later_is_told_with_its_line_too() -> None:
    error = server("").error(("servers", "git", "package"), "is gone", "take another")
    assert str(error) == "central.yml:6: servers.git.package: is gone; take another"


def test_a_thousand_servers_are_read() -> None:
    text = "central: 1\nproject: P\nservers:\n"
    text += "".join(f"  s{n}: {{category: api, package: 'pypi:a==1.{n}', env: {{N: {n}}}}}\n" for n in range(1000))
    assert len(load(text.encode()).servers) == 1000
