/** Configuration files: YAML read key by key, so that whatever is wrong is told with its file and line. */
import { readFile, stat } from 'node:fs/promises';
import type { Document } from 'yaml';
import { reasonOf } from '../base/atomic-file.ts';
import { limits } from '../base/limits.ts';
import { nearest } from '../base/nearest.ts';
import { isAppError } from '../domain/error.ts';
import { ConfigurationError } from './exit.ts';
import {
  futureKeys,
  isSecret,
  type RoleCommand,
  type SettingName,
  settings,
  settingsOf,
} from './settings.ts';
import { yamlWords } from './yaml-words.ts';

/** A setting as it will be used, and who said so: `--listen`, `HOLDFAST_LISTEN`, `agent.yaml:3`. */
export interface Given {
  readonly value: unknown;
  readonly source: string;
}

/** What the file of a role says. Throws `ConfigurationError` (78) naming file and line. */
export async function readConfigFile(file: string, role: RoleCommand): Promise<Map<SettingName, Given>> {
  return readConfigText(await readTextFile(file), { file, role });
}

/** As `readConfigFile`, of a text that somebody has read already; `file` is how errors call it. */
export async function readConfigText(
  text: string,
  { file, role }: { file: string; role: RoleCommand },
): Promise<Map<SettingName, Given>> {
  const { isMap, isScalar, LineCounter, parseDocument, visit } = await import('yaml');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const at = (offset: number | undefined) => `${file}:${lines.linePos(offset ?? 0).line}`;
  const [mistake] = [...document.errors, ...document.warnings];
  if (mistake !== undefined)
    throw new ConfigurationError(`Cannot read ${at(mistake.pos[0])}: ${yamlWords(mistake)}`);
  visit(document, {
    // A few lines of aliases of aliases are gigabytes.
    Alias(_key, { source, range }) {
      throw new ConfigurationError(
        `Cannot read ${at(range?.[0])}: "*${source}" stands for what is written elsewhere; write it out`,
      );
    },
  });
  const names = new Map(
    settingsOf[role].flatMap((name) => {
      const { key } = settings[name];
      return key === null ? [] : [[key as string, name] as const];
    }),
  );
  const given = new Map<SettingName, Given>();
  const readMap = (node: unknown, prefix: string, offset: number | undefined) => {
    if (!isMap(node)) throw new ConfigurationError(`Cannot read ${at(offset)}: expected keys with values`);
    for (const { key, value } of node.items) {
      const keyOffset = isScalar(key) ? key.range?.[0] : undefined;
      const path = prefix + String(isScalar(key) ? key.value : key);
      const name = names.get(path);
      if (name !== undefined) {
        const plain: unknown =
          (value as { toJS?: (document: unknown) => unknown } | null)?.toJS?.(document) ?? null;
        const source = at(keyOffset);
        given.set(name, {
          value: readValue(name, plain, `${path} (${source})`, (field) =>
            at(offsetOf(document, field) ?? keyOffset),
          ),
          source,
        });
      } else if ([...names.keys()].some((known) => known.startsWith(`${path}.`))) {
        readMap(value, `${path}.`, keyOffset);
      } else {
        throw new ConfigurationError(`Cannot read ${at(keyOffset)}: ${unknownKey(path, role, names.keys())}`);
      }
    }
  };
  if (document.contents !== null) readMap(document.contents, '', 0);
  return given;
}

/**
 * A setting's value as `source` gives it. `placeOf`: where in a file a part of it stands, such as `checks/2/every`.
 * Throws `ConfigurationError` (78).
 */
export function readValue(
  name: SettingName,
  value: unknown,
  source: string,
  placeOf: (field: string) => string = () => source,
): unknown {
  try {
    return settings[name].read(value);
  } catch (error) {
    // Names the part itself, and what stands there.
    if (isAppError(error) && error.field !== undefined) {
      const [lead, place] = [`Cannot use ${error.field}`, placeOf(error.field)];
      const rest = error.message.startsWith(lead) ? error.message.slice(lead.length) : `: ${error.message}`;
      throw new ConfigurationError(`${lead} (${place})${rest}`, { cause: error });
    }
    // A secret is not repeated, nor one that stands in a URL: this ends up in logs.
    const shown = isSecret(name)
      ? ''
      : `${JSON.stringify(value)?.replace(/\/\/[^/]*@/g, '//(not shown)@')} given, `;
    throw new ConfigurationError(`Cannot use ${source}: ${shown}${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** A file that `flag` names. Throws `ConfigurationError` (78). */
export async function readTextFile(file: string, flag = '--config'): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > limits.bodyBytes)
      throw new ConfigurationError(
        `Cannot read ${file}: it is larger than ${limits.bodyBytes / 1_048_576} MiB`,
      );
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    throw new ConfigurationError(`Cannot read ${file}: ${reasonOf(error)}; check ${flag}`);
  }
}

/** Where `checks/2/every` stands, or the nearest around it that does. */
function offsetOf(document: Document.Parsed, field: string): number | undefined {
  for (const path = field.split('/'); path.length > 0; path.pop()) {
    const node = document.getIn(path, true) as { range?: readonly number[] | null } | undefined | null;
    const offset = node?.range?.[0];
    if (offset !== undefined) return offset;
  }
  return undefined;
}

function unknownKey(path: string, role: RoleCommand, known: Iterable<string>): string {
  if (futureKeys.includes(path))
    return `this version does not act on "${path}" yet; remove it, so that nobody believes that it holds`;
  const keys = [...known];
  const near = nearest(path, keys);
  return `unknown key "${path}"; ${near === undefined ? `${role} knows ${keys.join(', ')}` : `did you mean "${near}"?`}`;
}
