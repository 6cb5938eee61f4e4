import type { makerModules } from './guest-modules.ts';
import { descriptorOf } from './handed-file.ts';

type MakerModule = (typeof makerModules)[number];

// Read from descriptors, so that nothing on the disk can stand in for them.
const loader = (modules: readonly (readonly [string, number])[]) => `
import marshal, os, sys
for name, descriptor in ${JSON.stringify(modules)}:
    module = sys.modules[name] = type(sys)(name)
    exec(marshal.loads(os.pread(descriptor, 1 << 20, 16)), module.__dict__)`;

/** Python's arguments that run the last of these modules, which imports the others. */
export function makerArguments(modules: readonly MakerModule[], ...args: readonly string[]): string[] {
  const program = loader(modules.map((name) => [name, Number(descriptorOf(name))]));
  return ['-S', '-I', '-c', program, ...args];
}
