/** What is wrong with a YAML file, in words for people who write one line of it a year. */
import type { YAMLError } from 'yaml';

/** By the parser's own codes; a code without words here keeps the parser's. */
const mistakes: Partial<Record<YAMLError['code'], string>> = {
  BAD_ALIAS: 'a "*" begins an alias here; put the text into quotes',
  BAD_DIRECTIVE: 'a "%" at the beginning of a line is not taken',
  BAD_DQ_ESCAPE: 'a backslash in double quotes begins an escape that does not exist; use single quotes',
  BAD_INDENT: 'a bracket is not closed, or this line is not indented as deep as it must be',
  BAD_SCALAR_START: 'a value cannot begin with this character; put it into quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a second ": " on this line, or the next line is indented deeper; put a value that holds ": " into quotes',
  BLOCK_IN_FLOW: 'inside brackets everything is written with brackets',
  DUPLICATE_KEY: 'this key stands there twice',
  MISSING_CHAR: 'a quote, a bracket or the ":" after a key is missing',
  MULTILINE_IMPLICIT_KEY: 'a key and its ":" belong on one line',
  MULTIPLE_DOCS: 'a second document begins here ("---"); expected one',
  TAB_AS_INDENT: 'a tab indents this line; use spaces',
  TAG_RESOLVE_FAILED: 'a "!" begins a tag, and no tag is known here; put the text into quotes',
  UNEXPECTED_TOKEN: 'this does not fit what stands before it; look at the indentation',
};

export function yamlWords({ code, message }: Pick<YAMLError, 'code' | 'message'>): string {
  return mistakes[code] ?? message.split(/ at line \d|\n/)[0] ?? message;
}
