/**
 * `holdfast completion`: scripts for shells, made from the command table. Static ones of our own: the libraries that
 * there are for commander (tabtab, omelette, @bomb.sh/tab) run the program at each press of TAB, which takes 50 ms to
 * start, and a distribution's package has files.
 */
import { Argument, type Command } from 'commander';
import { bashScript } from './completion-bash.ts';
import { fishScript } from './completion-fish.ts';
import { zshScript } from './completion-zsh.ts';
import { action, type Context, examples } from './context.ts';
import { type DescribedCommand, describe } from './described.ts';

const scripts = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
} as const satisfies Record<string, (program: DescribedCommand) => string>;
export type Shell = keyof typeof scripts;
export const shells = Object.keys(scripts) as Shell[];

/** The script for a shell, of a program that is described whole. */
export function completionScript(shell: Shell, program: DescribedCommand): string {
  return scripts[shell](program);
}

export function define(command: Command, context: Context): void {
  command
    .addArgument(new Argument('<shell>', 'for which shell').choices(shells))
    .description(
      'Writes the script that completes commands, options and their values at TAB.\n' +
        'An installed package has brought it already.',
    )
    .action(
      action(context, async (shell: Shell) => {
        context.io.stdout.write(completionScript(shell, describe(await context.program())));
        return 0;
      }),
    );
  examples(command, [
    'completion bash > ~/.local/share/bash-completion/completions/holdfast',
    'completion zsh > ~/.zsh/completions/_holdfast',
    'completion fish > ~/.config/fish/completions/holdfast.fish',
  ]);
}
