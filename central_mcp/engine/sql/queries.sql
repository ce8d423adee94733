-- Every statement of `engine.state`, each under its name.

-- name: get_setting
SELECT value FROM settings WHERE name = :name;
-- name: put_setting
INSERT INTO settings (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: add_project
INSERT INTO projects (name, created) VALUES (:name, :now) ON CONFLICT (name) DO NOTHING;
-- name: project
SELECT * FROM projects WHERE name = :name;
-- name: projects
SELECT * FROM projects ORDER BY name;
-- name: project_serves
UPDATE projects SET release = :release, commit_id = :commit_id WHERE name = :name;
-- name: project_numbered
UPDATE projects SET numbered = max(numbered, :number) WHERE name = :name;
-- name: project_refused
UPDATE projects SET refused = :refused WHERE name = :name;
-- name: project_headline
UPDATE projects SET headline = :headline WHERE name = :name;

-- name: servers
SELECT * FROM servers ORDER BY name;
-- name: own_server
INSERT INTO servers (name, project, category, port, since) VALUES (:name, :project, :category, :port, :now)
ON CONFLICT (name) DO UPDATE SET project = excluded.project, category = excluded.category, port = excluded.port,
    since = CASE servers.project WHEN excluded.project THEN servers.since ELSE excluded.since END;
-- name: disown_server
UPDATE servers SET project = '' WHERE name = :name;
-- name: last_number
SELECT max(coalesce((SELECT numbered FROM projects WHERE name = :project), 0),
    coalesce((SELECT max(release) FROM server_releases WHERE server IN (SELECT value FROM json_each(:servers))), 0)
) AS number;

-- name: add_release
INSERT INTO releases (project, number, commit_id, subject, manifest, folder, state, at, rollout)
VALUES (:project, :number, :commit_id, :subject, :manifest, :folder, :state, :at, :rollout);
-- name: release
SELECT * FROM releases WHERE project = :project AND number = :number;
-- name: releases
SELECT * FROM releases WHERE project = :project ORDER BY number DESC;
-- name: release_state
UPDATE releases SET state = :state WHERE project = :project AND number = :number;
-- name: drop_release
DELETE FROM releases WHERE project = :project AND number = :number;
-- name: drop_release_servers
DELETE FROM release_servers WHERE project = :project AND number = :number;
-- name: add_release_server
INSERT INTO release_servers (project, number, server, release) VALUES (:project, :number, :server, :release);
-- name: release_servers
SELECT * FROM release_servers WHERE project = :project AND number = :number ORDER BY server;

-- name: add_server_release
INSERT INTO server_releases (server, release, project, identity, content_hash, state, rollout, route, program)
VALUES (:server, :release, :project, :identity, :content_hash, :state, :rollout, :route, :program);
-- name: server_release
SELECT * FROM server_releases WHERE server = :server AND release = :release;
-- name: server_releases
SELECT * FROM server_releases ORDER BY server, release;
-- name: live_server_releases
SELECT * FROM server_releases WHERE state != 'retired' ORDER BY server, release;
-- name: server_release_state
UPDATE server_releases SET state = :state, rollout = :rollout WHERE server = :server AND release = :release;
-- name: server_release_route
UPDATE server_releases SET route = :route WHERE server = :server AND release = :release;
-- name: drop_server_release
DELETE FROM server_releases WHERE server = :server AND release = :release;
-- name: forgotten_server_releases
SELECT * FROM server_releases s WHERE state = 'retired' AND NOT EXISTS (
    SELECT 1 FROM release_servers r WHERE r.server = s.server AND r.release = s.release AND r.project = s.project
);

-- name: add_rollout
INSERT INTO rollouts (project, commit_id, old_commit, who, source, options, stage, started)
VALUES (:project, :commit_id, :old_commit, :who, :source, :options, :stage, :started);
-- name: rollout
SELECT * FROM rollouts WHERE id = :id;
-- name: rollouts
SELECT * FROM rollouts WHERE project = :project ORDER BY id DESC LIMIT :limit;
-- name: rollout_ids
SELECT id FROM rollouts;
-- name: open_rollouts
SELECT * FROM rollouts WHERE stage NOT IN ('done', 'unchanged', 'failed', 'reverted') ORDER BY id;
-- name: rollout_stage
UPDATE rollouts SET stage = :stage, finished = coalesce(:finished, finished) WHERE id = :id;
-- name: rollout_plan
UPDATE rollouts SET plan = :plan, release = :release, before = :before WHERE id = :id;
-- name: rollout_live
UPDATE rollouts SET live_s = :live_s WHERE id = :id;
-- name: rollout_error
UPDATE rollouts SET error = :error WHERE id = :id;
-- name: rollout_moved
UPDATE rollouts SET moved = :moved WHERE id = :id;
-- name: rollout_playbook
UPDATE rollouts SET playbook = :playbook WHERE id = :id;
-- name: rollout_old_commit
UPDATE rollouts SET old_commit = :old_commit WHERE id = :id;
-- name: forget_rollouts
DELETE FROM rollouts WHERE id IN (SELECT id FROM rollouts WHERE project = :project ORDER BY id DESC LIMIT -1 OFFSET :keep);
-- name: forget_events
DELETE FROM events WHERE rollout NOT IN (SELECT id FROM rollouts);

-- name: add_event
INSERT INTO events (rollout, n, at, body) VALUES (:rollout, :n, :at, :body);
-- name: events
SELECT * FROM events WHERE rollout = :rollout AND n > :after ORDER BY n;

-- name: add_key
INSERT INTO keys (id, sha256, project, name, created) VALUES (:id, :sha256, :project, :name, :created);
-- name: keys
SELECT * FROM keys ORDER BY project, name, id;
-- name: drop_key
DELETE FROM keys WHERE id = :id;
