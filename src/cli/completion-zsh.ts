/** Completion for zsh, with its own `_arguments`. */
import {
  type DescribedArgument,
  type DescribedCommand,
  type DescribedOption,
  type DescribedValue,
  optionsAt,
  withAllBelow,
} from './described.ts';

/** To be put into a folder of `fpath` as `_holdfast`, or sourced behind `compinit`. */
export function zshScript(program: DescribedCommand): string {
  const functions = withAllBelow(program).map(functionOf).join('\n\n');
  return `#compdef holdfast
# zsh completion for holdfast

${functions}

# Loaded by name it is the function itself, sourced it makes itself known.
if [[ \${funcstack[1]} == _holdfast ]]; then
    _holdfast "$@"
else
    compdef _holdfast holdfast
fi
`;
}

function functionOf(command: DescribedCommand): string {
  const specs = [`'(- *)'{-h,--help}'[display help for command]'`, ...optionsAt(command).map(optionSpec)];
  const below = command.commands.map((one) => `${one.path.at(-1) ?? ''}:${colons(one.summary)}`);
  if (below.length === 0) return asFunction(command, [...specs, ...command.arguments.map(argumentSpec)]);
  const list = [...below, 'help:more about a command'].map((entry) => `        ${quoted(entry)}`);
  const cases = command.commands.map((one) => `        ${one.path.at(-1) ?? ''}) ${functionName(one)} ;;`);
  return asFunction(
    command,
    [...specs, `'1: :->command'`, `'*:: :->rest'`],
    `
    case $state in
    command)
        local -a commands=(
${list.map((line) => `    ${line}`).join('\n')}
        )
        _describe -t commands command commands
        ;;
    rest)
        # "help" comes before the words that it explains.
        while [[ \${words[1]} == help && CURRENT -gt 2 ]]; do
            shift words
            ((CURRENT--))
        done
        case \${words[1]} in
${cases.join('\n')}
        help) ${functionName(command)} ;;
        esac
        ;;
    esac`,
  );
}

function asFunction(command: DescribedCommand, specs: readonly string[], rest = ''): string {
  const lines = specs.map((spec) => `        ${spec}`).join(' \\\n');
  return `${functionName(command)}() {
    local curcontext="$curcontext" state state_descr line
    typeset -A opt_args
    _arguments -C \\
${lines}${rest === '' ? '' : ' && return'}${rest}
}`;
}

function functionName({ path }: DescribedCommand): string {
  return ['_holdfast', ...path].join('_').replaceAll('-', '_');
}

function optionSpec({ long, short, value, help, repeatable }: DescribedOption): string {
  const text = `[${help.replace(/[[\]\\]/g, '\\$&')}]${value === null ? '' : valueSpec(value)}`;
  const names =
    short === null
      ? `${long}${value === null ? '' : '='}`
      : `{${short}${value === null ? '' : '+'},${long}${value === null ? '' : '='}}`;
  const others = repeatable ? `'*'` : short === null ? '' : `'(${short} ${long})'`;
  return `${others}${names}${quoted(text)}`;
}

function argumentSpec({ value }: DescribedArgument): string {
  return quoted(`${value.variadic ? '*' : value.required ? '' : ':'}${valueSpec(value)}`);
}

/** `:file:_files` */
function valueSpec({ name, choices, kind }: DescribedValue): string {
  const words = choices.length > 0 ? `(${choices.join(' ')})` : undefined;
  const files = { file: '_files', folder: '_files -/', word: ' ' } as const;
  return `:${colons(name)}:${words ?? files[kind]}`;
}

function colons(text: string): string {
  return text.replace(/[\\:]/g, '\\$&');
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
