/** The public, embeddable API of the package `holdfast`: the one deliberate barrel. */

// The roles, embedded.
export { type Agent, type AgentOptions, createAgent } from './agent/agent.ts';
export type { RunnerAccess } from './agent/runner-link.ts';
export { VERSION } from './base/version.ts';
// A client of an agent or registry.
export { type ClientOptions, createClient, type HoldfastClient } from './client/client.ts';
export type { Target } from './client/connection.ts';
export { LinkError, type LinkFailure } from './client/link.ts';
export type { ProxySettings } from './client/proxy.ts';
export type { TlsTrust } from './client/tls.ts';
export type { WatchLink, WatchOptions, WatchUpdate } from './client/watch.ts';
// What a host looks at, and who does what the agent does not do itself.
export { type CheckSpec, type Probe, readChecks } from './domain/check.ts';
export { type DetectorSpec, readDetectors } from './domain/detector.ts';
// What it says and throws.
export { AppError, type ErrorCode, errorCodes } from './domain/error.ts';
export type { ChangeEvent, EventType, Position, Selection } from './domain/event.ts';
export type { HostView } from './domain/host.ts';
export type { ComponentView } from './domain/inventory.ts';
export type {
  IsUp,
  IsUpQuery,
  Maintenance,
  ServicePatch,
  ServiceView,
  Status,
  StatusReason,
} from './domain/liveness.ts';
export type { LatestOrder, Release, ReleaseContent, ReleaseKey, TrainKey } from './domain/release.ts';
export type {
  AuditFilter,
  AuditService,
  ComponentService,
  ComponentSummary,
  HostFilter,
  HostService,
  IssuedToken,
  LivenessService,
  Page,
  PageRequest,
  ReleaseService,
  RunnerService,
  ServiceFilter,
  TargetService,
  TokenFilter,
  TokenService,
  TrainService,
} from './domain/services.ts';
export type { Step, StepEnd, StepResult } from './domain/step.ts';
export type { TokenRecord, TokenRequest } from './domain/token.ts';
export type { FollowPlan, TrainView } from './domain/train.ts';
export { createRegistry, type Registry, type RegistryOptions } from './registry/registry.ts';
export type { TlsChoice } from './registry/trust.ts';
