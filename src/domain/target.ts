/**
 * The target: everything that one host shall hold right now, as bytes that the registry signs.
 *
 * It is a pure function of the host, the registry's trust and a window of a day, so that the same tag always means the
 * same bytes and nothing has to be kept. Its place in time is (epoch, serial): the life of the registry's store, and a
 * count that grows with every change. A host goes forward only.
 */
import { formatInstant, parseInstant } from '../base/time.ts';
import {
  checkSignature,
  isConsistentKey,
  type SignatureProblem,
  type Trust,
  type TrustKey,
} from './trust.ts';

const dayMs = 86_400_000;
/** A week offline, and a day because the window may be nearly over. */
const validMs = 8 * dayMs;

/** The signed document. Members may be added; what a version does not know it leaves alone. */
export interface TargetDocument {
  readonly host: string;
  readonly epoch: number;
  readonly serial: number;
  readonly issuedAt: string;
  readonly notAfter: string;
  readonly settings: TargetSettings;
  readonly placements: readonly unknown[];
}

export interface TargetSettings {
  /** The host's name as the fleet has it. */
  readonly name: string;
  readonly region: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** Where the registry is, best first. */
  readonly urls: readonly string[];
  readonly trust: Pick<Trust, 'keys' | 'ca'>;
}

/** What a target says of its host. */
export interface TargetHost {
  readonly id: string;
  readonly name: string;
  readonly region: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

/** Which target: equal versions of one host are equal bytes. */
export interface TargetVersion {
  readonly epoch: number;
  readonly serial: number;
  readonly issuedAtMs: number;
}

/** A target as it travels: `body` is exactly what `signature`, the value of `Holdfast-Signature`, is over. */
export interface SignedTarget {
  /** `targetTag`; the `ETag` without its quotes, and what a beat's answer tells. */
  readonly tag: string;
  readonly body: string;
  readonly signature: string;
}

/**
 * The start of the window that `nowMs` lies in. Each host's day begins at an instant of its own, spread by the random
 * end of its id: at one for all, every host of a fleet would fetch its target within one beat.
 */
export function targetWindowMs(hostId: string, nowMs: number): number {
  const phaseMs = Number.parseInt(hostId.slice(-8), 16) % dayMs;
  return Math.floor((nowMs - phaseMs) / dayMs) * dayMs + phaseMs;
}

/** Opaque to the host, which only compares it. Told in every beat's answer, so nothing is hashed for it. */
export function targetTag({ epoch, serial, issuedAtMs }: TargetVersion): string {
  return `${epoch}.${serial}.${issuedAtMs}`;
}

/** The tag of a target that was accepted. */
export function tagOfDocument({ epoch, serial, issuedAt }: TargetDocument): string {
  return targetTag({ epoch, serial, issuedAtMs: parseInstant(issuedAt) ?? 0 });
}

/** The same host, trust and version always give the same text. */
export function targetDocument(host: TargetHost, trust: Trust, version: TargetVersion): TargetDocument {
  const { epoch, serial, issuedAtMs } = version;
  const labels = Object.entries(host.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    host: host.id,
    epoch,
    serial,
    issuedAt: formatInstant(issuedAtMs),
    notAfter: formatInstant(issuedAtMs + validMs),
    settings: {
      name: host.name,
      region: host.region,
      labels: Object.fromEntries(labels),
      urls: trust.urls,
      trust: { keys: trust.keys, ca: trust.ca },
    },
    placements: [],
  };
}

/** What a host measures an offered target by. */
export interface TargetHolder {
  readonly hostId: string;
  /** The signing keys of the target it holds, or else of its join. */
  readonly keys: readonly TrustKey[];
  /** Of the target it holds; null before the first. */
  readonly version: Pick<TargetVersion, 'epoch' | 'serial'> | null;
}

/** Why a target was refused; the last good one keeps running. */
export type TargetProblem = SignatureProblem | 'malformed' | 'other-host' | 'older' | 'expired';

export type TargetDecision =
  | { readonly accepted: true; readonly document: TargetDocument }
  /** `detail` is for people: what was wrong, and what to do where somebody can. */
  | { readonly accepted: false; readonly problem: TargetProblem; readonly detail: string };

/**
 * Whether a host takes a target. The signature comes first: nothing of the body is read before it holds. The same
 * (epoch, serial) again is taken: it is the same target in a later window. `registryNowMs` is the registry's clock as
 * its beats tell it, because a host's own may be years off. `read` parses the body and throws when it is none.
 */
export function decideTarget(
  held: TargetHolder,
  offered: { readonly body: Uint8Array; readonly signature: string | null },
  options: { readonly registryNowMs: number; readonly read: (text: string) => TargetDocument },
): TargetDecision {
  const unsigned = checkSignature(offered.body, offered.signature, held.keys);
  if (unsigned !== null) return refused(unsigned, signatureWords[unsigned]);
  let document: TargetDocument;
  try {
    document = options.read(Buffer.from(offered.body).toString());
  } catch (error) {
    return refused('malformed', `it is signed, but cannot be read: ${(error as Error).message}`);
  }
  const { host, epoch, serial, settings } = document;
  const notAfterMs = parseInstant(document.notAfter);
  if (notAfterMs === undefined || parseInstant(document.issuedAt) === undefined)
    return refused('malformed', 'it is signed, but its instants cannot be read');
  if (settings.trust.keys.length === 0 || !settings.trust.keys.every(isConsistentKey))
    return refused('malformed', 'it is signed, but its keys are no signing keys');
  if (host !== held.hostId) return refused('other-host', `it is for host ${host}, not for this one`);
  if (held.version !== null && isBefore({ epoch, serial }, held.version)) {
    const [is, has] = [placeOf({ epoch, serial }), placeOf(held.version)];
    return refused('older', `it is ${is}, but ${has} is held already`);
  }
  if (notAfterMs <= options.registryNowMs)
    return refused('expired', `it was good until ${document.notAfter} only`);
  return { accepted: true, document };
}

const signatureWords: Readonly<Record<SignatureProblem, string>> = {
  unsigned: 'it has no signature; does something between here and the registry change its answers?',
  'unknown-key':
    'it is signed by a key that this host was never told; if the registry lost its keys, join this host anew',
  'bad-signature':
    'its signature is wrong; something between here and the registry changes its answers, or somebody else answers for it',
};

function refused(problem: TargetProblem, detail: string): TargetDecision {
  return { accepted: false, problem, detail: `Cannot accept the target: ${detail}` };
}

type Place = Pick<TargetVersion, 'epoch' | 'serial'>;

function isBefore(a: Place, b: Place): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.serial < b.serial);
}

function placeOf({ epoch, serial }: Place): string {
  return `serial ${serial} of epoch ${epoch}`;
}
