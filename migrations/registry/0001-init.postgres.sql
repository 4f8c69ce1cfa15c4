-- Integers that JavaScript holds exactly. Ordered text is COLLATE "C": the order of SQLite, and of nobody's locale.
CREATE DOMAIN safe_integer AS bigint CHECK (VALUE BETWEEN -9007199254740991 AND 9007199254740991);

-- Who leads. Every commit of the leader checks the term, so that a leader that lost its lock cannot write.
CREATE TABLE leadership (
  one integer PRIMARY KEY CHECK (one = 1),
  term bigint NOT NULL,
  holder text NOT NULL,
  since_ms bigint NOT NULL
);
INSERT INTO leadership VALUES (1, 0, 'nobody', 0);

-- One row per fact about the store itself.
CREATE TABLE meta (
  key text COLLATE "C" PRIMARY KEY,
  value text COLLATE "C" NOT NULL
);

-- The lives of this store; revisions go on counting through all of them.
CREATE TABLE epochs (
  epoch safe_integer PRIMARY KEY CHECK (epoch >= 1),
  start_revision safe_integer NOT NULL CHECK (start_revision >= 1),
  reason text COLLATE "C" NOT NULL
);

-- `events` is the JSON array exactly as watchers get it; `hash` chains it to everything before.
CREATE TABLE revisions (
  revision safe_integer PRIMARY KEY CHECK (revision >= 1),
  at_ms safe_integer NOT NULL,
  events text NOT NULL,
  hash text COLLATE "C" NOT NULL CHECK (length(hash) = 71)
);

CREATE TABLE services (
  uuid text COLLATE "C" PRIMARY KEY CHECK (length(uuid) = 36),
  type text COLLATE "C" NOT NULL,
  host text COLLATE "C" NOT NULL,
  region text COLLATE "C",
  status text COLLATE "C" NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason text COLLATE "C" CHECK (reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  ttl_ms safe_integer NOT NULL CHECK (ttl_ms BETWEEN 5000 AND 604800000),
  maintenance_start_ms safe_integer,
  maintenance_end_ms safe_integer,
  maintenance_note text COLLATE "C",
  held_by text COLLATE "C" NOT NULL CHECK (held_by IN ('registry', 'agent')),
  told_status text COLLATE "C" CHECK (told_status IN ('UP', 'DOWN')),
  told_reason text COLLATE "C" CHECK (told_reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  version safe_integer NOT NULL CHECK (version >= 1),
  last_seen_ms safe_integer,
  UNIQUE (type, host),
  CHECK ((status = 'UP') = (reason IS NULL)),
  CHECK (maintenance_end_ms IS NULL OR maintenance_end_ms >= maintenance_start_ms),
  CHECK (maintenance_start_ms IS NOT NULL OR (maintenance_end_ms IS NULL AND maintenance_note IS NULL)),
  CHECK (told_status IS NOT NULL OR told_reason IS NULL)
);
CREATE INDEX services_by_region ON services (region, uuid);
CREATE INDEX services_by_type ON services (type, uuid);
CREATE INDEX services_by_host ON services (host, uuid);
CREATE INDEX services_by_status ON services (status, uuid);

-- Uuids whose place another record has taken: their next beat is told so.
CREATE TABLE taken_over (
  uuid text COLLATE "C" PRIMARY KEY CHECK (length(uuid) = 36),
  by_uuid text COLLATE "C" NOT NULL CHECK (length(by_uuid) = 36),
  at_ms safe_integer NOT NULL
);
CREATE INDEX taken_over_by_age ON taken_over (at_ms);

-- Only the SHA-256 of a token is kept. `api`: of people and programs. `join`: makes hosts, `uses_left` of them. `host`: a
-- host's credential; on offer until `offered_until_ms`, null once it is in force.
CREATE TABLE tokens (
  id text COLLATE "C" PRIMARY KEY,
  hash text COLLATE "C" NOT NULL UNIQUE,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('api', 'join', 'host')),
  role text COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'reporter', 'publisher', 'operator', 'approver', 'admin', 'host')),
  subject text COLLATE "C" NOT NULL,
  scope text COLLATE "C",
  uses_left safe_integer CHECK (uses_left >= 0),
  labels text COLLATE "C",
  region text COLLATE "C",
  host_name text COLLATE "C",
  host_id text COLLATE "C",
  generation safe_integer CHECK (generation >= 1),
  offered_until_ms safe_integer,
  created_by text COLLATE "C" NOT NULL,
  created_at_ms safe_integer NOT NULL,
  expires_at_ms safe_integer NOT NULL,
  revoked_at_ms safe_integer,
  CHECK ((kind = 'api') = (role <> 'host')),
  CHECK ((kind = 'join') = (uses_left IS NOT NULL) AND (kind = 'join') = (labels IS NOT NULL)),
  CHECK ((kind = 'host') = (host_id IS NOT NULL) AND (kind = 'host') = (generation IS NOT NULL)),
  CHECK (scope IS NULL OR kind = 'api'),
  CHECK ((region IS NULL AND host_name IS NULL) OR kind = 'join'),
  CHECK (offered_until_ms IS NULL OR kind = 'host')
);
CREATE INDEX tokens_by_host ON tokens (host_id) WHERE host_id IS NOT NULL;
CREATE INDEX tokens_by_kind ON tokens (kind, id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at_ms);
CREATE INDEX tokens_by_revocation ON tokens (revoked_at_ms) WHERE revoked_at_ms IS NOT NULL;

