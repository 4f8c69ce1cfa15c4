/** Each step in the life of a host, as `hosts history HOST` and `components history --steps` show it. */
import { inventoryRequests } from '../client/inventory.ts';
import type { Stretch } from '../domain/services.ts';
import type { HostHistoryStepDocument } from '../wire/host-steps.ts';
import type { Flags } from './config.ts';
import type { Context } from './context.ts';
import { type Column, none, writeTable } from './output.ts';

type HostPastStepDocument = Extract<HostHistoryStepDocument, { readonly changed: unknown }>;
type HostStateDocument = NonNullable<HostPastStepDocument['before']>;
type Field = HostPastStepDocument['changed'][number];

/** Asks for the steps of one host, and shows them. */
export async function showSteps(
  context: Context,
  flags: Flags,
  { host, stretch }: { readonly host: string; readonly stretch: Partial<Stretch> },
): Promise<void> {
  await context.ask(flags, 'registry', (client) =>
    context.showList(flags, client, (page) => inventoryRequests.steps(host, stretch, page), {
      empty: 'nothing has changed between these moments',
      write: (steps, form) => writeTable(context.io, steps, columns, form),
    }),
  );
}

const columns: readonly Column<HostHistoryStepDocument>[] = [
  { title: 'AT', of: ({ at }) => at, whole: true },
  { title: 'WHAT', of: ({ kind }) => kind.replace('component.', '').replace('.', ' ') },
  { title: 'NAME', of: ({ name }) => name },
  { title: 'BEFORE', of: (step) => sideOf(step, 'before') },
  { title: 'AFTER', of: (step) => sideOf(step, 'after') },
  {
    title: 'FOUND BY',
    of: (step) => ('detector' in step ? step.detector : null),
    wide: true,
    spare: true,
  },
];

function sideOf(step: HostHistoryStepDocument, side: 'before' | 'after'): string | null {
  if (!('changed' in step)) return step[side]?.version ?? null;
  const state = step[side];
  if (state === null) return null;
  // Of a host that comes or goes: what there is to say of it.
  const fields = step.changed.length > 0 ? step.changed : facts.filter((field) => !isEmpty(state[field]));
  return fields.map((field) => fieldText(field, state)).join(', ');
}

const facts: readonly Field[] = ['status', 'region', 'labels'];

/** `status UP`, `labels env=prod`, `region -` */
export function fieldText(field: Field, state: HostStateDocument): string {
  return `${field} ${valueText(state[field])}`;
}

/** `UP`, `env=prod tier=web`, `-` */
export function valueText(value: HostStateDocument[Field]): string {
  if (value === null || typeof value === 'string') return value ?? none;
  const pairs = Object.entries(value).map(([key, text]) => `${key}=${text}`);
  return pairs.length === 0 ? none : pairs.join(' ');
}

function isEmpty(value: HostStateDocument[Field]): boolean {
  return valueText(value) === none;
}
