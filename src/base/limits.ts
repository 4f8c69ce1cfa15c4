/**
 * Every limit that a caller, a peer or an operator can meet, in one table. The README's table is made from it; a
 * setting that moves a limit starts from the value here. Names end in their unit: `Bytes`, `Ms`, `Max` (a count).
 */

export interface Limit {
  readonly value: number;
  readonly unit: 'bytes' | 'ms' | 'count';
  /** What happens at the limit, with the error code where there is one. */
  readonly reached: string;
  /** Why this value and not another. */
  readonly why: string;
}

const KiB = 1_024;
const MiB = 1_024 * KiB;

export const limitTable = {
  // Requests
  headersBytes: {
    value: 16 * KiB,
    unit: 'bytes',
    reached: 'headers-too-large',
    why: "Node's own default; a token and tracing headers take 1 KiB",
  },
  urlBytes: {
    value: 8 * KiB,
    unit: 'bytes',
    reached: 'bad-request',
    why: 'RFC 9112 asks for 8,000 octets at least; long filters have POST forms',
  },
  bodyBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'a thousand items of a kibibyte: what one request may cost in memory',
  },
  heartbeatBodyBytes: {
    value: 64 * KiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'the one request that every host sends all the time; room for some hundred transitions',
  },
  checkInBodyBytes: {
    value: 16 * MiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'the complete inventory: about 100,000 components of 160 bytes',
  },
  reportBodyBytes: {
    value: 16 * MiB,
    unit: 'bytes',
    reached: 'too-large; a report of all records stays queued, and the agent logs an error',
    why: 'one report with all records of a host, which has to be whole: 40,000 of 400 bytes',
  },
  proofBodyBytes: {
    value: 4 * KiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'a signature and a machine id of 253 characters; it is read before anybody knows whose it is',
  },
  jsonDepthMax: {
    value: 32,
    unit: 'count',
    reached: 'bad-request',
    why: 'more than any document of ours needs; a deeper one only costs its reader stack',
  },
  jsonMembersMax: {
    value: 1_000,
    unit: 'count',
    reached: 'bad-request',
    why: 'of one object, in bodies over 16 KiB; a million keys of a check-in took a second to read',
  },
  jsonValuesMax: {
    value: 1_000_000,
    unit: 'count',
    reached: 'bad-request',
    why: 'of a body; 40,000 records in one report have 600,000, and 16 MiB of {} would take 300 MB',
  },
  headerTimeMs: {
    value: 5_000,
    unit: 'ms',
    reached: 'too-slow, connection closed',
    why: 'a client that takes longer to say what it wants holds a connection hostage',
  },
  requestTimeMs: {
    value: 30_000,
    unit: 'ms',
    reached: 'too-slow, connection closed',
    why: '1 MiB over a 300 kbit/s link takes 28 s',
  },
  silenceMs: {
    value: 300_000,
    unit: 'ms',
    reached: 'connection closed',
    why: 'a request under way on which no byte moves; the longest silence of our own, the check of a whole audit, is far below',
  },
  connectionsMax: {
    value: 20_000,
    unit: 'count',
    reached: 'new connections are closed at once',
    why: 'at the 31 KB measured for each TLS connection: 620 MB at most',
  },
  addressConnectionsMax: {
    value: 10_000,
    unit: 'count',
    reached: 'new connections from that address are closed at once; not on loopback, nor behind a proxy',
    why: 'half of connectionsMax: one address, even of a whole site, cannot keep all others out',
  },

  // Admission
  beatsUnderWayMax: {
    value: 10_000,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'heartbeats of hosts and records are answered at once from memory: so many only wait when a whole fleet comes back',
  },
  credentialsUnderWayMax: {
    value: 256,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'each checks a signature, which costs as much as six heartbeats',
  },
  reportsUnderWayMax: {
    value: 256,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'batches of reports and changes of records: what they write is committed together',
  },
  readsUnderWayMax: {
    value: 512,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'a page of 1,000 records is 400 KB: 200 MB at most',
  },
  smallBodyBytes: {
    value: 16 * KiB,
    unit: 'bytes',
    reached: 'the check-in counts among the complete ones (checkInsUnderWayMax), else among the reports',
    why: 'a hundred changed components: those that an upgrade of a host brings, and far from what makes a registry full',
  },
  checkInsUnderWayMax: {
    value: 32,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'the largest bodies of all: at 16 MiB each 512 MiB at most, at the usual 250 KB 8 MB',
  },
  joinsUnderWayMax: {
    value: 256,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'each checks a signature and writes; whoever joins can wait',
  },
  adminsUnderWayMax: {
    value: 128,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: 'what people do; more at once is a script that runs away',
  },
  wrongCredentialsBurstMax: {
    value: 1_000,
    unit: 'count',
    reached: 'rate-limited, with Retry-After, connection closed; good credentials are let in all the same',
    why: 'a site of hosts behind one address whose credentials have ended is still told so',
  },
  wrongCredentialsEveryMs: {
    value: 200,
    unit: 'ms',
    reached: 'one more wrong credential of an address is looked at',
    why: 'five tries a second at 256 random bits',
  },
  selfChangesBurstMax: {
    value: 10,
    unit: 'count',
    reached: 'rate-limited; the report waits in the outbox',
    why: 'what a host says of itself changes with its configuration: some restarts in a row',
  },
  selfChangesEveryMs: {
    value: 60_000,
    unit: 'ms',
    reached: 'one more change of what a host says of itself after each',
    why: 'each is kept in memory for as long as the log reaches back: 10,000 a week, 3 MiB, from a host that does nothing else',
  },
  joinsBurstMax: {
    value: 500,
    unit: 'count',
    reached: 'rate-limited, with Retry-After',
    why: 'joins by join token from one address at once: a site that is set up in one go',
  },
  joinsEveryMs: {
    value: 20,
    unit: 'ms',
    reached: 'one more join of an address is taken',
    why: '50 hosts a second from one address, for as long as it takes',
  },
  addressesMax: {
    value: 10_000,
    unit: 'count',
    reached: 'the address that was longest silent starts anew',
    why: 'remote addresses that are counted, at some 100 bytes each',
  },

  // Lists and batches
  listDefaultMax: {
    value: 100,
    unit: 'count',
    reached: '`next` continues',
    why: 'a page that a person still reads',
  },
  listMax: {
    value: 1_000,
    unit: 'count',
    reached: 'bad-request',
    why: 'a page of records stays below 1 MiB',
  },
  batchItemsMax: {
    value: 1_000,
    unit: 'count',
    reached: 'too-large',
    why: 'one batch holds up the write queue for milliseconds, not longer',
  },
  checkInItemsMax: {
    value: 50_000,
    unit: 'count',
    reached: 'too-large',
    why: 'many times what a distribution installs; fits checkInBodyBytes',
  },
  wordLengthMax: {
    value: 128,
    unit: 'count',
    reached: 'bad-request; a detector leaves the component out and says so',
    why: 'types, components, regions, in characters; the longest package name of a distribution has 60',
  },
  nameLengthMax: {
    value: 253,
    unit: 'count',
    reached: 'bad-request',
    why: 'the longest host name of RFC 1035, in characters',
  },
  versionLengthMax: {
    value: 256,
    unit: 'count',
    reached: 'bad-request',
    why: 'in characters; versions may carry a digest or other build data',
  },
  releaseBytes: {
    value: 64 * KiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'description, fixes, image and data of one release; a longer changelog is better linked to',
  },
  releaseDataDepthMax: {
    value: 16,
    unit: 'count',
    reached: 'bad-request',
    why: 'of the data of a release; lists and events that hold it stay below jsonDepthMax',
  },
  trainReleasesMax: {
    value: 10_000,
    unit: 'count',
    reached: 'unprocessable; withdraw old ones',
    why: 'releases of one component on one train, as the latest by version looks at each: one a day for 27 years',
  },
  clustersMax: {
    value: 50_000,
    unit: 'count',
    reached: 'unprocessable',
    why: 'clients of workflow-manager-api; all their check-in times fit one answer of 10 MiB',
  },
  anonymousPostsBurstMax: {
    value: 60,
    unit: 'count',
    reached: 'rate-limited, with Retry-After',
    why: 'posts without a token from one address at once, where they are let in: a site of old clients that restarts',
  },
  anonymousPostsEveryMs: {
    value: 1_000,
    unit: 'ms',
    reached: 'one more post without a token of an address is taken',
    why: 'an old client posts twice a day: 40,000 of them behind one address',
  },
  followingTrainsMax: {
    value: 100,
    unit: 'count',
    reached: 'unprocessable',
    why: 'trains of one component that follow others; they are read together',
  },
  followedTrainsMax: {
    value: 8,
    unit: 'count',
    reached: 'unprocessable',
    why: 'that one train follows, one through another; people have three or four',
  },
  followDelayMaxMs: {
    value: 365 * 86_400_000,
    unit: 'ms',
    reached: 'bad-request',
    why: 'what is older than a year is no candidate any more',
  },
  historyKeptMs: {
    value: 400 * 86_400_000,
    unit: 'ms',
    reached: 'compacted, naming the oldest moment',
    why: 'how hosts, components and releases were: a year, and a month to compare it with the one before',
  },
  rangesMax: {
    value: 10,
    unit: 'count',
    reached: 'bad-request',
    why: 'of versions (has) in one question: each is 5 to 10 ms at 20,000 hosts, in which no host can beat',
  },
  seriesPointsMax: {
    value: 1_000,
    unit: 'count',
    reached: 'bad-request; take a longer step',
    why: 'of one series; a plot has no more pixels',
  },
  pageBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'the page ends before its limit, `next` continues',
    why: 'of releases, which may be large: notes of some hundred versions',
  },
  latestAnswerBytes: {
    value: 8 * MiB,
    unit: 'bytes',
    reached: 'too-large; ask for fewer at once',
    why: 'the latest releases of many components in one answer: 8 KiB each of a thousand',
  },
  doctorReportBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'too-large',
    why: 'a host tells of itself in some ten KiB, a cluster of the old wire format in some hundred',
  },
  recentProblemsMax: {
    value: 100,
    unit: 'count',
    reached: 'the oldest is forgotten; the journal has all',
    why: 'warnings and errors of an agent that a doctor report shows: what a person still reads',
  },
  problemDetailMax: {
    value: 1_000,
    unit: 'count',
    reached: 'cut',
    why: 'characters of the fields of one of them: all of them take 200 KB at most',
  },
  maskedTextMax: {
    value: 20_000,
    unit: 'count',
    reached: 'cut',
    why: 'characters of one text of a doctor report, which is searched for secrets',
  },
  doctorCommentBytes: {
    value: 16 * KiB,
    unit: 'bytes',
    reached: 'bad-request',
    why: 'what a person writes, or pastes of a log',
  },
  doctorSenderReportsMax: {
    value: 50,
    unit: 'count',
    reached: 'the oldest of the same sender leaves',
    why: 'one host that sends again and again pushes out only its own',
  },
  doctorReportsMax: {
    value: 1_000,
    unit: 'count',
    reached: 'the oldest leaves',
    why: 'at the largest 1 GiB; nobody reads more than the latest',
  },
  doctorKeptMs: {
    value: 90 * 86_400_000,
    unit: 'ms',
    reached: 'the report is removed',
    why: 'they say much of a host: kept for as long as somebody may be mending it',
  },
  reportBatchMax: {
    value: 1_000,
    unit: 'count',
    reached: 'the rest goes with the next batch',
    why: 'an hour offline at 10 events a second is 36 batches',
  },
  reportBatchBytes: {
    value: 256 * KiB,
    unit: 'bytes',
    reached: 'the rest goes with the next batch',
    why: 'a batch that a bad link breaks off is cheap to send again',
  },

  // WebSockets and watches
  frameInboundBytes: {
    value: 64 * KiB,
    unit: 'bytes',
    reached: 'socket closed with 1009',
    why: 'clients send selections and small messages; documents go over HTTP',
  },
  socketsMax: {
    value: 15_000,
    unit: 'count',
    reached: 'unavailable, with Retry-After',
    why: '10,000 watchers and room; below connectionsMax, so that requests get through',
  },
  socketWatchesMax: {
    value: 64,
    unit: 'count',
    reached: 'rate-limited on the subscription, socket stays',
    why: 'every revision is matched against every watch; a page of a dashboard needs 5',
  },
  socketBufferedBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'paused; continues from the log when it has drained',
    why: 'what a reader that stops reading may hold of our memory',
  },
  slowReaderMs: {
    value: 30_000,
    unit: 'ms',
    reached: 'closed with the position to resume from',
    why: 'a reader that takes nothing for so long is gone, or will not catch up',
  },
  progressMs: {
    value: 25_000,
    unit: 'ms',
    reached: '`progress` is sent',
    why: 'FORMATS promises 30 s; proxies commonly drop what is silent for 60',
  },
  ringRevisionsMax: {
    value: 8_192,
    unit: 'count',
    reached: 'the oldest leave; who is behind reads from the log',
    why: 'a quarter of a minute at 500 revisions a second: who keeps up never reads the database',
  },
  ringBytes: {
    value: 8 * MiB,
    unit: 'bytes',
    reached: 'the oldest leave; who is behind reads from the log',
    why: 'one copy for all watchers together; the parsed events beside it take twice as much again',
  },

  // Language
  labelsMax: {
    value: 64,
    unit: 'count',
    reached: 'unprocessable',
    why: 'labels of one host, and as many that it says of itself: each is in memory, in events and in its target',
  },
  labelValueLengthMax: {
    value: 128,
    unit: 'count',
    reached: 'bad-request',
    why: 'in characters; as long as a key may be. Longer texts describe, and describing is not selecting',
  },
  selectorBytes: {
    value: 4 * KiB,
    unit: 'bytes',
    reached: 'bad-request',
    why: 'half of a URL; longer ones are lists of names, which filters take better',
  },
  selectorTermsMax: {
    value: 128,
    unit: 'count',
    reached: 'bad-request',
    why: 'terms and listed values, as each is compared for each host',
  },
  selectorDepthMax: {
    value: 8,
    unit: 'count',
    reached: 'bad-request',
    why: 'people write one or two parentheses',
  },

  // Host
  checksMax: {
    value: 1_000,
    unit: 'count',
    reached: 'start refused (78)',
    why: 'checks of one host: an http look is 1.4 ms of a core, so as many at the default of 30 s take 5 % of one',
  },
  detectorsMax: {
    value: 200,
    unit: 'count',
    reached: 'start refused (78)',
    why: 'detectors of one host: each command is a process now and then, and the first check-in waits for all',
  },
  checkStepsMax: {
    value: 16,
    unit: 'count',
    reached: 'the next waits for its turn, its time limit too',
    why: 'checks and detectors that one agent asks the runner for at once; half of what a runner does at once',
  },
  checkBodyBytes: {
    value: 64 * KiB,
    unit: 'bytes',
    reached: 'the rest is not read; `match` looks at the beginning',
    why: 'of what an http check is answered; a page of health is a line or two',
  },
  patternMs: {
    value: 100,
    unit: 'ms',
    reached: 'the look fails, and says so',
    why: 'a regular expression of agent.yaml on one output; the agent does nothing else meanwhile',
  },

  detectorParseMs: {
    value: 500,
    unit: 'ms',
    reached: 'the detector fails, and says so',
    why: 'of a YAML file that says a version, 50 KiB at the 10 ms a KiB measured while cold; the agent does nothing else meanwhile',
  },
  detectorFileBytes: {
    value: 256 * KiB,
    unit: 'bytes',
    reached: 'the detector fails, and says so',
    why: 'a file that says a version has some hundred bytes; to read more as YAML would hold up the agent',
  },

  // The runner
  runnerLineBytes: {
    value: 4 * MiB,
    unit: 'bytes',
    reached: 'too-large; the line is passed over, the connection stays',
    why: 'a placement travels with its whole target, as a JSON text in a JSON text',
  },
  runnerConnectionsMax: {
    value: 16,
    unit: 'count',
    reached: 'new connections are closed at once',
    why: 'there is one agent; room for one that is on its way out, and for people who look',
  },
  runnerQuestionsMax: {
    value: 256,
    unit: 'count',
    reached: 'rate-limited',
    why: 'open questions of one connection: more checks than a host has',
  },
  runnerStepsMax: {
    value: 32,
    unit: 'count',
    reached: 'rate-limited',
    why: 'commands at once; each is a process of a foreign program, with what that starts',
  },
  runnerOutputBytes: {
    value: 64 * KiB,
    unit: 'bytes',
    reached: 'the rest is counted and dropped',
    why: 'of one step, stdout and stderr together; what a person reads of a failure',
  },
  runnerPackagesBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'the detector fails, and says so',
    why: 'what rpm says of 15,000 packages; the largest distributions install 5,000',
  },
  runnerOutputRateBytes: {
    value: 32 * MiB,
    unit: 'bytes',
    reached: 'the writers wait',
    why: 'a second, of all steps together: more than a program says, and 6 % of a core; to read all of a flood is a whole one',
  },
  runnerLookMemoryBytes: {
    value: 256 * MiB,
    unit: 'bytes',
    reached: 'it is ended as out of memory',
    why: 'of a check or a detector with all that it starts',
  },
  runnerLookTasksMax: {
    value: 64,
    unit: 'count',
    reached: 'it can start no more; without systemd it is ended',
    why: 'processes and threads of a check or a detector',
  },
  runnerStepMemoryBytes: {
    value: 1_024 * MiB,
    unit: 'bytes',
    reached: 'it is ended as out of memory',
    why: 'of a command of a placement, such as a package manager',
  },
  runnerStepTasksMax: {
    value: 512,
    unit: 'count',
    reached: 'it can start no more; without systemd it is ended',
    why: 'processes and threads of a command of a placement',
  },
  runnerResultsMax: {
    value: 64,
    unit: 'count',
    reached: 'the oldest leaves',
    why: 'results that nobody has fetched, of up to 200 KiB each',
  },
  runnerLookKeptMs: {
    value: 60_000,
    unit: 'ms',
    reached: 'the result is forgotten',
    why: 'of a check or a detector: later, another look says more',
  },
  runnerResultKeptMs: {
    value: 86_400_000,
    unit: 'ms',
    reached: 'the result is forgotten',
    why: 'of a command of a placement: an agent that was away for the night still learns how it ended',
  },
  runnerStopMs: {
    value: 5_000,
    unit: 'ms',
    reached: 'KILL',
    why: 'from TERM on, for what has to end; within the 15 s that a stop may take',
  },

  // Notify
  notifySinksMax: {
    value: 32,
    unit: 'count',
    reached: 'the configuration is refused',
    why: 'each has a place in the log and a loop of its own',
  },
  notifyRulesMax: {
    value: 100,
    unit: 'count',
    reached: 'the configuration is refused',
    why: 'each event is held against every rule',
  },
  notifyTimeoutMs: {
    value: 60_000,
    unit: 'ms',
    reached: 'the configuration is refused',
    why: 'of one delivery to one sink; what takes longer is a queue of its own',
  },
  notifyBatchMax: {
    value: 500,
    unit: 'count',
    reached: 'what is there is told, and the rest after it',
    why: 'events that one batch of a sink holds in memory',
  },
  notifyBatchBytes: {
    value: 4 * MiB,
    unit: 'bytes',
    reached: 'what is there is told, and the rest after it',
    why: 'a release may have a body of its own size',
  },
  notifyMessagesMax: {
    value: 100,
    unit: 'count',
    reached: 'what is there is told, and the rest after it',
    why: 'messages of one batch: groups that somebody reads one by one',
  },
  notifyEventsMax: {
    value: 50,
    unit: 'count',
    reached: 'the message says how many more there are',
    why: 'of one message; nobody reads more lines on a telephone',
  },
  notifyMessageBytes: {
    value: 128 * KiB,
    unit: 'bytes',
    reached: 'the message says how many more there are',
    why: 'events in one message; half of what a command of a sink is given',
  },
  notifyInputBytes: {
    value: 256 * KiB,
    unit: 'bytes',
    reached: 'bad-request',
    why: 'stdin of the command of a sink, which the runner holds until it is read',
  },
  notifyAnswerBytes: {
    value: 16 * KiB,
    unit: 'bytes',
    reached: 'the rest of the answer is not read',
    why: 'what a sink answers is read for its first words only',
  },

  // Ourselves
  privateFileBytes: {
    value: 1 * MiB,
    unit: 'bytes',
    reached: 'start refused (78)',
    why: 'keys, tokens and certificate bundles; a wrong path must not fill memory',
  },
  retryAfterMs: {
    value: 600_000,
    unit: 'ms',
    reached: 'a longer Retry-After is cut to this',
    why: 'a wrong header must not silence a host; ten minutes rest is a lot for a server',
  },
  stuckMs: {
    value: 600_000,
    unit: 'ms',
    reached: 'systemd is told nothing more, and starts the role again when its watchdog runs out',
    why: 'ten times the longest that any single step of a loop may take by its own limits; a slow disk is no reason',
  },
  startExtendedMs: {
    value: 3_600_000,
    unit: 'ms',
    reached: 'systemd is no longer asked for more time to start, and ends the role',
    why: 'longer than any migration or wait for a database that somebody would sit through',
  },
  notifyMs: {
    value: 5_000,
    unit: 'ms',
    reached: 'systemd-notify is ended and the failure logged',
    why: 'systemd reads within milliseconds; a stuck one must not hold up start or stop',
  },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof limitTable;

/** The values alone: `limits.bodyBytes`. */
export const limits = Object.freeze(
  Object.fromEntries(Object.entries(limitTable).map(([name, limit]) => [name, limit.value])),
) as { readonly [Name in LimitName]: number };

/** As people read it: `64 KiB`, `25 s`, `1,000`. */
export function formatLimit({ value, unit }: Limit): string {
  if (unit === 'ms') return value % 60_000 === 0 ? `${value / 60_000} min` : `${value / 1_000} s`;
  if (unit === 'bytes') return value % MiB === 0 ? `${value / MiB} MiB` : `${value / KiB} KiB`;
  return value.toLocaleString('en-US');
}
