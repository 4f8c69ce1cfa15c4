-- A report has no number of its own until it is sent: its seq is `acked_seq` plus its place in the queue. So one that
-- was never sent can be dropped without a hole in the numbers. AUTOINCREMENT: no id is given twice, else `sent_id`
-- would speak of reports that it does not mean.
DROP TABLE outbox;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL CHECK (type IN ('service', 'service-deleted', 'services')),
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
