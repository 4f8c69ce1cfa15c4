/**
 * The few requests of man(7) that the pages need. Written out by hand, because what turns Markdown into man pages wants
 * Markdown first, and the pages come from tables.
 */

/** The heading of a page: `.TH`. */
export interface PageHead {
  readonly name: string;
  readonly section: 1 | 5 | 8;
  /** `2026-11-20` */
  readonly date: string;
  readonly version: string;
}

/** Collects lines of roff. Texts are plain: whatever roff would take for its own is escaped here. */
export class Page {
  readonly #lines: string[] = [];

  constructor({ name, section, date, version }: PageHead) {
    this.#lines.push(
      `.TH ${quoted(name.toUpperCase())} ${section} "${date}" ${quoted(`holdfast ${version}`)} ${quoted('Holdfast')}`,
    );
  }

  section(title: string): this {
    this.#lines.push(`.SH ${quoted(title.toUpperCase())}`, ...asWritten);
    return this;
  }

  subsection(title: string): this {
    this.#lines.push(`.SS ${quoted(title)}`, ...asWritten);
    return this;
  }

  /** Line breaks of the text begin a new paragraph. */
  paragraphs(text: string): this {
    for (const paragraph of text.split('\n')) {
      this.#begin();
      this.#lines.push(...sentences(paragraph));
    }
    return this;
  }

  /** A term with its meaning; the term is roff: `bold`, `italic` and `plain` make it. */
  item(term: string, meaning: string): this {
    this.#lines.push('.TP', guarded(term), ...sentences(meaning));
    return this;
  }

  /** A line in roff: `bold`, `italic` and `plain` make it. */
  line(roff: string): this {
    this.#lines.push(guarded(roff));
    return this;
  }

  break(): this {
    this.#lines.push('.br');
    return this;
  }

  /** What `write` adds stands further to the right. */
  indented(write: (page: this) => void): this {
    this.#lines.push('.RS');
    write(this);
    this.#lines.push('.RE');
    return this;
  }

  /** Lines as they are, indented. */
  example(lines: readonly string[]): this {
    this.#begin();
    this.#lines.push('.RS 4', '.EX', ...lines.map((line) => guarded(escaped(line))), '.EE', '.RE');
    return this;
  }

  /** A new paragraph, but not where a heading has begun one. */
  #begin(): void {
    if (this.#lines.at(-1) !== asWritten.at(-1)) this.#lines.push('.PP');
  }

  text(): string {
    return `${this.#lines.join('\n')}\n`;
  }
}

/** Names of options and paths are neither hyphenated nor stretched over the line; a heading turns both on again. */
const asWritten = ['.nh', '.ad l'];

export function bold(text: string): string {
  return `\\fB${escaped(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${escaped(text)}\\fR`;
}

/** Text that is neither. */
export function plain(text: string): string {
  return escaped(text);
}

/** groff_char(7): a bare hyphen and quotes become typographic ones, with which nobody can run what they copy. */
const special: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

function escaped(text: string): string {
  return text.replace(/[\\\-'`^~]|[^\0-\x7f]/gu, (char) => special[char] ?? unicode(char));
}

function unicode(char: string): string {
  return `\\[u${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`;
}

/** A line that begins with a dot would be a request. */
function guarded(line: string): string {
  return line.startsWith('.') ? `\\&${line}` : line;
}

/**
 * man-pages(7): each sentence begins a line, for whoever compares two versions, and roff knows where one ends; and no
 * line of the source is longer than 80 characters.
 */
function sentences(text: string): string[] {
  return text.split(/(?<=[\w)"][.?!]) (?=[A-Z"])/).flatMap((sentence) => {
    const lines = [''];
    for (const word of escaped(sentence).split(' ')) {
      const line = lines.at(-1) ?? '';
      if (line !== '' && line.length + word.length > 78) lines.push(word);
      else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
    }
    return lines.map(guarded);
  });
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`;
}
