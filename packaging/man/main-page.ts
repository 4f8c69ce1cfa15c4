/** The page of the program: `holdfast(1)`. */

import type { DescribedCommand } from '../../src/cli/described.ts';
import { exitCodeHelp } from '../../src/cli/exit.ts';
import { reference, sectionOf, shortSummary } from './command-page.ts';
import { bold, italic, Page, type PageHead } from './roff.ts';
import { allFiles, foreignVariables, variables } from './words.ts';

export function mainPage(program: DescribedCommand, head: Pick<PageHead, 'version' | 'date'>): string {
  const page = new Page({ name: 'holdfast', section: 1, ...head });
  page.section('Name').line('holdfast \\- know what runs on every host, and hold it there');
  page
    .section('Synopsis')
    .line(`${bold('holdfast')} ${italic('command')} [${italic('option')}...] [${italic('argument')}...]`)
    .break()
    .line(`${bold('holdfast help')} [${italic('command')}...]`);
  page
    .section('Description')
    .paragraphs(
      'On each host holdfast runs as an agent: it tells that the host is alive, checks in the versions of what is ' +
        'installed, and answers questions on the spot, from its own store, also when the network is gone. In the ' +
        'centre the same program runs as a registry: it knows every host, every component version and every service, ' +
        'and streams each change to whoever watches. Where foreign programs have to be started, a runner does it, ' +
        'apart from both.\n' +
        'Answers go to stdout, words for people to stderr. With -o json a command prints the answer of the server ' +
        'unchanged, for programs.\n' +
        'With nothing named, status, services and watch ask the agent on this machine, and all others the registry on ' +
        'this machine. The first line on stderr says whom.',
    );
  page.section('Commands');
  for (const group of new Set(program.commands.map((command) => command.group))) {
    page.subsection(group);
    for (const command of program.commands.filter((one) => one.group === group)) {
      const [name = ''] = command.path;
      page.item(reference(`holdfast-${name}`, sectionOf(name)), `${shortSummary(command)}.`);
      if (command.commands.length === 0) continue;
      page.indented(() => {
        for (const below of command.commands) page.item(bold(below.path.join(' ')), `${below.summary}.`);
      });
    }
  }
  page.section('Options');
  page.item(`${bold('-h')}, ${bold('--help')}`, 'Of any command: what it does, its options, and examples.');
  for (const { short, long, help } of program.options)
    page.item(`${short === null ? '' : `${bold(short)}, `}${bold(long)}`, `${help}.`);
  page
    .section('Environment')
    .paragraphs(
      'An option stands above its variable, that above a configuration file. A variable that begins with HOLDFAST_ and ' +
        'that nothing reads is refused by the roles. Those of a role are in its own page.',
    );
  for (const [name, words] of Object.entries({ ...variables, ...foreignVariables }))
    page.item(bold(name), `${words}.`);
  page.section('Files');
  for (const [path, words] of Object.entries(allFiles)) page.item(italic(path), `${words}.`);
  page.section('Exit status');
  for (const [code, words] of Object.entries(exitCodeHelp)) page.item(bold(code), `${words}.`);
  page.section('Examples');
  for (const [words, line] of firstSteps) page.paragraphs(`${words}:`).example([`holdfast ${line}`]);
  page
    .section('See also')
    .line(
      [
        ...program.commands.map(({ path: [name = ''] }) => reference(`holdfast-${name}`, sectionOf(name))),
        reference('holdfast.yaml', 5),
      ].join(',\n'),
    );
  return page.text();
}

const firstSteps = [
  ['Start an agent and a registry here', 'up'],
  ['How they are, from another terminal', 'status'],
  ['What is alive', 'services ls'],
  ['What is installed', 'components ls'],
  ['What changes, as it happens', 'watch'],
] as const;
