/**
 * Every URL: method, path, which server has it, who may, and what it does. A name in a path is one percent-encoded
 * segment. A route without roles is refused at start, and so is a second one for the same method and path.
 *
 * Roles are FORMATS "Roles". On a path with `:host`, role `host` may only be that host, by its id.
 */
import type { Role } from '../domain/access.ts';
import * as audit from './audit.ts';
import type { Access } from './auth.ts';
import * as doctor from './doctor.ts';
import { events } from './events.ts';
import * as host from './host.ts';
import * as hostsThen from './hosts-then.ts';
import * as imports from './import.ts';
import * as inventory from './inventory.ts';
import * as clusters from './legacy/cluster.ts';
import * as reports from './legacy/doctor.ts';
import * as versions from './legacy/version.ts';
import * as liveness from './liveness.ts';
import * as notify from './notify.ts';
import type { Kind, Operation } from './operation.ts';
import * as probes from './probes.ts';
import * as release from './release.ts';
import * as system from './system.ts';
import * as target from './target.ts';
import * as token from './token.ts';
import * as trains from './train.ts';
import * as trust from './trust.ts';
import * as update from './update.ts';
import { watch } from './watch.ts';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly on: Kind | 'both';
  readonly access: Access;
  readonly operation: Operation;
}

/** Who may see what is not for everybody on the machine: configuration, targets, output. */
const insiders: Role[] = ['viewer', 'operator', 'approver', 'admin'];
const viewers: Role[] = [...insiders, 'reader'];
const hostsSelf: Role[] = [...viewers, 'host'];
const ownTarget: Role[] = [...insiders, 'host'];
/** Who asks whether something is alive: everyone who may read or report it. */
const livenessReaders: Role[] = [...viewers, 'reporter', 'host'];
const reporters: Role[] = ['reporter', 'admin'];
/** Whoever publishes may look what is published. */
const releaseReaders: Role[] = [...viewers, 'publisher'];
const publishers: Role[] = ['publisher', 'admin'];
const operators: Role[] = ['operator', 'admin'];
/** A host's own writes: nobody else speaks for it, not even an admin. */
const itself: Role[] = ['host'];
const admins: Role[] = ['admin'];
/** An old client has one token: it checks in, and asks what is published. */
const oldClients: Role[] = [...viewers, 'reporter', 'publisher'];
const reportSenders: Role[] = ['reporter', 'host', 'admin'];
/** Whoever knows that a host is ill: it, and those who look after it. */
const doctorSenders: Role[] = ['host', 'operator', 'admin'];
/** A join token, and an admin who lets a host in without one. */
const joiners: Role[] = ['admin', 'joiner'];

const train = '/v1/components/:component/trains/:train';