CREATE TABLE hosts (
  id text COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
  -- What tables with many rows call it; never given twice (meta `hosts_numbered`).
  no integer NOT NULL UNIQUE CHECK (no >= 1),
  name text COLLATE "C" NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 253),
  region text COLLATE "C",
  labels text COLLATE "C" NOT NULL CHECK (jsonb_typeof(labels::jsonb) = 'object'),
  self text COLLATE "C" NOT NULL CHECK (jsonb_typeof(self::jsonb) = 'object'),
  machine_id text COLLATE "C" NOT NULL,
  -- What it wished to be called at its join, and wishes again when it comes back: it may have been renamed since.
  joined_as text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason text COLLATE "C" CHECK (reason IN ('set', 'lapsed', 'host', 'check', 'left')),
  first_seen_ms safe_integer NOT NULL,
  last_seen_ms safe_integer,
  version safe_integer NOT NULL CHECK (version >= 1),
  interval_told_ms safe_integer NOT NULL CHECK (interval_told_ms > 0),
  -- What the host proves itself with; null when it joined without a key.
  public_key text COLLATE "C",
  -- How often its credential was renewed or given anew: a copy of the host falls behind.
  generation safe_integer NOT NULL CHECK (generation >= 1),
  -- The join token that it came with; null: an admin let it in.
  joined_by text COLLATE "C",
  revoked_at_ms safe_integer,
  -- Counts the changes of what its target shows.
  target_serial safe_integer NOT NULL CHECK (target_serial >= 1),
  inventory_hash text COLLATE "C",
  -- When that last changed: of changes in one host's components none is before an earlier one, whatever the clock does.
  inventory_at_ms safe_integer,
  -- Check-ins that changed it.
  checkins safe_integer NOT NULL CHECK (checkins >= 0),
  -- What is shown of the host, but for when it was seen and what is installed, is so since then.
  changed_at_ms safe_integer NOT NULL CHECK (changed_at_ms >= first_seen_ms),
  -- When it was last seen before it went DOWN; null while it is UP.
  gone_seen_ms safe_integer,
  -- The furthest that this registry has seen of the agent's log.
  agent_epoch safe_integer,
  agent_revision safe_integer,
  agent_hash text COLLATE "C",
  -- The last report of the agent's outbox that is in effect here.
  outbox_epoch safe_integer,
  outbox_seq safe_integer,
  CHECK ((status = 'UP') = (reason IS NULL)),
  CHECK ((agent_epoch IS NULL) = (agent_revision IS NULL) AND (agent_epoch IS NULL) = (agent_hash IS NULL)),
  CHECK ((outbox_epoch IS NULL) = (outbox_seq IS NULL))
);
CREATE INDEX hosts_by_machine ON hosts (machine_id);
CREATE INDEX hosts_by_region ON hosts (region, name);
CREATE INDEX hosts_by_status ON hosts (status, name);

-- How hosts were, from `from_ms` to before `to_ms`: also those that are gone. `removed`: it was removed at `to_ms`.
CREATE TABLE hosts_past (
  no integer NOT NULL,
  id text COLLATE "C" NOT NULL CHECK (length(id) = 36),
  name text COLLATE "C" NOT NULL,
  region text COLLATE "C",
  labels text COLLATE "C" NOT NULL,
  self text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL CHECK (status IN ('UP', 'DOWN')),
  reason text COLLATE "C",
  first_seen_ms safe_integer NOT NULL,
  gone_seen_ms safe_integer,
  revoked_at_ms safe_integer,
  version safe_integer NOT NULL,
  from_ms safe_integer NOT NULL CHECK (from_ms >= first_seen_ms),
  to_ms safe_integer NOT NULL CHECK (to_ms > from_ms),
  removed integer NOT NULL CHECK (removed IN (0, 1)),
  PRIMARY KEY (no, to_ms)
);
CREATE INDEX hosts_past_by_id ON hosts_past (id, to_ms);
CREATE INDEX hosts_past_by_name ON hosts_past (name, to_ms);
CREATE INDEX hosts_past_by_end ON hosts_past (to_ms, from_ms, status);
CREATE INDEX hosts_past_removed ON hosts_past (to_ms) WHERE removed = 1;

