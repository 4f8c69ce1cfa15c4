/**
 * What `holdfast install` does to a machine, as a list of steps: found by looking only, told in words, done in order. A
 * step that is done already is not in the list, so installing again does what is missing, and what a person wrote stays.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import {
  ensureOwnedFolder,
  FileError,
  readPrivateFile,
  reasonOf,
  removeFile,
  writeFileAtomic,
} from '../base/atomic-file.ts';
import { makeFolder } from '../base/folder.ts';
import type { CommandResult } from '../runner/systemctl.ts';
import { handedOverToken } from './agent-config.ts';
import { ConfigurationError } from './exit.ts';
import type { InstallHost } from './install-host.ts';
import type { Role } from './locations.ts';
import { packagingFiles, packagingText } from './packaging.ts';

export interface Step {
  /** `write /etc/holdfast/agent.yaml`. */
  readonly words: string;
  readonly run: () => Promise<void>;
}

/** Where the bare binary puts itself; the package has folders of its own. */
export const bare = {
  folder: '/usr/local/lib/holdfast',
  program: '/usr/local/lib/holdfast/holdfast',
  link: '/usr/local/bin/holdfast',
  units: '/etc/systemd/system',
} as const;

/** There from the first step to the last, and gone after a boot, which reads and starts everything anew. */
const unfinishedMark = '/run/holdfast/install.unfinished';

const packagedProgram = '/usr/lib/holdfast/holdfast';
const packagedUnits = ['/usr/lib/systemd/system', '/lib/systemd/system'];
const unitNames = packagingFiles
  .filter((name) => name.endsWith('.service'))
  .map((name) => name.slice('systemd/'.length));

/** Units of a role, in the order in which they start. */
export const unitsOf: Readonly<Record<Role, readonly string[]>> = {
  agent: ['holdfast-runner.service', 'holdfast-agent.service'],
  registry: ['holdfast-registry.service'],
};

export class InstallPlan {
  readonly steps: Step[] = [];
  readonly #host: InstallHost;
  /** An earlier one changed files and did not come to its end: what systemd has read, and what runs, is older. */
  readonly #unfinished: boolean;
  #programChanged = false;

  constructor(host: InstallHost) {
    this.#host = host;
    this.#unfinished = existsSync(this.at(unfinishedMark));
  }

  /** Does the steps in order, and calls `tell` before each. */
  async perform(tell: (words: string) => void): Promise<void> {
    if (this.steps.length === 0) return;
    const mark = this.at(unfinishedMark);
    makeOpenFolder(dirname(mark));
    writeFileSync(mark, '');
    for (const { words, run } of this.steps) {
      tell(words);
      await run();
    }
    await removeFile(mark);
  }

