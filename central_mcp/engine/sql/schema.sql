-- state.db: what the engine knows. Everything in registry/ and etc/programs, etc/runner is made from it.

CREATE TABLE IF NOT EXISTS settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS projects (
    name        TEXT PRIMARY KEY,
    created     REAL NOT NULL,
    release     INTEGER NOT NULL DEFAULT 0,   -- the serving release; 0: none yet
    commit_id   TEXT NOT NULL DEFAULT '',     -- the serving commit, where the branch points
    numbered    INTEGER NOT NULL DEFAULT 0,   -- the last number given to a release
    refused     TEXT NOT NULL DEFAULT '',     -- JSON {commit, why, at} of the last refused or reverted commit
    headline    TEXT NOT NULL DEFAULT ''      -- said at the head of the next push (a later revert)
) STRICT;

-- A name keeps its port for ever; `project` is empty while nobody owns the name.
CREATE TABLE IF NOT EXISTS servers (
    name        TEXT PRIMARY KEY,
    project     TEXT NOT NULL,
    category    TEXT NOT NULL,
    port        INTEGER NOT NULL UNIQUE,
    since       REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS releases (
    project     TEXT NOT NULL,
    number      INTEGER NOT NULL,
    commit_id   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    manifest    TEXT NOT NULL,
    folder      TEXT NOT NULL,                -- below the home
    state       TEXT NOT NULL,                -- staged | serving | retired | failed | reverted
    at          REAL NOT NULL,
    rollout     INTEGER NOT NULL,
    PRIMARY KEY (project, number)
) STRICT;

-- Which server-release a project's release consists of: an unchanged server keeps its older one.
CREATE TABLE IF NOT EXISTS release_servers (
    project     TEXT NOT NULL,
    number      INTEGER NOT NULL,
    server      TEXT NOT NULL,
    release     INTEGER NOT NULL,
    PRIMARY KEY (project, number, server)
) STRICT;

CREATE TABLE IF NOT EXISTS server_releases (
    server       TEXT NOT NULL,
    release      INTEGER NOT NULL,
    project      TEXT NOT NULL,
    identity     TEXT NOT NULL UNIQUE,
    content_hash TEXT NOT NULL,
    state        TEXT NOT NULL,               -- staged | serving | draining | retired
    rollout      INTEGER NOT NULL,            -- the rollout that last moved it
    route        TEXT NOT NULL,               -- JSON: registry.Release fields, and category, listen, description
    program      TEXT NOT NULL,               -- JSON: one server of the runner's table, and where its release lies
    PRIMARY KEY (server, release)
) STRICT;
CREATE INDEX IF NOT EXISTS server_releases_state ON server_releases (state);

CREATE TABLE IF NOT EXISTS rollouts (
    id          INTEGER PRIMARY KEY,
    project     TEXT NOT NULL,
    commit_id   TEXT NOT NULL,
    old_commit  TEXT NOT NULL,                -- where the branch pointed at the start
    who         TEXT NOT NULL,
    source      TEXT NOT NULL,                -- push | cli | playbook | rollback
    options     TEXT NOT NULL,                -- JSON list
    stage       TEXT NOT NULL,                -- see rollout/states.py
    release     INTEGER NOT NULL DEFAULT 0,
    before      INTEGER NOT NULL DEFAULT 0,   -- the release that served at the start
    plan        TEXT NOT NULL DEFAULT '[]',   -- JSON list of changes
    started     REAL NOT NULL,
    live_s      REAL,
    finished    REAL,
    error       TEXT NOT NULL DEFAULT '',     -- JSON of the failed event
    moved       INTEGER NOT NULL DEFAULT 0,   -- 1: the branch was moved to commit_id
    playbook    TEXT NOT NULL DEFAULT ''      -- JSON {pid, since} of its ansible-playbook
) STRICT;
CREATE INDEX IF NOT EXISTS rollouts_project ON rollouts (project, id);

CREATE TABLE IF NOT EXISTS events (
    rollout     INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    at          REAL NOT NULL,
    body        TEXT NOT NULL,                -- JSON
    PRIMARY KEY (rollout, n)
) STRICT;

CREATE TABLE IF NOT EXISTS keys (
    id          TEXT PRIMARY KEY,
    sha256      TEXT NOT NULL,                -- of the whole key; the key itself is never kept
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    created     REAL NOT NULL
) STRICT;
