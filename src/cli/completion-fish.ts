/** Completion for fish 3 and later. */
import { type DescribedCommand, type DescribedValue, optionsAt, withAllBelow } from './described.ts';

/** To be put into a folder of `fish_complete_path` as `holdfast.fish`, or sourced. */
export function fishScript(program: DescribedCommand): string {
  const commands = withAllBelow(program);
  const paths = commands.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(' ')));
  const valued = commands.flatMap(({ options }) =>
    options.flatMap(({ long, short, value }) =>
      value === null ? [] : [long, ...(short === null ? [] : [short])],
    ),
  );
  return `# fish completion for holdfast

# The words of the command on the line, and how many others stand behind it: "hosts ls/0".
function __holdfast_place
    set -l path
    set -l given 0
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
        else if string match -q -- '-*' $word
            contains -- $word ${[...new Set(valued)].sort().join(' ')}
            and set skip yes
        else if test $word != help
            set -l next (string join ' ' $path $word)
            if contains -- $next ${paths.join(' ')}
                set path $next
            else
                set given (math $given + 1)
            end
        end
    end
    echo "$path/$given"
end

function __holdfast_in
    string match -q -- "$argv[1]/*" (__holdfast_place)
end

function __holdfast_at
    string match -q -- $argv[1] (__holdfast_place)
end

complete -c holdfast -f
complete -c holdfast -s h -l help -d 'display help for command'
${commands.flatMap(linesOf).join('\n')}
`;
}

function linesOf(command: DescribedCommand): readonly string[] {
  const path = command.path.join(' ');
  const within = `complete -c holdfast -n ${quoted(`__holdfast_in "${path}"`)}`;
  const at = (place: number | '*') => `complete -c holdfast -n ${quoted(`__holdfast_at "${path}/${place}"`)}`;
  const help = command.commands.length > 0 ? [`${at(0)} -a help -d 'more about a command'`] : [];
  return [
    ...command.commands.map((one) => `${at(0)} -a ${one.path.at(-1) ?? ''} -d ${quoted(one.summary)}`),
    ...help,
    ...optionsAt(command).map(({ long, short, value, help: words }) => {
      const letter = short === null ? '' : ` -s ${short.slice(1)}`;
      return `${within}${letter} -l ${long.slice(2)}${value === null ? '' : afterOption(value, 'option')} -d ${quoted(words)}`;
    }),
    ...command.arguments
      .map(({ value }, place) => ({ value, place: value.variadic ? ('*' as const) : place }))
      .filter(({ value }) => value.choices.length > 0 || value.kind !== 'word')
      .map(({ value, place }) => `${at(place)}${afterOption(value, 'argument')}`),
  ];
}

/** An option's value follows it and is nothing else; files are off unless somebody turns them on. */
function afterOption({ choices, kind }: DescribedValue, of: 'option' | 'argument'): string {
  const required = of === 'option' ? ' -r' : '';
  if (choices.length > 0) return `${required} -f -a ${quoted(choices.join(' '))}`;
  switch (kind) {
    case 'file':
      return `${required} -F`;
    case 'folder':
      return `${required} -f -a '(__fish_complete_directories)'`;
    case 'word':
      return `${required} -f`;
  }
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
