/**
 * TypeScript's own parser over texts that need not be on the disk. TypeScript 7 calls this interface unstable; the lock
 * file pins it, and only this file would have to change.
 */
import assert from 'node:assert/strict';
import type * as ts from 'typescript/unstable/ast';
import { API } from 'typescript/unstable/sync';

/** The tree of each text, under the same name: an absolute path that ends in `.ts`. */
export function parseTexts(texts: ReadonlyMap<string, string>): Map<string, ts.SourceFile> {
  const options = { noLib: true, noResolve: true, types: [], allowImportingTsExtensions: true, noEmit: true };
  const files = new Map(texts);
  files.set('/tsconfig.json', JSON.stringify({ compilerOptions: options, files: [...texts.keys()] }));
  const api = new API({
    cwd: '/',
    fs: {
      readFile: (path) => files.get(path) ?? null,
      fileExists: (path) => files.has(path),
      directoryExists: (path) => [...files.keys()].some((name) => name.startsWith(`${path}/`)),
      getAccessibleEntries: () => ({ files: [], directories: [] }),
      realpath: (path) => path,
    },
  });
  try {
    const project = api.updateSnapshot({ openProject: '/tsconfig.json' }).getProject('/tsconfig.json');
    const trees = new Map<string, ts.SourceFile>();
    for (const name of texts.keys()) {
      const tree = project?.program.getSourceFile(name);
      assert.ok(tree !== undefined, `${name} was not parsed`);
      // Read while the parser is there: the tree is fetched from it node by node.
      visitNodes(tree, () => undefined);
      trees.set(name, tree);
    }
    return trees;
  } finally {
    api.close();
  }
}

/** Every node below, parents first. */
export function visitNodes(tree: ts.Node, visit: (node: ts.Node) => void): void {
  visit(tree);
  tree.forEachChild((node) => visitNodes(node, visit));
}
