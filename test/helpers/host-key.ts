/** The key of a host, and what it proves with it. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Caller } from '../../src/domain/access.ts';
import { credentialStatement, joinStatement, signProof } from '../../src/domain/proof.ts';
import type { JoinRequest, RenewalRequest } from '../../src/domain/services.ts';

export class HostKey {
  readonly privateKey: KeyObject;
  readonly publicKey: string;

  constructor() {
    const pair = generateKeyPairSync('ed25519');
    this.privateKey = pair.privateKey;
    this.publicKey = pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  }

  /** A join with the token of `caller`. */
  join(caller: Pick<Caller, 'tokenId'>, name: string, machineId = `machine-${name}`): JoinRequest {
    const { publicKey } = this;
    const statement = joinStatement({ tokenId: caller.tokenId ?? '', name, machineId, publicKey });
    return { name, region: null, machineId, publicKey, proof: signProof(this.privateKey, statement) };
  }

  renewal(id: string, generation: number, machineId: string | null = null): RenewalRequest {
    return { generation, machineId, proof: signProof(this.privateKey, credentialStatement(id, generation)) };
  }
}