// biome-ignore format: a table
const table: readonly [Route['method'], string, Route['on'], Access, Operation][] = [
  ['POST',   '/v1/services',                   'both',     reporters,       liveness.registerService],
  ['GET',    '/v1/services',                   'both',     livenessReaders, liveness.listServices],
  ['DELETE', '/v1/services',                   'both',     reporters,       liveness.deleteServiceAt],
  ['GET',    '/v1/services/:uuid',             'both',     livenessReaders, liveness.getService],
  ['PUT',    '/v1/services/:uuid',             'both',     reporters,       liveness.putService],
  ['DELETE', '/v1/services/:uuid',             'both',     reporters,       liveness.deleteService],
  ['POST',   '/v1/services/:uuid/heartbeat',   'both',     reporters,       liveness.beatService],
  ['PUT',    '/v1/services/:uuid/maintenance', 'both',     operators,       liveness.putMaintenance],
  ['DELETE', '/v1/services/:uuid/maintenance', 'both',     operators,       liveness.deleteMaintenance],
  ['POST',   '/v1/heartbeats',                 'both',     reporters,       liveness.beatServices],
  ['GET',    '/v1/is-up',                      'both',     livenessReaders, liveness.isUp],
  ['POST',   '/v1/is-up',                      'both',     livenessReaders, liveness.isUpMany],

  ['POST',   '/v1/join',                       'registry', joiners,         host.join],
  ['GET',    '/v1/hosts',                      'registry', viewers,         host.listHosts],
  ['GET',    '/v1/hosts/:host',                'registry', hostsSelf,       host.getHost],
  ['GET',    '/v1/history/hosts',              'registry', viewers,         hostsThen.listHostChanges],
  ['GET',    '/v1/stats/hosts',                'registry', viewers,         hostsThen.getHostStats],
  ['POST',   '/v1/hosts/:host/credential',     'registry', 'proof',         host.renewCredential],
  ['PATCH',  '/v1/hosts/:host',                'registry', operators,       host.changeHost],
  ['DELETE', '/v1/hosts/:host',                'registry', admins,          host.removeHost],
  ['DELETE', '/v1/hosts/:host/credential',     'registry', admins,          host.revokeHost],
  ['POST',   '/v1/hosts/:host/heartbeat',      'registry', itself,          host.beatHost],
  ['POST',   '/v1/hosts/:host/checkin',        'registry', itself,          host.checkInHost],
  ['POST',   '/v1/hosts/:host/reports',        'registry', itself,          host.reportHost],

  ['GET',    '/v1/hosts/:host/target',         'both',     ownTarget,       target.getTarget],
  ['GET',    '/v1/trust',                      'registry', 'open',          trust.getTrust],
  ['POST',   '/v1/trust/rotate',               'registry', admins,          trust.rotateTrust],

  ['GET',    '/v1/hosts/:host/components',     'both',     hostsSelf,       inventory.listHostComponents],
  ['GET',    '/v1/hosts/:host/history',        'registry', hostsSelf,       inventory.listHostHistory],
  ['GET',    '/v1/components',                 'both',     viewers,         inventory.listComponents],
  ['GET',    '/v1/history/components',         'registry', viewers,         inventory.listComponentChanges],

  ['GET',    '/v1/components/:component/trains', 'registry', releaseReaders, trains.listTrains],
  ['GET',    train,                            'registry', releaseReaders,  trains.getTrain],
  ['PUT',    train,                            'registry', operators,       trains.putTrain],
  ['DELETE', train,                            'registry', operators,       trains.deleteTrain],
  ['GET',    `${train}/releases`,              'registry', releaseReaders,  release.listReleases],
  ['GET',    `${train}/releases/latest`,       'registry', releaseReaders,  release.getLatestRelease],
  ['GET',    `${train}/releases/:version`,     'registry', releaseReaders,  release.getRelease],
  ['PUT',    `${train}/releases/:version`,     'registry', publishers,      release.putRelease],
  ['DELETE', `${train}/releases/:version`,     'registry', publishers,      release.withdrawRelease],
  ['GET',    '/v1/updates',                    'registry', viewers,         update.listUpdates],
  ['GET',    '/v1/updates/components',         'registry', viewers,         update.listComponentUpdates],
  ['POST',   '/v1/releases/latest',            'registry', releaseReaders,  release.getLatestReleases],

  ['POST',   '/v1/tokens',                     'both',     admins,          token.createToken],
  ['GET',    '/v1/tokens',                     'both',     admins,          token.listTokens],
  ['GET',    '/v1/tokens/:token',              'both',     admins,          token.getToken],
  ['DELETE', '/v1/tokens/:token',              'both',     admins,          token.revokeToken],
  ['POST',   '/v1/admin-token',                'registry', admins,          token.resetAdmin],
  ['GET',    '/v1/audit',                      'both',     admins,          audit.listAudit],
  ['GET',    '/v1/audit/verification',         'both',     admins,          audit.verifyAudit],
  ['GET',    '/v1/whoami',                     'both',     'known',         token.whoami],

  ['GET',    '/v1/notify',                     'registry', admins,          notify.getNotify],
  ['POST',   '/v1/notify/test',                'registry', admins,          notify.testNotify],

  ['POST',   '/v1/doctor/:report',             'both',     doctorSenders,   doctor.fileDoctorReport],
  ['GET',    '/v1/doctor',                     'registry', admins,          doctor.listDoctorReports],
  ['GET',    '/v1/doctor/:report',             'registry', admins,          doctor.getDoctorReport],
  ['DELETE', '/v1/doctor/:report',             'registry', admins,          doctor.removeDoctorReport],
  ['GET',    '/v1/diagnosis',                  'agent',    insiders,        doctor.getDiagnosis],

  ['POST',   '/v1/import/workflow-manager',    'registry', admins,          imports.importWorkflowManager],

  ['GET',    '/v1/watch',                      'both',     hostsSelf,       watch],
  ['GET',    '/v1/events',                     'both',     hostsSelf,       events],

  ['GET',    '/v1/status',                     'both',     viewers,         system.getStatus],
  ['GET',    '/v1/config',                     'both',     insiders,        system.getConfig],
  ['GET',    '/v1/backup',                     'both',     admins,          system.getBackup],

  ['GET',    '/livez',                         'both',     'open',          probes.livez],
  ['GET',    '/readyz',                        'both',     'open',          probes.readyz],
  ['GET',    '/healthz',                       'both',     'probe',         probes.healthz],
  ['GET',    '/metrics',                       'both',     'probe',         probes.metrics],
  ['GET',    '/version',                       'both',     'open',          probes.version],
  ['GET',    '/openapi.json',                  'both',     'probe',         probes.openApi],
];

