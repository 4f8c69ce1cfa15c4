/** Targets of hosts, made and signed when they are asked for: nothing is kept, because equal versions are equal bytes. */
import type { TargetService } from '../domain/services.ts';
import { type SignedTarget, targetDocument, targetTag } from '../domain/target.ts';
import type { HostStore } from '../store/host.ts';
import type { RegistryTrust } from './trust.ts';

export function targetsOf({ hosts, trust }: { hosts: HostStore; trust: RegistryTrust }): TargetService {
  return {
    async target(idOrName): Promise<SignedTarget> {
      const { host, version } = hosts.targetParts(idOrName);
      const body = JSON.stringify(targetDocument(host, trust.trust(), version));
      return { tag: targetTag(version), body, signature: trust.sign(Buffer.from(body)) };
    },
  };
}
