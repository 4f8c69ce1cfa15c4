/** Completion for bash 4 and later; the package bash-completion is not needed. */
import { type DescribedCommand, type DescribedValue, optionsAt, withAllBelow } from './described.ts';

/** To be sourced, or put where bash-completion looks, under the name of the program. */
export function bashScript(program: DescribedCommand): string {
  const commands = withAllBelow(program);
  return `# bash completion for holdfast

_holdfast() {
    local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
    # Readline takes "--output=json" for three words.
    if [[ $cur == '=' ]]; then
        cur=''
    elif [[ $prev == '=' ]]; then
        prev=\${COMP_WORDS[COMP_CWORD-2]}
    fi

    # An address is several words too; nothing is known of what stands behind its colon.
    if [[ $cur == :* || $prev == :* ]]; then
        COMPREPLY=()
        return
    fi

    # Where on the line we are: the words of the command, and how many others stand behind it.
    local path='' given=0 skip='' word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=\${COMP_WORDS[i]}
        if [[ $word == [=:]* ]]; then
            skip=yes
        elif [[ -n $skip ]]; then
            skip=''
        elif [[ $word == -* ]]; then
            case $word in
                ${valued(commands).join('|')}) [[ \${COMP_WORDS[i+1]} == '=' ]] || skip=yes ;;
            esac
        elif [[ $word != help ]]; then
            case "$path $word" in
${pathCases(commands)}
                *) ((given++)) ;;
            esac
        fi
    done

    local kind='' words=''
    if [[ $prev == -* ]]; then
        case "$path $prev" in
${optionCases(commands)}
        esac
    fi
    if [[ -z $kind && $cur == -* ]]; then
        kind=words
        case $path in
${optionNameCases(commands)}
        esac
    elif [[ -z $kind ]]; then
        case "$path $given" in
${argumentCases(commands)}
        esac
    fi

    COMPREPLY=()
    case $kind in
        words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    esac
}

complete -F _holdfast holdfast
`;
}

/** Every option that a value follows. No command has a switch of the same name: the test of all options says so. */
function valued(commands: readonly DescribedCommand[]): readonly string[] {
  const names = commands.flatMap(({ options }) =>
    options.flatMap(({ long, short, value }) =>
      value === null ? [] : [long, ...(short === null ? [] : [short])],
    ),
  );
  return [...new Set(names)].sort();
}

/** ` hosts` and a word that is a command of it: one step down. */
function pathCases(commands: readonly DescribedCommand[]): string {
  return commands
    .filter(({ path }) => path.length > 0)
    .map(({ path }) => {
      const [above, name] = [pathText(path.slice(0, -1)), path.at(-1) ?? ''];
      return `                '${above} ${name}') path='${pathText(path)}' ;;`;
    })
    .join('\n');
}

/** What may follow an option; those of the same kind share a line. */
function optionCases(commands: readonly DescribedCommand[]): string {
  const lines = new Map<string, string[]>();
  for (const command of commands) {
    for (const { long, short, value } of optionsAt(command)) {
      if (value === null) continue;
      const patterns = [long, ...(short === null ? [] : [short])].map(
        (name) => `'${pathText(command.path)} ${name}'`,
      );
      const effect = effectOf(value);
      lines.set(effect, [...(lines.get(effect) ?? []), ...patterns]);
    }
  }
  return [...lines].map(([effect, patterns]) => `            ${patterns.join('|')}) ${effect} ;;`).join('\n');
}

function optionNameCases(commands: readonly DescribedCommand[]): string {
  return commands
    .map((command) => {
      const names = optionsAt(command).flatMap(({ long, short }) =>
        short === null ? [long] : [short, long],
      );
      return `            '${pathText(command.path)}') words='${[...new Set([...names, '-h', '--help'])].join(' ')}' ;;`;
    })
    .join('\n');
}

/** By place: commands come first, then arguments; the last one of many goes on. */
function argumentCases(commands: readonly DescribedCommand[]): string {
  return commands
    .flatMap((command) => {
      const path = pathText(command.path);
      const below = command.commands.map((one) => one.path.at(-1) ?? '');
      if (below.length > 0)
        return [`            '${path} 0') kind=words words='${[...below, 'help'].join(' ')}' ;;`];
      return command.arguments.map(
        ({ value }, at) => `            '${path} '${value.variadic ? '*' : at}) ${effectOf(value)} ;;`,
      );
    })
    .join('\n');
}

function effectOf({ choices, kind }: DescribedValue): string {
  return choices.length > 0 ? `kind=words words='${choices.join(' ')}'` : `kind=${kind}`;
}

/** ` hosts ls`: each word with a blank before it, so that the program's own is empty. */
function pathText(path: readonly string[]): string {
  return path.map((word) => ` ${word}`).join('');
}
