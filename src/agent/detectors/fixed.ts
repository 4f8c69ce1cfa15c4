/** Components whose version is known without a file: the running kernel and the agent itself. */
import { release } from 'node:os';
import type { Component } from '../../domain/inventory.ts';
import type { Detector } from './detector.ts';

/** Neither changes while this process lives (kernel live patches keep the release); looked at daily all the same. */
const everyDefaultMs = 86_400_000;

/** The running kernel: component `linux`. */
export function kernelDetector(options: { readRelease?: () => string; everyMs?: number } = {}): Detector {
  return fixed('kernel', 'linux', options.readRelease ?? release, options.everyMs);
}

/** The agent: component `holdfast`. */
export function agentDetector(options: { version: string; everyMs?: number }): Detector {
  return fixed('agent', 'holdfast', () => options.version, options.everyMs);
}

function fixed(
  detector: string,
  name: string,
  readVersion: () => string,
  everyMs = everyDefaultMs,
): Detector {
  let last: readonly [Component] | undefined;
  return {
    name: detector,
    everyMs,
    detect: async () => {
      const version = readVersion();
      if (last?.[0].version !== version) last = [{ name, version, detector }];
      return last;
    },
  };
}
