type Package = 'bubblewrap' | 'python3';

/** How one family of Linux installs packages. */
export type PackageManager = {
  program: string;
  /** Fetches the list of packages, where installing does not do that itself. */
  prepare?: readonly string[];
  install: readonly string[];
  /** What a package is called here, where it has another name than elsewhere. */
  names?: Readonly<Partial<Record<Package, string>>>;
};

/** In the order of trust in what is found: a Debian machine may have dnf installed, hardly the other way round. */
export const packageManagers: readonly PackageManager[] = [
  { program: 'apt-get', prepare: ['apt-get', 'update'], install: ['apt-get', 'install', '-y'] },
  { program: 'dnf', install: ['dnf', 'install', '-y'] },
  { program: 'apk', install: ['apk', 'add'] },
  {
    program: 'pacman',
    prepare: ['pacman', '-Sy'],
    install: ['pacman', '-S', '--noconfirm'],
    names: { python3: 'python' },
  },
  { program: 'zypper', install: ['zypper', '--non-interactive', 'install'] },
];

/** The command that installs packages, to be run as root. */
export function installCommand({ install, names }: PackageManager, packages: readonly Package[]): string[] {
  return [...install, ...packages.map((name) => names?.[name] ?? name)];
}