-- Each check-in that changed a host's components; `count`: which one of its own it was.
CREATE TABLE checkins (
  host_no integer NOT NULL,
  at_ms safe_integer NOT NULL,
  count safe_integer NOT NULL CHECK (count >= 1),
  PRIMARY KEY (host_no, at_ms)
);
CREATE INDEX checkins_by_age ON checkins (at_ms);

-- What is installed anywhere, or was: each name that a detector has found, and each version of it, once.
CREATE TABLE component_names (
  id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  detector text COLLATE "C" NOT NULL CHECK (detector <> ''),
  name text COLLATE "C" NOT NULL CHECK (name <> ''),
  UNIQUE (name, detector)
);

-- `architecture` '': none. `hosts`: on how many it is installed now.
CREATE TABLE component_versions (
  id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  name_id integer NOT NULL REFERENCES component_names (id),
  version text COLLATE "C" NOT NULL CHECK (version <> ''),
  architecture text COLLATE "C" NOT NULL,
  hosts integer NOT NULL CHECK (hosts >= 0),
  UNIQUE (name_id, version, architecture)
);

-- What is installed on each host, as it is since `changed_at_ms`.
CREATE TABLE components (
  host_no integer NOT NULL REFERENCES hosts (no),
  name_id integer NOT NULL,
  version_id integer NOT NULL REFERENCES component_versions (id),
  first_seen_ms safe_integer NOT NULL,
  changed_at_ms safe_integer NOT NULL CHECK (changed_at_ms >= first_seen_ms),
  PRIMARY KEY (host_no, name_id)
);
CREATE INDEX components_by_version ON components (version_id, changed_at_ms, host_no);

-- What was, from `from_ms` to before `to_ms`: also of hosts that are gone.
CREATE TABLE components_past (
  host_no integer NOT NULL,
  name_id integer NOT NULL,
  version_id integer NOT NULL REFERENCES component_versions (id),
  first_seen_ms safe_integer NOT NULL,
  from_ms safe_integer NOT NULL CHECK (from_ms >= first_seen_ms),
  to_ms safe_integer NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (host_no, to_ms, name_id)
);
CREATE INDEX components_past_by_version ON components_past (version_id, to_ms, from_ms, host_no);

-- Versions of components that somebody published. Texts of a release are bounded together; `data` is JSON as it came.
CREATE TABLE releases (
  component text COLLATE "C" NOT NULL CHECK (component <> ''),
  train text COLLATE "C" NOT NULL CHECK (train <> ''),
  version text COLLATE "C" NOT NULL CHECK (version NOT IN ('', 'latest')),
  released_ms safe_integer NOT NULL,
  description text,
  fixes text,
  image text,
  data text CHECK (json_typeof(data::json) = 'object'),
  published_by text COLLATE "C" NOT NULL,
  published_at_ms safe_integer NOT NULL,
  changed_at_ms safe_integer NOT NULL CHECK (changed_at_ms >= published_at_ms),
  PRIMARY KEY (component, train, version)
);
CREATE INDEX releases_by_date ON releases (component, train, released_ms, published_at_ms, version);

-- What was published, from `from_ms` to before `to_ms`.
CREATE TABLE releases_past (
  component text COLLATE "C" NOT NULL,
  train text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  released_ms safe_integer NOT NULL,
  description text,
  fixes text,
  image text,
  data text CHECK (json_typeof(data::json) = 'object'),
  published_by text COLLATE "C" NOT NULL,
  published_at_ms safe_integer NOT NULL,
  from_ms safe_integer NOT NULL,
  to_ms safe_integer NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (component, train, version, to_ms)
);
CREATE INDEX releases_past_by_end ON releases_past (to_ms);

-- Trains that follow another one of the same component: its releases arrive here `delay_ms` after they came out.
CREATE TABLE trains (
  component text COLLATE "C" NOT NULL CHECK (component <> ''),
  train text COLLATE "C" NOT NULL CHECK (train <> ''),
  follows text COLLATE "C" NOT NULL CHECK (follows NOT IN ('', train)),
  delay_ms safe_integer NOT NULL CHECK (delay_ms >= 0),
  changed_at_ms safe_integer NOT NULL,
  PRIMARY KEY (component, train)
);

-- Which trains followed others, from `from_ms` to before `to_ms`.
CREATE TABLE trains_past (
  component text COLLATE "C" NOT NULL,
  train text COLLATE "C" NOT NULL,
  follows text COLLATE "C" NOT NULL,
  delay_ms safe_integer NOT NULL,
  from_ms safe_integer NOT NULL,
  to_ms safe_integer NOT NULL CHECK (to_ms > from_ms),
  PRIMARY KEY (component, train, to_ms)
);
CREATE INDEX trains_past_by_end ON trains_past (to_ms);

