/** Where a client finds things. `http/routes.ts` names the same places as patterns; a test holds the two together. */

/** A name is one percent-encoded segment: `shop/api` → `shop%2Fapi`. */
function segment(name: string): string {
  return encodeURIComponent(name);
}

type Train = { component: string; train: string };

function trainPath({ component, train }: Train): string {
  return `/v1/components/${segment(component)}/trains/${segment(train)}`;
}

export const paths = {
  services: '/v1/services',
  service: (uuid: string) => `/v1/services/${segment(uuid)}`,
  serviceHeartbeat: (uuid: string) => `/v1/services/${segment(uuid)}/heartbeat`,
  serviceMaintenance: (uuid: string) => `/v1/services/${segment(uuid)}/maintenance`,
  heartbeats: '/v1/heartbeats',
  isUp: '/v1/is-up',
  join: '/v1/join',
  hosts: '/v1/hosts',
  host: (host: string) => `/v1/hosts/${segment(host)}`,
  hostCredential: (id: string) => `/v1/hosts/${segment(id)}/credential`,
  hostHeartbeat: (id: string) => `/v1/hosts/${segment(id)}/heartbeat`,
  hostCheckIn: (id: string) => `/v1/hosts/${segment(id)}/checkin`,
  hostReports: (id: string) => `/v1/hosts/${segment(id)}/reports`,
  hostComponents: (host: string) => `/v1/hosts/${segment(host)}/components`,
  hostHistory: (host: string) => `/v1/hosts/${segment(host)}/history`,
  hostTarget: (host: string) => `/v1/hosts/${segment(host)}/target`,
  components: '/v1/components',
  componentHistory: '/v1/history/components',
  hostsHistory: '/v1/history/hosts',
  hostStats: '/v1/stats/hosts',
  trains: (component: string) => `/v1/components/${segment(component)}/trains`,
  train: trainPath,
  releases: (key: Train) => `${trainPath(key)}/releases`,
  release: (key: Train & { version: string }) => `${trainPath(key)}/releases/${segment(key.version)}`,
  latestRelease: (key: Train) => `${trainPath(key)}/releases/latest`,
  latestReleases: '/v1/releases/latest',
  updates: '/v1/updates',
  componentUpdates: '/v1/updates/components',
  tokens: '/v1/tokens',
  token: (id: string) => `/v1/tokens/${segment(id)}`,
  adminToken: '/v1/admin-token',
  whoami: '/v1/whoami',
  audit: '/v1/audit',
  auditVerification: '/v1/audit/verification',
  trust: '/v1/trust',
  trustRotate: '/v1/trust/rotate',
  doctor: '/v1/doctor',
  doctorReport: (id: string) => `/v1/doctor/${segment(id)}`,
  diagnosis: '/v1/diagnosis',
  notify: '/v1/notify',
  notifyTest: '/v1/notify/test',
  importWorkflowManager: '/v1/import/workflow-manager',
  watch: '/v1/watch',
  events: '/v1/events',
  status: '/v1/status',
  config: '/v1/config',
  backup: '/v1/backup',
  livez: '/livez',
  readyz: '/readyz',
  healthz: '/healthz',
  metrics: '/metrics',
  version: '/version',
  openapi: '/openapi.json',
  swagger: '/swagger.json',
} as const;
