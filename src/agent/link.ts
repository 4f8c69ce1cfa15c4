/**
 * The line to the registry while its address changes: another credential after a renewal, another CA or URL after a
 * target. Whoever holds the line does not notice: what is under way ends where it began.
 */
import { LinkError } from '../client/link.ts';
import type { LivenessService } from '../domain/services.ts';
import type { Connect, HostCalls, RegistryAddress, RegistryPeer } from './peer.ts';

export class RegistryLink implements RegistryPeer {
  readonly #connect: Connect;
  /** Those that are replaced, and what is still under way on them. */
  readonly #ending = new Set<Lane>();
  #address: RegistryAddress;
  #lane: Lane;

  constructor(connect: Connect, address: RegistryAddress) {
    this.#connect = connect;
    this.#address = address;
    this.#lane = new Lane(connect(address));
  }

  readonly hosts: HostCalls = {
    join: (...given) => this.#lane.run(({ hosts }) => hosts.join(...given)),
    renew: (...given) => this.#lane.run(({ hosts }) => hosts.renew(...given)),
    beat: (...given) => this.#lane.run(({ hosts }) => hosts.beat(...given)),
    checkIn: (...given) => this.#lane.run(({ hosts }) => hosts.checkIn(...given)),
    report: (...given) => this.#lane.run(({ hosts }) => hosts.report(...given)),
  };

  readonly trust: RegistryPeer['trust'] = () => this.#lane.run((peer) => peer.trust());
  readonly target: RegistryPeer['target'] = (hostId) => this.#lane.run((peer) => peer.target(hostId));

  readonly doctor: RegistryPeer['doctor'] = {
    file: (...given) => this.#lane.run(({ doctor }) => doctor.file(...given)),
  };

  get liveness(): LivenessService {
    return this.#lane.peer.liveness;
  }

  get url(): string {
    return this.#address.url;
  }

  /** From now on with this changed. */
  use(change: Partial<RegistryAddress>): void {
    const address = { ...this.#address, ...change };
    if (JSON.stringify(address) === JSON.stringify(this.#address)) return;
    const before = this.#lane;
    this.#address = address;
    this.#lane = new Lane(this.#connect(address));
    this.#ending.add(before);
    const ended = () => this.#ending.delete(before);
    // One that cannot be closed is left: nothing goes over it any more.
    before.end().then(ended, ended);
  }

  /** Nobody answered where the line is: the next one of these URLs, if there is another. */
  useNext(urls: readonly string[], failure: unknown): void {
    if (urls.length < 2 || !(failure instanceof LinkError)) return;
    const next = urls[(urls.indexOf(this.url) + 1) % urls.length];
    if (next !== undefined) this.use({ url: next });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#ending, this.#lane].map((lane) => lane.peer.close()));
  }
}

/** One connection, and the calls on it. */
class Lane {
  readonly peer: RegistryPeer;
  readonly #idle = Promise.withResolvers<void>();
  #calls = 0;
  #ending = false;

  constructor(peer: RegistryPeer) {
    this.peer = peer;
  }

  async run<T>(call: (peer: RegistryPeer) => Promise<T>): Promise<T> {
    this.#calls += 1;
    try {
      return await call(this.peer);
    } finally {
      this.#calls -= 1;
      if (this.#ending && this.#calls === 0) this.#idle.resolve();
    }
  }

  /** Closes once nothing is under way any more. */
  async end(): Promise<void> {
    this.#ending = true;
    if (this.#calls > 0) await this.#idle.promise;
    await this.peer.close();
  }
}