/** Of workflow-manager-api. All but the first two are under `/v2` as well. */
// biome-ignore format: a table
const legacyTable: typeof table = [
  ['POST',   '/v3/clusters',                   'registry', reporters,       clusters.postCluster],
  ['POST',   '/v2/clusters/:cluster',          'registry', reporters,       clusters.postClusterAt],
  ['GET',    '/v3/clusters/count',             'registry', oldClients,      clusters.countClusters],
  ['GET',    '/v3/clusters/age',               'registry', oldClients,      clusters.ageClusters],
  ['GET',    '/v3/clusters/checkins',          'registry', oldClients,      clusters.checkInsOfClusters],
  ['GET',    '/v3/clusters/persistent',        'registry', oldClients,      clusters.persistentClusters],
  ['GET',    '/v3/clusters/:cluster',          'registry', oldClients,      clusters.getCluster],
  ['GET',    '/v3/versions/:train/:component', 'registry', oldClients,      versions.listVersions],
  ['GET',    '/v3/versions/:train/:component/:release', 'registry', oldClients, versions.getVersion],
  ['POST',   '/v3/versions/:train/:component/:release', 'registry', publishers, versions.postVersion],
  ['POST',   '/v3/versions/latest',            'registry', oldClients,      versions.postLatestVersions],
  ['POST',   '/v3/doctor/:uuid',               'registry', reportSenders,   reports.postReport],
  ['GET',    '/v3/doctor/:uuid',               'registry', admins,          reports.getReport],
  ['GET',    '/ping',                          'registry', 'open',          clusters.ping],
  ['GET',    '/swagger.json',                  'registry', 'probe',         probes.swagger],
];

const onV3Only: readonly Operation[] = [clusters.postCluster];

const twins: typeof table = legacyTable.flatMap(([method, path, on, access, operation]) =>
  path.startsWith('/v3/') && !onV3Only.includes(operation)
    ? [
        [
          method,
          path.replace('/v3/', '/v2/'),
          on,
          access,
          operation === versions.postLatestVersions ? versions.postLatestVersionsV2 : operation,
        ] as const,
      ]
    : [],
);

export const routes: readonly Route[] = [...table, ...legacyTable, ...twins].map(
  ([method, path, on, access, operation]) => ({
    method,
    path,
    on,
    access,
    operation,
  }),
);

export function routesOf(kind: Kind): readonly Route[] {
  return routes.filter(({ on }) => on === 'both' || on === kind);
}

/** Throws when a route names nobody who may, or is there twice. */
export function checkRoutes(all: readonly Route[]): void {
  const places = new Set<string>();
  for (const { method, path, access, operation } of all) {
    const place = `${method} ${path.replaceAll(/:\w+/g, ':')}`;
    if (access.length === 0) throw new Error(`route ${place} (${operation.id}) names no role`);
    if (places.has(place)) throw new Error(`route ${place} (${operation.id}) is there already`);
    places.add(place);
  }
}

/** The methods that a path knows here, for `Allow`; empty when the path is unknown. HEAD answers as GET does. */
export function methodsAt(all: readonly Route[], path: string): string[] {
  const methods = new Set<string>();
  for (const route of all) {
    if (!patternOf(route.path).test(path)) continue;
    methods.add(route.method);
    if (hasHead(route)) methods.add('HEAD');
  }
  return [...methods].sort();
}

/** HEAD answers as GET does; workflow-manager-api had none. */
export function hasHead({ method, operation }: Pick<Route, 'method' | 'operation'>): boolean {
  return method === 'GET' && !operation.streams && operation.legacy === null;
}

/** Without query, and without the origin of a request in absolute form. */
export function pathOf(url: string): string {
  const path = url.replace(/^https?:\/\/[^/?]*/i, '');
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

export function isUnderV1(path: string): boolean {
  return path === '/v1' || path.startsWith('/v1/');
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+')}$`);
}
