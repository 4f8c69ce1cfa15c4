/**
 * What a token of limited scope covers. `hosts` says which hosts, and with them all that is on them; `apps` says that
 * of what is on them only the named applications are meant: records and components called `app/service`.
 */
import type { TokenScope } from './access.ts';
import { AppError } from './error.ts';
import { type HostFacts, selectableHost } from './host.ts';
import { matches, parseSelector, type Selector } from './selector.ts';
import type { HostSelection } from './services.ts';

export class Scope {
  /** Equal for scopes that cover the same. */
  readonly key: string;
  readonly #hosts: Selector | null;
  readonly #apps: ReadonlySet<string> | null;

  /** `bad-request` naming the field when its selector is none. */
  constructor({ hosts, apps }: TokenScope) {
    this.key = JSON.stringify([hosts, apps]);
    this.#hosts = hosts === undefined ? null : parseSelector(hosts, 'scope/hosts');
    this.#apps = apps === undefined ? null : new Set(apps);
  }

  /**
   * Whether it covers a host as a whole, with whatever is on it. One of some applications covers none so: what else is
   * on a host is of others.
   */
  coversWhole(name: string, facts: HostFacts | undefined): boolean {
    return this.#apps === null && this.coversHost(name, facts);
  }

  /** A host by its name; one that never joined has no facts. */
  coversHost(name: string, facts: HostFacts | undefined): boolean {
    return this.#hosts === null || matches(this.#hosts, selectableHost(name, facts));
  }

  /** A record's type, or the name of a component. */
  coversName(name: string): boolean {
    if (this.#apps === null) return true;
    const end = name.indexOf('/');
    return end > 0 && this.#apps.has(name.slice(0, end));
  }

  /**
   * What is published of a component, which is on no host: apps alone say so. Changing it reaches every host, so whoever
   * is limited to some may only read it.
   */
  coversReleases(component: string, access: 'read' | 'write'): boolean {
    return this.#apps !== null && this.coversName(component) && (access === 'read' || this.#hosts === null);
  }

  coversRecord({ type, host }: { type: string; host: string }, facts: HostFacts | undefined): boolean {
    return this.coversName(type) && this.coversHost(host, facts);
  }
}

/** Whether a host, by its name, is meant; one that never joined has no facts. Null: all are. `bad-request`. */
export function hostSelection({
  selector,
  scope,
}: HostSelection): ((name: string, facts: HostFacts | undefined) => boolean) | null {
  const wanted = selector === undefined ? null : parseSelector(selector);
  const covered = scope === undefined ? null : new Scope(scope);
  if (wanted === null && covered === null) return null;
  return (name, facts) =>
    (covered === null || covered.coversHost(name, facts)) &&
    (wanted === null || matches(wanted, selectableHost(name, facts)));
}

/** Throws `forbidden` in the one way that tells nothing of what lies outside. */
export function outOfScope(action: string): AppError {
  return new AppError('forbidden', `Cannot ${action}: it lies outside the scope of this token`);
}
