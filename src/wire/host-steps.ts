/** Each step in the life of a host on the wire: of itself, and of the components on it. */
import { type Static, Type } from 'typebox';
import { formatInstant } from '../base/time.ts';
import {
  type HostHistoryStep,
  hostStepKinds,
  hostTurnFields,
  isHostPastStep,
} from '../domain/host-history.ts';
import type { ComponentStep } from '../domain/inventory.ts';
import { HostStateSchema, hostStateDocument, readHostState } from './host-history.ts';
import { componentTurnFields, componentTurnKinds } from './inventory.ts';
import { Instant, nullable, readInstant, strictObject, words } from './schema.ts';

const ComponentStepSchema = strictObject({
  at: Instant,
  kind: words(componentTurnKinds.map((kind) => `component.${kind}` as const)),
  ...componentTurnFields,
});

const HostPastStepSchema = strictObject({
  at: Instant,
  kind: words(hostStepKinds),
  name: HostStateSchema.properties.name,
  changed: Type.Array(words(hostTurnFields)),
  before: nullable(HostStateSchema),
  after: nullable(HostStateSchema),
});

export const HostHistoryStepSchema = Type.Union([HostPastStepSchema, ComponentStepSchema]);

export type HostHistoryStepDocument = Static<typeof HostHistoryStepSchema>;

export function stepDocument(step: HostHistoryStep): HostHistoryStepDocument {
  const at = formatInstant(step.atMs);
  if (isHostPastStep(step)) {
    const { kind, name, changed } = step;
    const [before, after] = [hostStateDocument(step.before), hostStateDocument(step.after)];
    return { at, kind, name, changed: [...changed], before, after };
  }
  const { atMs: _, kind, ...turn } = step;
  return { at, kind: `component.${kind}`, ...turn };
}

export function readStep(document: HostHistoryStepDocument): HostHistoryStep {
  const atMs = readInstant(document.at, 'at');
  if ('changed' in document) {
    const { kind, name, changed } = document;
    const [before, after] = [readHostState(document.before), readHostState(document.after)];
    return { atMs, kind, name, changed, before, after };
  }
  const { at: _, kind, ...turn } = document;
  return { atMs, kind: kind.slice('component.'.length) as ComponentStep['kind'], ...turn };
}
