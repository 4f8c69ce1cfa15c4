/** What a running agent tells of itself for a doctor report, secrets masked. */
import { Mask } from '../base/mask.ts';
import { AppError } from '../domain/error.ts';
import type { DoctorService } from '../domain/services.ts';
import type { RegistryPeer } from './peer.ts';
import type { Problem } from './problems.ts';
import { folderResources, machineResources, processResources } from './resources.ts';
import { type AgentParts, agentStatus } from './status.ts';
import { secretsIn, shownTarget } from './told.ts';

export interface DiagnosisOptions {
  readonly dataDir: string;
  readonly problems: readonly Problem[];
  readonly config: object;
  readonly version: string;
  readonly commit: string;
}

/** Members as in `HostReport` of domain/diagnosis.ts, but for what is not the agent's to know. */
export async function agentDiagnosis(
  parts: AgentParts,
  { dataDir, problems, config, version, commit }: DiagnosisOptions,
): Promise<Record<string, unknown>> {
  const mask = new Mask(await secretsIn(dataDir));
  const status = agentStatus(parts, { output: true });
  const { held } = parts.targets;
  const shown = mask.value({
    ...status,
    target: held === null ? null : shownTarget(held, parts.targets.status().refusal),
    problems,
    configuration: config,
  }) as Record<string, unknown>;
  return {
    ...shown,
    dataDir,
    versions: { program: version, commit, node: process.versions.node },
    resources: {
      machine: machineResources(),
      process: processResources(),
      dataDir: folderResources(dataDir),
    },
  };
}

/** Reports go on to the registry with the host's own credential; `unavailable` before the host has joined. */
export function filingAt(peer: () => RegistryPeer | null): Pick<DoctorService, 'file'> {
  return {
    async file(caller, draft) {
      const registry = peer();
      if (registry !== null) return registry.doctor.file(caller, draft);
      throw new AppError(
        'unavailable',
        'Cannot send the doctor report: this host has not joined its registry yet; "holdfast status" says why',
      );
    },
  };
}