  /** Where a path of the machine lies for us. */
  at(path: string): string {
    return join(this.#host.root, path);
  }

  /** By the package: then its files are there, and kept by dpkg. Throws `ConfigurationError` when two ways meet. */
  get packaged(): boolean {
    const { program } = this.#host;
    const byPackage = packagedUnits.some((folder) =>
      existsSync(this.at(join(folder, 'holdfast-agent.service'))),
    );
    if (program === null)
      throw new ConfigurationError(
        'Cannot install from the sources: a unit starts the single binary; build it with "npm run build", then run dist/holdfast install',
      );
    if (!byPackage) return false;
    if (program !== this.at(packagedProgram))
      throw new ConfigurationError(
        `Cannot install ${program}: the package holdfast is installed here; run /usr/bin/holdfast install, or remove the package first ("apt remove holdfast" keeps all state)`,
      );
    if (existsSync(this.at(join(bare.units, 'holdfast-agent.service'))))
      throw new ConfigurationError(
        `Cannot install: units in ${bare.units}, which an earlier "holdfast install" of the bare binary wrote, hide those of the package; run "holdfast install --remove" first (it keeps all state)`,
      );
    return true;
  }

  /** The binary itself, its units, and the users that they run as. */
  addProgram(): void {
    const { program, addon, manager } = this.#host;
    if (this.packaged || program === null) return;
    if (!this.#hasUsers())
      this.add('make the users holdfast-agent and holdfast-registry', async () => {
        const lines = packagingText('systemd/holdfast.sysusers.conf');
        orThrow(await manager.makeUsers(lines), 'make the users of the daemons');
      });
    this.#requireOwn(dirname(bare.program));
    this.addFile(bare.program, readFileSync(program), 0o755);
    // Beside the binary, owned by root: then nothing has to be unpacked into a folder of the daemon's user.
    this.addFile(join(bare.folder, 'holdfast.node'), addon(), 0o644);
    this.#addLink();
    const before = this.steps.length;
    for (const name of unitNames) {
      const text = packagingText(`systemd/${name}` as (typeof packagingFiles)[number]);
      this.addFile(join(bare.units, name), text.replaceAll('/usr/bin/holdfast', bare.program), 0o644);
    }
    if (this.steps.length > before || this.#unfinished)
      this.add('have systemd read its units again', async () =>
        orThrow(await manager.control(['daemon-reload']), 'have systemd read its units'),
      );
    this.#programChanged = this.steps.length > 0;
  }

  /** Replaces a file whose content is another. */
  addFile(path: string, content: string | Uint8Array, mode: number): void {
    const place = this.at(path);
    if (isSame(place, content, mode)) return;
    this.add(`write ${path}`, async () => {
      makeOpenFolder(dirname(place));
      await writeFileAtomic(place, content, { mode, random: this.#host.random });
    });
  }

  /** What the configuration of a role says; the example, where there is none yet. */
  configurationOf(role: Role): string {
    const place = this.at(configurationFile(role));
    return existsSync(place) ? readFileSync(place, 'utf8') : packagingText(`examples/${role}.yaml`);
  }

  /** Whoever closed the file, or gave it to a group, wants it to stay so. */
  addConfiguration(role: Role, content: string): void {
    const path = configurationFile(role);
    const place = this.at(path);
    const found = statSync(place, { throwIfNoEntry: false });
    if (found === undefined) {
      this.addFile(path, content, 0o644);
      return;
    }
    if (readFileSync(place, 'utf8') === content) return;
    const { uid, gid, mode } = found;
    this.add(`write ${path}`, () =>
      writeFileAtomic(place, content, {
        mode: mode & 0o7777,
        owner: { uid, gid },
        random: this.#host.random,
      }),
    );
  }

  /**
   * Whether it was handed over and has not been used yet. The folder is the agent's, who might put a pipe there, or a
   * link to anything: what is not as we left it is replaced.
   */
  async hasJoinToken(token: string): Promise<boolean> {
    const place = this.at(join('/var/lib/holdfast/agent', handedOverToken));
    if (lstatSync(place, { throwIfNoEntry: false }) === undefined) return false;
    try {
      const found = await readPrivateFile(place, { uid: this.#userOf('holdfast-agent').uid });
      return found.toString('utf8').trim() === token;
    } catch (error) {
      if (error instanceof FileError) return false;
      throw error;
    }
  }

  /** Where the agent looks for it, and can delete it: its own folder. Nobody but it and root can read it there. */
  addJoinToken(token: string): void {
    const folder = '/var/lib/holdfast/agent';
    this.add(`hand the join token to the agent, in ${join(folder, handedOverToken)}`, async () => {
      const owner = this.#userOf('holdfast-agent');
      makeOpenFolder(dirname(this.at(folder)));
      await ensureOwnedFolder(this.at(folder), owner);
      const place = join(this.at(folder), handedOverToken);
      await writeFileAtomic(place, `${token}\n`, { mode: 0o600, owner, random: this.#host.random });
    });
  }

  /** Now and at each boot. What has changed on disk is taken up by a restart, which leaves the runner's steps alone. */
  async addStart(role: Role): Promise<void> {
    const { manager } = this.#host;
    const units = unitsOf[role];
    const words = units.join(' and ');
    // Asked for each: of several, systemctl is content with one.
    const all = async (question: string) => {
      const answers = units.map((unit) => manager.control([question, '--quiet', unit]));
      return (await Promise.all(answers)).every(({ code }) => code === 0);
    };
    const changed = this.steps.length > 0 || this.#unfinished;
    const others = this.#programChanged || this.#unfinished ? await this.#othersThatRun(units) : [];
    const runs = await all('is-active');
    if (!(await all('is-enabled')))
      this.add(`start ${words} at each boot`, async () =>
        orThrow(await manager.control(['enable', '--quiet', ...units]), `enable ${words}`),
      );
    if (runs && !changed) return;
    this.add(`${runs ? 'restart' : 'start'} ${words}`, () => this.#restart(units));
    if (others.length > 0) this.add(`restart ${others.join(' and ')}`, () => this.#restart(others));
  }

  async #restart(units: readonly string[]): Promise<void> {
    const { manager } = this.#host;
    for (const unit of units) {
      // One that failed too often is not started by systemd, until somebody says so.
      await manager.control(['reset-failed', unit]);
      const result = await manager.control(['restart', unit]);
      if (result.code !== 0) throw await this.#notStarted(unit, result);
    }
  }

  /** Of another role, but of the same binary. */
  async #othersThatRun(units: readonly string[]): Promise<string[]> {
    const others: string[] = [];
    for (const unit of unitNames.filter((name) => !units.includes(name))) {
      const { code } = await this.#host.manager.control(['is-active', '--quiet', unit]);
      if (code === 0) others.push(unit);
    }
    return others;
  }

  /** Everything that the bare binary put there; state, configuration and users stay. */
  async addRemoval(): Promise<void> {
    const { manager } = this.#host;
    const units = unitNames.filter((name) => existsSync(this.at(join(bare.units, name))));
    if (units.length > 0) {
      const words = units.join(', ');
      this.add(`stop ${words} and what the runner started`, async () => {
        orThrow(await manager.control(['disable', '--quiet', '--now', ...units]), `stop ${words}`);
        orThrow(await manager.control(['stop', 'holdfast-step-*.service']), 'stop what the runner started');
      });
      for (const name of units) this.#addRemove(join(bare.units, name));
    }
    if (units.length > 0 || this.#unfinished)
      this.add('have systemd read its units again', async () =>
        orThrow(await manager.control(['daemon-reload']), 'have systemd read its units'),
      );
    if (this.#isOurLink()) this.#addRemove(bare.link);
    if (existsSync(this.at(bare.folder)))
      this.add(`remove ${bare.folder}`, async () => rmSync(this.at(bare.folder), { recursive: true }));
  }

  add(words: string, run: () => Promise<void>): void {
    this.steps.push({ words, run });
  }

  /** Root's units start what lies there, so whoever else can write there would be root. */
  #requireOwn(path: string): void {
    const found = lstatSync(this.at(path), { throwIfNoEntry: false });
    if (found === undefined) return;
    if (found.isDirectory() && isOwn(found)) return;
    throw new ConfigurationError(
      `Cannot install into ${path}: it is not a folder that root alone can write to; move it away, or run "chown root: ${path}" and "chmod 755 ${path}"`,
    );
  }

  #addRemove(path: string): void {
    this.add(`remove ${path}`, () => removeFile(this.at(path)));
  }

  #addLink(): void {
    const place = this.at(bare.link);
    if (this.#isOurLink()) return;
    // Somebody else's program of that name is none of our business; units name the binary itself.
    if (existsSync(place)) return;
    this.add(`link ${bare.link} to it`, async () => {
      makeOpenFolder(dirname(place));
      rmSync(place, { force: true });
      symlinkSync('../lib/holdfast/holdfast', place);
    });
  }

  #isOurLink(): boolean {
    try {
      return readlinkSync(this.at(bare.link)) === '../lib/holdfast/holdfast';
    } catch {
      return false;
    }
  }

  #hasUsers(): boolean {
    const names = (file: string) => readLines(this.at(file)).map((line) => line.split(':')[0]);
    const users = names('/etc/passwd');
    return (
      users.includes('holdfast-agent') &&
      users.includes('holdfast-registry') &&
      names('/etc/group').includes('holdfast')
    );
  }

  #userOf(name: string): { uid: number; gid: number } {
    const line = readLines(this.at('/etc/passwd')).find((one) => one.startsWith(`${name}:`));
    const [, , uid, gid] = line?.split(':') ?? [];
    if (uid === undefined || gid === undefined)
      throw new ConfigurationError(
        `Cannot hand anything to the user ${name}: /etc/passwd has no such user; install the package again, or run "systemd-sysusers"`,
      );
    return { uid: Number(uid), gid: Number(gid) };
  }

  /** What it said last is why. */
  async #notStarted(unit: string, { stderr }: CommandResult): Promise<Error> {
    const { stdout } = await this.#host.manager.journal(unit, 20);
    const said = stdout.split('\n').filter((line) => line.startsWith('holdfast: '));
    const why = said.at(-1)?.slice('holdfast: '.length) ?? stderr.trim().split('\n')[0] ?? '';
    return new Error(
      `Cannot start ${unit}: ${why}\nMend that and run this command again: what is done stays done. "journalctl -u ${unit}" has the rest.`,
    );
  }
}

/** Throws what the command said on stderr. */
function orThrow({ code, stderr }: CommandResult, what: string): void {
  if (code !== 0)
    throw new Error(
      `Cannot ${what}: ${stderr.trim() || `exit code ${code}`}; mend that and run this command again`,
    );
}

export function configurationFile(role: Role): string {
  return `/etc/holdfast/${role}.yaml`;
}

/** The daemons read below it as users of their own, whatever the umask of whoever installs. */
function makeOpenFolder(path: string): void {
  const made = makeFolder(path, 0o755);
  if (made === undefined) return;
  for (let at = path; ; at = dirname(at)) {
    chmodSync(at, 0o755);
    if (at === made) return;
  }
}

/** Ours, which is root's, and for nobody else to write. */
function isOwn({ uid, mode }: { uid: number; mode: number }): boolean {
  return uid === (process.geteuid?.() ?? uid) && (mode & 0o022) === 0;
}

function isSame(path: string, content: string | Uint8Array, mode: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || !found.isFile() || (found.mode & 0o7777) !== mode || !isOwn(found)) return false;
  const bytes = Buffer.from(content);
  return found.size === bytes.length && digest(readFileSync(path)) === digest(bytes);
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch (error) {
    throw new ConfigurationError(`Cannot read ${path}: ${reasonOf(error)}`);
  }
}
