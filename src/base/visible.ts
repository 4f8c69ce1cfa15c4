/** Texts that reach somebody's terminal, also through `curl` and `journalctl`. */

/** Controls, marks that turn the direction, line separators, halves of pairs; but for the end of a line. */
const obeyed = /(?!\n)[\p{C}\p{Zl}\p{Zp}]/u;
const eachObeyed = new RegExp(obeyed, 'gu');

/**
 * The same JSON with nothing in it that a terminal obeys or a reader of lines takes for an end. `JSON.stringify`
 * escapes what is below U+0020 and leaves the rest as it is, such as U+009B, which begins an escape sequence, too.
 */
export function visibleJson(text: string): string {
  return obeyed.test(text) ? text.replace(eachObeyed, escaped) : text;
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
