/** Alerts, as Alertmanager has them: what an event that says DOWN fires, and how it ends. Pure. */
import { formatInstant } from '../base/time.ts';
import type { ChangeEvent } from './event.ts';
import { familyOf } from './notify.ts';
import { memberOf, oneLine, regionOf, toldBy } from './notify-words.ts';

export interface Alert {
  /** What names it: the same labels, the same alert. */
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly startsAtMs: number;
  /** Null while it fires. */
  readonly endsAtMs: number | null;
}

/** What an event fires. */
export function alertOf(
  event: ChangeEvent,
  options: {
    readonly rule: string;
    readonly title: string;
    readonly labels: Readonly<Record<string, string>>;
  },
): Alert {
  const { type, host, service, body } = event;
  const family = familyOf(type);
  const component = memberOf(body, family === 'component' ? 'name' : 'component');
  const region = regionOf(event);
  const own: Record<string, string | null | undefined> = {
    alertname: alertName(event),
    rule: options.rule,
    host,
    service: family === 'service' ? service : undefined,
    region,
    component: family === 'component' || family === 'release' ? component : undefined,
    train: family === 'release' ? memberOf(body, 'train') : undefined,
  };
  const labels = Object.fromEntries(
    Object.entries({ ...options.labels, ...own }).flatMap(([name, value]) =>
      value === undefined || value === null || value === '' ? [] : [[name, oneLine(value)]],
    ),
  );
  return { labels, summary: options.title, startsAtMs: Date.parse(event.at), endsAtMs: null };
}

export function endAlert(alert: Alert, atMs: number): Alert {
  // One that ends before it began would be refused.
  return { ...alert, endsAtMs: Math.max(atMs, alert.startsAtMs) };
}

/** As version 2 of the API takes it. One that fires is forgotten there after `keptMs` without a word. */
export function alertDocument(
  { labels, summary, startsAtMs, endsAtMs }: Alert,
  options: { readonly nowMs: number; readonly keptMs: number },
): object {
  return {
    labels,
    annotations: { summary },
    startsAt: formatInstant(startsAtMs),
    endsAt: formatInstant(endsAtMs ?? options.nowMs + options.keptMs),
  };
}

/** `HoldfastHostDown`, `HoldfastServiceDown`, `HoldfastRegionLost`, `HoldfastComponentChanged`. */
function alertName(event: ChangeEvent): string {
  const { type } = event;
  const family = familyOf(type);
  if (toldBy(event) === 'DOWN' && family !== 'system')
    return family === 'host' ? 'HoldfastHostDown' : 'HoldfastServiceDown';
  if (type === 'system.region-lost') return 'HoldfastRegionLost';
  const words = type.split(/[.-]/).map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `Holdfast${words.join('')}`;
}
