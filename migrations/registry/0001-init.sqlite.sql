-- One row per fact about the store itself.
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The lives of this store; revisions go on counting through all of them.
CREATE TABLE epochs (
  epoch INTEGER PRIMARY KEY CHECK (epoch BETWEEN 1 AND 9007199254740991),
  start_revision INTEGER NOT NULL CHECK (start_revision BETWEEN 1 AND 9007199254740991),
  reason TEXT NOT NULL
) STRICT;

-- `events` is the JSON array exactly as watchers get it; `hash` chains it to everything before.
CREATE TABLE revisions (
  revision INTEGER PRIMARY KEY CHECK (revision BETWEEN 1 AND 9007199254740991),
  at_ms INTEGER NOT NULL,
  events TEXT NOT NULL,
  hash TEXT NOT NULL CHECK (length(hash) = 71)
) STRICT;

CREATE TABLE services (
  uuid TEXT PRIMARY KEY CHECK (length(uuid) = 36),
  type TEXT NOT NULL,
  host TEXT NOT NULL,
  region TEXT,
  status TEXT NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason TEXT CHECK (reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  ttl_ms INTEGER NOT NULL CHECK (ttl_ms BETWEEN 5000 AND 604800000),
  maintenance_start_ms INTEGER,
  maintenance_end_ms INTEGER,
  maintenance_note TEXT,
  held_by TEXT NOT NULL CHECK (held_by IN ('registry', 'agent')),
  told_status TEXT CHECK (told_status IN ('UP', 'DOWN')),
  told_reason TEXT CHECK (told_reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 9007199254740991),
  last_seen_ms INTEGER,
  UNIQUE (type, host),
  CHECK ((status = 'UP') = (reason IS NULL)),
  CHECK (maintenance_end_ms IS NULL OR maintenance_end_ms >= maintenance_start_ms),
  CHECK (maintenance_start_ms IS NOT NULL OR (maintenance_end_ms IS NULL AND maintenance_note IS NULL)),
  CHECK (told_status IS NOT NULL OR told_reason IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX services_by_region ON services (region, uuid);
CREATE INDEX services_by_type ON services (type, uuid);
CREATE INDEX services_by_host ON services (host, uuid);
CREATE INDEX services_by_status ON services (status, uuid);

-- Uuids whose place another record has taken: their next beat is told so.
CREATE TABLE taken_over (
  uuid TEXT PRIMARY KEY CHECK (length(uuid) = 36),
  by_uuid TEXT NOT NULL CHECK (length(by_uuid) = 36),
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX taken_over_by_age ON taken_over (at_ms);

-- Only the SHA-256 of a token is kept. `api`: of people and programs. `join`: makes hosts, `uses_left` of them. `host`: a
-- host's credential; on offer until `offered_until_ms`, null once it is in force.
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('api', 'join', 'host')),
  role TEXT NOT NULL CHECK (role IN ('viewer', 'reporter', 'publisher', 'operator', 'approver', 'admin', 'host')),
  subject TEXT NOT NULL,
  scope TEXT,
  uses_left INTEGER CHECK (uses_left >= 0),
  labels TEXT,
  region TEXT,
  host_name TEXT,
  host_id TEXT,
  generation INTEGER CHECK (generation >= 1),
  offered_until_ms INTEGER,
  created_by TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER,
  CHECK ((kind = 'api') = (role <> 'host')),
  CHECK ((kind = 'join') = (uses_left IS NOT NULL) AND (kind = 'join') = (labels IS NOT NULL)),
  CHECK ((kind = 'host') = (host_id IS NOT NULL) AND (kind = 'host') = (generation IS NOT NULL)),
  CHECK (scope IS NULL OR kind = 'api'),
  CHECK ((region IS NULL AND host_name IS NULL) OR kind = 'join'),
  CHECK (offered_until_ms IS NULL OR kind = 'host')
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_host ON tokens (host_id) WHERE host_id IS NOT NULL;
CREATE INDEX tokens_by_kind ON tokens (kind, id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at_ms);
CREATE INDEX tokens_by_revocation ON tokens (revoked_at_ms) WHERE revoked_at_ms IS NOT NULL;

CREATE TABLE hosts (
  id TEXT PRIMARY KEY CHECK (length(id) = 36),
  -- What tables with many rows call it; never given twice (meta `hosts_numbered`).
  no INTEGER NOT NULL UNIQUE CHECK (no >= 1),
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 253),
  region TEXT,
  labels TEXT NOT NULL CHECK (json_type(labels) = 'object'),
  self TEXT NOT NULL CHECK (json_type(self) = 'object'),
  machine_id TEXT NOT NULL,
  -- What it wished to be called at its join, and wishes again when it comes back: it may have been renamed since.
  joined_as TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason TEXT CHECK (reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  first_seen_ms INTEGER NOT NULL,
  last_seen_ms INTEGER,
  version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 9007199254740991),
  interval_told_ms INTEGER NOT NULL CHECK (interval_told_ms > 0),
  -- What the host proves itself with; null when it joined without a key.
  public_key TEXT,
  -- How often its credential was renewed or given anew: a copy of the host falls behind.
  generation INTEGER NOT NULL CHECK (generation >= 1),
  -- The join token that it came with; null: an admin let it in.
  joined_by TEXT,
  revoked_at_ms INTEGER,
  -- Counts the changes of what its target shows.
  target_serial INTEGER NOT NULL CHECK (target_serial >= 1),
  inventory_hash TEXT,
  -- When that last changed: of changes in one host's components none is before an earlier one, whatever the clock does.
  inventory_at_ms INTEGER,
  -- Check-ins that changed it.
  checkins INTEGER NOT NULL CHECK (checkins >= 0),
  -- What is shown of the host, but for when it was seen and what is installed, is so since then.
  changed_at_ms INTEGER NOT NULL CHECK (changed_at_ms >= first_seen_ms),
  -- When it was last seen before it went DOWN; null while it is UP.
  gone_seen_ms INTEGER,
  -- The furthest that this registry has seen of the agent's log.
  agent_epoch INTEGER,
  agent_revision INTEGER,
  agent_hash TEXT,
  -- The last report of the agent's outbox that is in effect here.
  outbox_epoch INTEGER,
  outbox_seq INTEGER,
  CHECK ((status = 'UP') = (reason IS NULL)),
  CHECK ((agent_epoch IS NULL) = (agent_revision IS NULL) AND (agent_epoch IS NULL) = (agent_hash IS NULL)),
  CHECK ((outbox_epoch IS NULL) = (outbox_seq IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX hosts_by_machine ON hosts (machine_id);
CREATE INDEX hosts_by_region ON hosts (region, name);
CREATE INDEX hosts_by_status ON hosts (status, name);

-- How hosts were, from `from_ms` to before `to_ms`: also those that are gone. `removed`: it was removed at `to_ms`.
CREATE TABLE hosts_past (
  no INTEGER NOT NULL,
  id TEXT NOT NULL CHECK (length(id) = 36),
  name TEXT NOT NULL,
  region TEXT,
  labels TEXT NOT NULL,
  self TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason TEXT,
  first_seen_ms INTEGER NOT NULL,
  gone_seen_ms INTEGER,
  revoked_at_ms INTEGER,
  version INTEGER NOT NULL,
  from_ms INTEGER NOT NULL CHECK (from_ms >= first_seen_ms),
  to_ms INTEGER NOT NULL CHECK (to_ms > from_ms),
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  PRIMARY KEY (no, to_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX hosts_past_by_id ON hosts_past (id, to_ms);
CREATE INDEX hosts_past_by_name ON hosts_past (name, to_ms);
CREATE INDEX hosts_past_by_end ON hosts_past (to_ms, from_ms, status);
CREATE INDEX hosts_past_removed ON hosts_past (to_ms) WHERE removed = 1;

-- Each check-in that changed a host's components; `count`: which one of its own it was.
CREATE TABLE checkins (
  host_no INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  count INTEGER NOT NULL CHECK (count >= 1),
  PRIMARY KEY (host_no, at_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX checkins_by_age ON checkins (at_ms);

-- What is installed anywhere, or was: each name that a detector has found, and each version of it, once.
CREATE TABLE component_names (
  id INTEGER PRIMARY KEY,
  detector TEXT NOT NULL CHECK (detector <> ''),
  name TEXT NOT NULL CHECK (name <> ''),
  UNIQUE (name, detector)
) STRICT;

-- `architecture` '': none. `hosts`: on how many it is installed now.
CREATE TABLE component_versions (
  id INTEGER PRIMARY KEY,
  name_id INTEGER NOT NULL REFERENCES component_names (id),
  version TEXT NOT NULL CHECK (version <> ''),
  architecture TEXT NOT NULL,
  hosts INTEGER NOT NULL CHECK (hosts >= 0),
  UNIQUE (name_id, version, architecture)
) STRICT;

-- What is installed on each host, as it is since `changed_at_ms`.
CREATE TABLE components (
  host_no INTEGER NOT NULL REFERENCES hosts (no),
  name_id INTEGER NOT NULL,
  version_id INTEGER NOT NULL REFERENCES component_versions (id),
  first_seen_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL CHECK (changed_at_ms >= first_seen_ms),
  PRIMARY KEY (host_no, name_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX components_by_version ON components (version_id, changed_at_ms, host_no);

-- What was, from `from_ms` to before `to_ms`: also of hosts that are gone.
CREATE TABLE components_past (
  host_no INTEGER NOT NULL,
  name_id INTEGER NOT NULL,
  version_id INTEGER NOT NULL REFERENCES component_versions (id),
  first_seen_ms INTEGER NOT NULL,
  from_ms INTEGER NOT NULL CHECK (from_ms >= first_seen_ms),
  to_ms INTEGER NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (host_no, to_ms, name_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX components_past_by_version ON components_past (version_id, to_ms, from_ms, host_no);

-- Versions of components that somebody published. Texts of a release are bounded together; `data` is JSON as it came.
CREATE TABLE releases (
  component TEXT NOT NULL CHECK (component <> ''),
  train TEXT NOT NULL CHECK (train <> ''),
  version TEXT NOT NULL CHECK (version NOT IN ('', 'latest')),
  released_ms INTEGER NOT NULL,
  description TEXT,
  fixes TEXT,
  image TEXT,
  data TEXT CHECK (json_type(data) = 'object'),
  published_by TEXT NOT NULL,
  published_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL CHECK (changed_at_ms >= published_at_ms),
  PRIMARY KEY (component, train, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX releases_by_date ON releases (component, train, released_ms, published_at_ms, version);

-- What was published, from `from_ms` to before `to_ms`.
CREATE TABLE releases_past (
  component TEXT NOT NULL,
  train TEXT NOT NULL,
  version TEXT NOT NULL,
  released_ms INTEGER NOT NULL,
  description TEXT,
  fixes TEXT,
  image TEXT,
  data TEXT CHECK (json_type(data) = 'object'),
  published_by TEXT NOT NULL,
  published_at_ms INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (component, train, version, to_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX releases_past_by_end ON releases_past (to_ms);

-- Trains that follow another one of the same component: its releases arrive here `delay_ms` after they came out.
CREATE TABLE trains (
  component TEXT NOT NULL CHECK (component <> ''),
  train TEXT NOT NULL CHECK (train <> ''),
  follows TEXT NOT NULL CHECK (follows NOT IN ('', train)),
  delay_ms INTEGER NOT NULL CHECK (delay_ms >= 0),
  changed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (component, train)
) STRICT, WITHOUT ROWID;

-- Which trains followed others, from `from_ms` to before `to_ms`.
CREATE TABLE trains_past (
  component TEXT NOT NULL,
  train TEXT NOT NULL,
  follows TEXT NOT NULL,
  delay_ms INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (component, train, to_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX trains_past_by_end ON trains_past (to_ms);

-- What hosts told of themselves when they were ill, as JSON. `host` of v3, the old wire format, is the id of a cluster.
CREATE TABLE doctor_reports (
  id TEXT PRIMARY KEY CHECK (id <> ''),
  wire TEXT NOT NULL CHECK (wire IN ('v1', 'v3')),
  host TEXT,
  sender TEXT NOT NULL,
  comment TEXT,
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX doctor_reports_by_time ON doctor_reports (at_ms, id);
CREATE INDEX doctor_reports_by_sender ON doctor_reports (sender, at_ms, id);

-- How far in the log each sink has been told; `sending` is what is on its way to it, as JSON.
CREATE TABLE notify_places (
  sink TEXT PRIMARY KEY CHECK (sink <> ''),
  epoch INTEGER NOT NULL CHECK (epoch >= 0),
  revision INTEGER NOT NULL CHECK (revision >= 0),
  sending TEXT,
  delivered INTEGER NOT NULL CHECK (delivered >= 0),
  failed INTEGER NOT NULL CHECK (failed >= 0),
  dropped INTEGER NOT NULL CHECK (dropped >= 0),
  missed INTEGER NOT NULL CHECK (missed >= 0),
  last_success_ms INTEGER,
  last_error_ms INTEGER,
  last_error TEXT,
  CHECK ((last_error_ms IS NULL) = (last_error IS NULL))
) STRICT, WITHOUT ROWID;

-- What a sink was last told of each thing by each rule: the same is not told again at once, what maintenance kept silent
-- is told after it, and what fires is told again until it ends. `held` and `alert` are JSON.
CREATE TABLE notify_subjects (
  sink TEXT NOT NULL,
  rule TEXT NOT NULL,
  subject TEXT NOT NULL,
  title TEXT,
  told TEXT CHECK (told IN ('DOWN', 'UP', 'gone', 'change')),
  at_ms INTEGER NOT NULL,
  forget_at_ms INTEGER NOT NULL,
  held TEXT,
  alert TEXT,
  PRIMARY KEY (sink, rule, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX notify_subjects_by_end ON notify_subjects (forget_at_ms);
CREATE INDEX notify_subjects_held ON notify_subjects (sink, rule, subject) WHERE held IS NOT NULL;
CREATE INDEX notify_subjects_firing ON notify_subjects (sink, rule, subject) WHERE alert IS NOT NULL;

-- Clients of workflow-manager-api: what they said last, and each instant at which they said something. All spellings
-- of an id have one key.
CREATE TABLE clusters (
  key TEXT PRIMARY KEY CHECK (key <> ''),
  id TEXT NOT NULL CHECK (id <> ''),
  components TEXT NOT NULL,
  first_seen_ms INTEGER NOT NULL,
  last_seen_ms INTEGER NOT NULL CHECK (last_seen_ms >= first_seen_ms),
  checkins INTEGER NOT NULL CHECK (checkins >= 1)
) STRICT;
CREATE INDEX clusters_by_first_seen ON clusters (first_seen_ms, key);

CREATE TABLE cluster_checkins (
  cluster_key TEXT NOT NULL REFERENCES clusters (key),
  at_ms INTEGER NOT NULL,
  count INTEGER NOT NULL CHECK (count >= 1),
  PRIMARY KEY (cluster_key, at_ms)
) STRICT, WITHOUT ROWID;

-- What people and tokens did, one row for each event; `hash` chains it to the one before. Meta `audit_head` is where it
-- ends and `audit_base` where it begins, so that a lost end shows.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY CHECK (seq >= 1),
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  role TEXT NOT NULL,
  token_id TEXT,
  type TEXT NOT NULL,
  host TEXT,
  position TEXT NOT NULL,
  body TEXT NOT NULL,
  hash TEXT NOT NULL CHECK (length(hash) = 71)
) STRICT;
CREATE INDEX audit_by_actor ON audit (actor, seq);
CREATE INDEX audit_by_type ON audit (type, seq);
CREATE INDEX audit_by_host ON audit (host, seq) WHERE host IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at_ms);

-- The first answer to a POST that creates, for whoever sends it again. No status: it was taken and not answered yet.
CREATE TABLE idempotency (
  subject TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  status INTEGER,
  body TEXT,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (subject, key),
  CHECK ((status IS NULL) = (body IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (at_ms);
