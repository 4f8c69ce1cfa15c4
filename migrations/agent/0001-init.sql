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

-- The record of each check, so that it goes with the check.
CREATE TABLE checks (
  type TEXT PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36)
) STRICT, WITHOUT ROWID;

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

-- What the detectors found on this host.
CREATE TABLE components (
  detector TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  architecture TEXT,
  first_seen_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (detector, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX components_by_name ON components (name, detector);

-- Reports that the registry has not acknowledged. One has no number of its own until it is sent: its seq is `acked_seq` plus its place in the queue. So one that
-- was never sent can be dropped without a hole in the numbers. AUTOINCREMENT: no id is given twice, else `sent_id`
-- would speak of reports that it does not mean.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL CHECK (type IN ('service', 'service-deleted', 'services', 'host')),
  uuid TEXT,
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  bytes INTEGER NOT NULL CHECK (bytes > 0)
) STRICT;
CREATE INDEX outbox_by_uuid ON outbox (uuid, id);

-- Exactly one row. `sent_id`: reports up to it may be known to the registry, so their numbers are fixed.
CREATE TABLE outbox_state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  active INTEGER NOT NULL CHECK (active IN (0, 1)),
  epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 9007199254740991),
  acked_seq INTEGER NOT NULL CHECK (acked_seq >= 0),
  sent_id INTEGER NOT NULL CHECK (sent_id >= 0),
  items INTEGER NOT NULL CHECK (items >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  dropped INTEGER NOT NULL CHECK (dropped >= 0)
) STRICT;
INSERT INTO outbox_state VALUES (1, 0, 0, 0, 0, 0, 0, 0);

-- What the registry has of the components that changed since it last acknowledged the set; no version: it has none.
CREATE TABLE checkin_bases (
  detector TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT,
  architecture TEXT,
  PRIMARY KEY (detector, name)
) STRICT, WITHOUT ROWID;

-- The registry's last answers, for when it cannot be asked; the oldest go first.
CREATE TABLE remote_answers (
  key TEXT PRIMARY KEY,
  answer TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX remote_answers_by_age ON remote_answers (at_ms);

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

-- What the registry wants of this host, as it was signed: `signature` is over the bytes of `body`. Signing keys, names
-- and URLs to go on with stand in it.
CREATE TABLE held_target (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  tag TEXT NOT NULL,
  body TEXT NOT NULL,
  signature TEXT NOT NULL,
  accepted_at_ms INTEGER NOT NULL
) STRICT;

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