-- What hosts told of themselves when they were ill, as JSON. `host` of v3, the old wire format, is the id of a cluster.
CREATE TABLE doctor_reports (
  id text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
  wire text COLLATE "C" NOT NULL CHECK (wire IN ('v1', 'v3')),
  host text COLLATE "C",
  sender text COLLATE "C" NOT NULL,
  comment text,
  bytes safe_integer NOT NULL CHECK (bytes >= 0),
  at_ms safe_integer NOT NULL,
  body text NOT NULL
);
CREATE INDEX doctor_reports_by_time ON doctor_reports (at_ms, id);
CREATE INDEX doctor_reports_by_sender ON doctor_reports (sender, at_ms, id);

-- How far in the log each sink has been told; `sending` is what is on its way to it, as JSON.
CREATE TABLE notify_places (
  sink text COLLATE "C" PRIMARY KEY CHECK (sink <> ''),
  epoch safe_integer NOT NULL CHECK (epoch >= 0),
  revision safe_integer NOT NULL CHECK (revision >= 0),
  sending text,
  delivered safe_integer NOT NULL CHECK (delivered >= 0),
  failed safe_integer NOT NULL CHECK (failed >= 0),
  dropped safe_integer NOT NULL CHECK (dropped >= 0),
  missed safe_integer NOT NULL CHECK (missed >= 0),
  last_success_ms safe_integer,
  last_error_ms safe_integer,
  last_error text,
  CHECK ((last_error_ms IS NULL) = (last_error IS NULL))
);

-- What a sink was last told of each thing by each rule: the same is not told again at once, what maintenance kept silent
-- is told after it, and what fires is told again until it ends. `held` and `alert` are JSON.
CREATE TABLE notify_subjects (
  sink text COLLATE "C" NOT NULL,
  rule text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  title text,
  told text COLLATE "C" CHECK (told IN ('DOWN', 'UP', 'gone', 'change')),
  at_ms safe_integer NOT NULL,
  forget_at_ms safe_integer NOT NULL,
  held text,
  alert text,
  PRIMARY KEY (sink, rule, subject)
);
CREATE INDEX notify_subjects_by_end ON notify_subjects (forget_at_ms);
CREATE INDEX notify_subjects_held ON notify_subjects (sink, rule, subject) WHERE held IS NOT NULL;
CREATE INDEX notify_subjects_firing ON notify_subjects (sink, rule, subject) WHERE alert IS NOT NULL;

-- Clients of workflow-manager-api: what they said last, and each instant at which they said something. All spellings
-- of an id have one key.
CREATE TABLE clusters (
  key text COLLATE "C" PRIMARY KEY CHECK (key <> ''),
  id text COLLATE "C" NOT NULL CHECK (id <> ''),
  components text NOT NULL,
  first_seen_ms safe_integer NOT NULL,
  last_seen_ms safe_integer NOT NULL CHECK (last_seen_ms >= first_seen_ms),
  checkins safe_integer NOT NULL CHECK (checkins >= 1)
);
CREATE INDEX clusters_by_first_seen ON clusters (first_seen_ms, key);

CREATE TABLE cluster_checkins (
  cluster_key text COLLATE "C" NOT NULL REFERENCES clusters (key),
  at_ms safe_integer NOT NULL,
  count safe_integer NOT NULL CHECK (count >= 1),
  PRIMARY KEY (cluster_key, at_ms)
);

-- What people and tokens did, one row for each event; `hash` chains it to the one before. Meta `audit_head` is where it
-- ends and `audit_base` where it begins, so that a lost end shows.
CREATE TABLE audit (
  seq safe_integer PRIMARY KEY CHECK (seq >= 1),
  at_ms safe_integer NOT NULL,
  actor text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  token_id text COLLATE "C",
  type text COLLATE "C" NOT NULL,
  host text COLLATE "C",
  position text COLLATE "C" NOT NULL,
  body text NOT NULL,
  hash text COLLATE "C" NOT NULL CHECK (length(hash) = 71)
);
CREATE INDEX audit_by_actor ON audit (actor, seq);
CREATE INDEX audit_by_type ON audit (type, seq);
CREATE INDEX audit_by_host ON audit (host, seq) WHERE host IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at_ms);

-- The first answer to a POST that creates, for whoever sends it again. No status: it was taken and not answered yet.
CREATE TABLE idempotency (
  subject text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  fingerprint text NOT NULL,
  status bigint,
  body text,
  at_ms bigint NOT NULL,
  PRIMARY KEY (subject, key),
  CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_by_age ON idempotency (at_ms);
