/** Which events a rule has to see for a sink: what it selects, and what ends or replaces that. */
import { systemCaller } from '../../domain/access.ts';
import type { ChangeEvent } from '../../domain/event.ts';
import type { NotifyRule } from '../../domain/notify.ts';
import { selectsType } from '../../domain/notify.ts';
import { concernsRegions } from '../../domain/notify-batch.ts';
import { toldBy } from '../../domain/notify-words.ts';
import type { HostHistory } from '../../http/host-history.ts';
import { compileSelection } from '../../http/selection.ts';

export interface RuleMatch {
  readonly rule: NotifyRule;
  readonly selects: (event: ChangeEvent) => boolean;
  /** Awaited before events after this revision are held against it; null: nothing to wait for. */
  readonly reach: ((revision: number) => Promise<void>) | null;
}

/** What says that something is over. */
const endings: Readonly<Record<string, readonly string[]>> = {
  host: ['host.returned', 'host.left', 'host.removed', 'host.revoked'],
  service: ['service.revived', 'service.set', 'service.deleted', 'service.taken-over'],
};

/** `takesAlerts`: what its alerts end by is seen too, whether or not the rule names it. */
export function matchRule(
  rule: NotifyRule,
  history: HostHistory,
  { takesAlerts }: { readonly takesAlerts: boolean },
): RuleMatch {
  const own = compileSelection(rule.select, systemCaller, history);
  const { types } = rule.select;
  const ends =
    takesAlerts && types !== undefined
      ? Object.entries(endings).flatMap(([family, some]) =>
          [`${family}.lapsed`, `${family}.set`].some((type) => selectsType(types, type)) ? some : [],
        )
      : [];
  const over =
    ends.length === 0 ? null : compileSelection({ ...rule.select, types: ends }, systemCaller, history);
  const seesRegions = concernsRegions(rule);
  return {
    rule,
    reach: own.reach,
    selects: (event) => {
      if (event.type === 'system.region-lost') return seesRegions;
      if (own.matches === null || own.matches(event)) return true;
      if (over === null || (over.matches !== null && !over.matches(event))) return false;
      return toldBy(event) === 'UP' || toldBy(event) === 'gone';
    },
  };
}
