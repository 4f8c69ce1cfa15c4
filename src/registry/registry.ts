/**
 * The registry: the centre that knows every host. This file lists all its parts in the order in which they are built;
 * `close` undoes them in reverse.
 */
import { join } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { startLoop } from '../base/loop.ts';
import type { Random } from '../base/random.ts';
import { Undo } from '../base/undo.ts';
import { systemCaller } from '../domain/access.ts';
import type { Mark } from '../domain/event.ts';
import { createHttpServer, type Listener } from '../http/server.ts';
import { AccessStore, adminTokenLifeMs } from '../store/access.ts';
import { HostStore } from '../store/host.ts';
import { InventoryStore } from '../store/inventory.ts';
import { LivenessStore } from '../store/liveness.ts';
import { openStore } from '../store/store.ts';
import { Snapshots } from './snapshots.ts';
import { Sweep, sweepEveryMs } from './sweep.ts';

/** Beats that one registry takes a second before it stretches the interval: a quarter of what one core was measured at. */
const beatsPerSecondMax = 10_000;
/** Connections that may come back a second after an outage. */
const returnsPerSecondMax = 1_000;
const flushEveryMs = 30_000;
