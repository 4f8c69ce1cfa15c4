/** The registry's stores keep their promises on PostgreSQL. */
import { openPostgresStore } from '../../src/store/engine/postgres-store.ts';
import { usePostgres } from '../helpers/postgres.ts';
import { accessContract } from './access.contract.ts';
import { auditContract } from './audit.contract.ts';
import { doctorContract } from './doctor.contract.ts';
import { hostContract } from './host.contract.ts';
import { hostAgeContract } from './host-age.contract.ts';
import { hostChangeContract } from './host-change.contract.ts';
import { hostHistoryContract } from './host-history.contract.ts';
import { hostPastContract } from './host-past.contract.ts';
import { hostStepsContract } from './host-steps.contract.ts';
import { idempotencyContract } from './idempotency.contract.ts';
import { identityContract } from './identity.contract.ts';
import { importContract } from './import.contract.ts';
import { inventoryContract } from './inventory.contract.ts';
import { inventoryHistoryContract } from './inventory-history.contract.ts';
import { livenessContract, type OpenStoreForTest } from './liveness.contract.ts';
import { notifyContract } from './notify.contract.ts';
import { releaseContract } from './release.contract.ts';
import { releasePastContract } from './release-past.contract.ts';
import { selectorContract } from './selector.contract.ts';
import { trainContract } from './train.contract.ts';
import { trustContract } from './trust.contract.ts';
import { updateContract } from './update.contract.ts';

const postgres = usePostgres();

const open: OpenStoreForTest = async (t, clock) => {
  const store = await openPostgresStore({ url: await postgres.createDatabase(), clock, holder: 'test' });
  t.after(() => store.close());
  return store;
};

accessContract(open);
auditContract(open);
livenessContract(open);
hostContract(open);
identityContract(open);
hostChangeContract(open);
hostAgeContract(open);
hostPastContract(open);
hostHistoryContract(open);
hostStepsContract(open);
inventoryContract(open);
inventoryHistoryContract(open);
selectorContract(open);
releaseContract(open);
releasePastContract(open);
trainContract(open);
doctorContract(open);
importContract(open);
trustContract(open);
updateContract(open);
idempotencyContract(open);
notifyContract(open);
