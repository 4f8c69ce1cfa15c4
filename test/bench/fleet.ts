/**
 * A registry's store as a fleet leaves it, made in bulk: check-ins of 20,000 hosts with 500 components each would write
 * 2 GB of log on the way. One host joins and checks in for real; all rows of the others are copies of its rows with
 * what differs. `inventory.ts` shows that the registry takes them for its own.
 */
import Database from 'better-sqlite3';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';

export interface FleetPlan {
  readonly hosts: number;
  /** Names on each host, each in one of `versionsOf` versions. */
  readonly components: number;
  readonly seed: number;
  /** The first so many can check in; of the others the hash of their components is not worked out. */
  readonly checkingIn: number;
  /** The instant that is now. */
  readonly nowMs: number;
}

const dayMs = 86_400_000;
/** How long ago the first host joined. */
export const fleetAgeDays = 90;
export const regions = ['eu', 'us', 'ap'] as const;
const versions = 4;

export function componentName(n: number): string {
  return `package-${String(n).padStart(4, '0')}`;
}

/** What is installed there: every component, most in the third of four versions. */
export function componentsOf(plan: FleetPlan, host: number): Component[] {
  return Array.from({ length: plan.components }, (_, n) => ({
    name: componentName(n),
    version: versionText(versionAt(plan.seed, host, n)),
    detector: 'dpkg',
    architecture: 'amd64',
  }));
}

export function versionText(version: number): string {
  return `1.2.${version}-1`;
}

/** Of ten hosts one has the oldest, two the next, six the third, one the newest. */
function versionAt(seed: number, host: number, component: number): number {
  const draw = Math.imul((host * 7_919 + component * 104_729 + seed) | 0, 2_654_435_761) >>> 16;
  const tenth = draw % 10;
  return tenth === 0 ? 0 : tenth < 3 ? 1 : tenth < 9 ? 2 : 3;
}

/** When a host joined: evenly over the fleet's age. */
export function joinedMs({ hosts, nowMs }: FleetPlan, host: number): number {
  return nowMs - Math.floor(fleetAgeDays * dayMs * (1 - host / hosts));
}

/**
 * Fills the database of a stopped registry with hosts `fleet-0` and on, all UP and not expected for a day. `model` is
 * the name of a host in it that has joined; of it nothing changes.
 */
export function fillFleet(file: string, plan: FleetPlan, model: string): void {
  const db = new Database(file, { fileMustExist: true });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = OFF');
    db.pragma('cache_size = -262144');
    db.transaction(() => {
      const versionIds = fillDictionary(db, plan);
      fillHosts(db, plan, model);
      fillComponents(db, plan, versionIds);
    })();
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}

/** Ids of the versions of each component. */
function fillDictionary(db: Database.Database, plan: FleetPlan): number[][] {
  const addName = db.prepare('INSERT INTO component_names (detector, name) VALUES (?, ?)');
  const addVersion = db.prepare(
    'INSERT INTO component_versions (name_id, version, architecture, hosts) VALUES (?, ?, ?, 0)',
  );
  return Array.from({ length: plan.components }, (_, n) => {
    const nameId = addName.run('dpkg', componentName(n)).lastInsertRowid;
    return Array.from({ length: versions }, (_, version) =>
      Number(addVersion.run(nameId, versionText(version), 'amd64').lastInsertRowid),
    );
  });
}

function fillHosts(db: Database.Database, plan: FleetPlan, model: string): void {
  const row = db.prepare('SELECT * FROM hosts WHERE name = ?').get(model) as Record<string, unknown>;
  const columns = Object.keys(row);
  const insert = db.prepare(
    `INSERT INTO hosts (${columns.join(', ')}) VALUES (${columns.map((column) => `@${column}`).join(', ')})`,
  );
  const firstNo = Number(row['no']) + 1;
  for (let host = 0; host < plan.hosts; host += 1) {
    const at = joinedMs(plan, host);
    const own: Record<string, unknown> = {
      ...row,
      id: hostId(host),
      no: firstNo + host,
      name: hostName(host),
      joined_as: hostName(host),
      region: regions[host % regions.length],
      labels: JSON.stringify({
        env: host % 4 === 0 ? 'staging' : 'prod',
        ...(host % 10 === 0 ? { train: 'beta' } : {}),
      }),
      machine_id: machineId(host),
      last_seen_ms: plan.nowMs,
      interval_told_ms: dayMs,
      ...(host < plan.checkingIn ? { inventory_hash: inventoryHash(componentsOf(plan, host)) } : {}),
    };
    for (const column of columns)
      if (column === 'first_seen_ms' || /^(?:inventory_at|changed_at|from|last_checkin)_ms$/.test(column))
        own[column] = at;
    insert.run(own);
  }
  db.prepare("UPDATE meta SET value = ? WHERE key = 'hosts_numbered'").run(String(firstNo + plan.hosts - 1));
}

function fillComponents(db: Database.Database, plan: FleetPlan, versionIds: readonly number[][]): void {
  // Indexes are built when all rows are there, in one go.
  const indexes = db
    .prepare(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'components' AND sql IS NOT NULL",
    )
    .all() as { name: string; sql: string }[];
  for (const { name } of indexes) db.exec(`DROP INDEX ${name}`);
  const { no: modelNo } = db.prepare('SELECT min(no) AS no FROM hosts').get() as { no: number };
  const nameIds = versionIds.map(
    ([id]) =>
      (db.prepare('SELECT name_id AS id FROM component_versions WHERE id = ?').get(id) as { id: number }).id,
  );
  const insert = db.prepare(
    'INSERT INTO components (host_no, name_id, version_id, first_seen_ms, changed_at_ms) VALUES (?, ?, ?, ?, ?)',
  );
  for (let host = 0; host < plan.hosts; host += 1) {
    const at = joinedMs(plan, host);
    for (let n = 0; n < plan.components; n += 1) {
      const version = versionIds[n]?.[versionAt(plan.seed, host, n)];
      insert.run(modelNo + 1 + host, nameIds[n], version, at, at);
    }
  }
  for (const { sql } of indexes) db.exec(sql);
  db.exec(
    'UPDATE component_versions SET hosts = (SELECT count(*) FROM components WHERE version_id = component_versions.id)',
  );
}

export function hostName(host: number): string {
  return `fleet-${String(host).padStart(5, '0')}`;
}

export function machineId(host: number): string {
  return `fleet-machine-${host}`;
}

function hostId(host: number): string {
  return `00000000-0000-7000-9000-${String(host).padStart(12, '0')}`;
}
