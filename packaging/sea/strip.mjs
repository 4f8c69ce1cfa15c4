/** The Node base of the binary, smaller. */
import { readFile, writeFile } from 'node:fs/promises';

/**
 * Writes the base without its symbol table and debug sections: 17 MiB that no running program reads (the exported
 * symbols, which addons bind to, are in .dynsym and stay). This is `strip` without binutils, which a fresh machine
 * may not have: those sections lie behind everything that is loaded, so the file is cut there, and a section table
 * of the loaded sections is put behind it. (Without a table it runs too, but LIEF, which injects the script, warns.)
 */
export async function stripNode(base, output) {
  const elf = await readFile(base);
  // Offsets as in elf(5), Elf64_Ehdr and Elf64_Shdr.
  const [table, count, namesIndex] = [
    Number(elf.readBigUInt64LE(40)),
    elf.readUInt16LE(60),
    elf.readUInt16LE(62),
  ];
  const sections = Array.from({ length: count }, (_, index) => {
    const header = Buffer.from(elf.subarray(table + index * 64, table + index * 64 + 64));
    const [type, flags] = [header.readUInt32LE(4), header.readBigUInt64LE(8)];
    const [offset, size] = [Number(header.readBigUInt64LE(24)), Number(header.readBigUInt64LE(32))];
    const SHT_NOBITS = 8;
    return {
      header,
      loaded: (flags & 2n) !== 0n,
      offset,
      size,
      end: type === SHT_NOBITS ? offset : offset + size,
    };
  });
  // The first entry is the null section. Sections name each other by index, so only a tail may go.
  const kept = sections.filter((section, index) => index === 0 || section.loaded);
  const loadedEnd = Math.max(...kept.map((section) => section.end));
  if (sections.some((section, index) => section.loaded && index >= kept.length)) {
    throw new Error('Cannot strip the Node base: loaded sections lie behind others, expected them first');
  }
  const names = sections[namesIndex];
  names.header.writeBigUInt64LE(BigInt(loadedEnd), 24);
  const namesEnd = loadedEnd + names.size;
  const padding = Buffer.alloc(-namesEnd & 7);
  elf.writeBigUInt64LE(BigInt(namesEnd + padding.length), 40);
  elf.writeUInt16LE(kept.length + 1, 60);
  elf.writeUInt16LE(kept.length, 62);
  const parts = [
    elf.subarray(0, loadedEnd),
    elf.subarray(names.offset, names.offset + names.size),
    padding,
    ...kept.map((section) => section.header),
    names.header,
  ];
  await writeFile(output, Buffer.concat(parts), { mode: 0o755 });
}
