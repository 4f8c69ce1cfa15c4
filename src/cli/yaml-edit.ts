/** Changes of a configuration file that leave everything else in it as a person wrote it. */
import type { Document } from 'yaml';
import { ConfigurationError } from './exit.ts';
import { yamlWords } from './yaml-words.ts';

export interface YamlEdit {
  readonly path: readonly string[];
  readonly value: unknown;
}

/**
 * The text with these values. Comments and order stay; a first key that is new comes last, under `heading`. The very
 * same text when it says all that already. `ConfigurationError` for a text that is no map.
 */
export async function editYaml(
  text: string,
  edits: readonly YamlEdit[],
  { file, heading }: { file: string; heading: string },
): Promise<string> {
  const yaml = await import('yaml');
  const { Document, isMap, parseDocument, visit } = yaml;
  const document = parseDocument(text);
  const [mistake] = document.errors;
  if (mistake !== undefined) throw new ConfigurationError(`Cannot change ${file}: ${yamlWords(mistake)}`);
  if (document.contents !== null && !isMap(document.contents))
    throw new ConfigurationError(`Cannot change ${file}: expected keys with values`);
  const appended: Record<string, unknown> = {};
  let changed = false;
  for (const { path, value } of edits) {
    const [first = '', ...rest] = path;
    if (!document.has(first)) {
      // Below all that is there: in a file of comments alone they would end up behind the first key.
      setIn(appended, [first, ...rest], value);
      continue;
    }
    const now: unknown = document.toJS();
    if (JSON.stringify(valueIn(now, path)) === JSON.stringify(value)) continue;
    put(document, { path, value }, yaml);
    changed = true;
  }
  const asText = () => document.toString({ lineWidth: 0, flowCollectionPadding: false });
  const kept = changed ? asText() : text;
  if (Object.keys(appended).length === 0) return kept;
  const end = kept === '' || kept.endsWith('\n') ? '' : '\n';
  const added = new Document(appended);
  visit(added, {
    Seq(_key, list) {
      list.flow = true;
    },
  });
  const whole = `${kept}${end}\n# ${heading}\n${added.toString({ lineWidth: 0, flowCollectionPadding: false })}`;
  if (parseDocument(whole).errors.length === 0) return whole;
  // Nothing can stand behind a map in braces, or the end of a document.
  for (const [key, value] of Object.entries(appended)) document.set(key, document.createNode(value));
  return asText();
}

/** What is replaced keeps the comments beside it; a list, those of its entries. */
function put(
  document: Document,
  { path, value }: YamlEdit,
  { isScalar, isSeq }: typeof import('yaml'),
): void {
  const found = document.getIn(path, true);
  if (isScalar(found) && !Array.isArray(value)) {
    found.value = value;
    return;
  }
  const made = document.createNode(value, { flow: Array.isArray(value) });
  if (!isSeq(found) || !isSeq(made)) {
    document.setIn(path, made);
    return;
  }
  const wanted = value as readonly unknown[];
  const isWanted = (item: unknown) => isScalar(item) && wanted.includes(item.value);
  const kept = found.items.filter(isWanted);
  const there = kept.map((item) => isScalar(item) && item.value);
  found.items = [...kept, ...made.items.filter((item) => isScalar(item) && !there.includes(item.value))];
}

/** What stands at `path`; undefined where nothing does. */
export function valueIn(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<string, unknown> | null | undefined)?.[key], value);
}

function setIn(
  into: Record<string, unknown>,
  [first = '', ...rest]: readonly string[],
  value: unknown,
): void {
  if (rest.length === 0) {
    into[first] = value;
    return;
  }
  const below = (into[first] ?? {}) as Record<string, unknown>;
  into[first] = below;
  setIn(below, rest, value);
}
