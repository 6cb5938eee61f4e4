/** Where the interpreters are found inside, before everything else on PATH. */
export const TOOLS = '/opt/sandbox/bin';

/** Who the sandbox's user is inside, where there is a user namespace to say so. */
export const INSIDE_UID = 1000;

/** Files that stand in for the machine's own, which name its users and neighbours. */
export const insideFiles = {
  passwd: `root:x:0:0:root:/:/bin/false\nsandbox:x:${INSIDE_UID}:${INSIDE_UID}::/workspace:/bin/bash\n`,
  group: `root:x:0:\nsandbox:x:${INSIDE_UID}:\n`,
  hosts: '127.0.0.1 localhost sandbox\n::1 localhost\n',
} as const;

/** Of the system, beside /usr; links into it on most systems. */
export const systemDirectories = ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];

// What libraries read of /etc on an ordinary machine, and nothing that says whose machine it is.
export const etcFiles = [
  'alternatives',
  'ca-certificates',
  'ca-certificates.conf',
  'fonts',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'mime.types',
  'nsswitch.conf',
  'pki/tls/certs',
  'pki/ca-trust/extracted',
  'protocols',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
];

/** Where the way out begins inside: the port that programs are told of, and the socket it leads to. */
export const insideProxy = { port: 3128, path: '/run/proxy' } as const;

const proxyUrl = `http://127.0.0.1:${insideProxy.port}`;
/** What leads programs to it. */
export const proxyEnvironment = {
  // Some programs know only the one, some only the other spelling.
  ...{ HTTP_PROXY: proxyUrl, http_proxy: proxyUrl, HTTPS_PROXY: proxyUrl, https_proxy: proxyUrl },
  ...{ NO_PROXY: 'localhost,127.0.0.1,::1', no_proxy: 'localhost,127.0.0.1,::1' },
  NODE_USE_ENV_PROXY: '1',
};

export const environment = (searchPath: readonly string[], workspace = '/workspace', tmp = '/tmp') => ({
  PATH: searchPath.join(':'),
  HOME: workspace,
  USER: 'sandbox',
  LOGNAME: 'sandbox',
  SHELL: '/bin/bash',
  LANG: 'C.UTF-8',
  TMPDIR: tmp,
  MPLBACKEND: 'Agg',
  MPLCONFIGDIR: `${tmp}/.matplotlib`,
  // Python would otherwise guess the machine's locale anew; pip would refuse to install for the user.
  PYTHONUTF8: '1',
  PIP_USER: '1',
  PIP_BREAK_SYSTEM_PACKAGES: '1',
  NPM_CONFIG_CACHE: `${tmp}/.npm`,
  GOCACHE: `${tmp}/.go-build`,
  GOPATH: `${workspace}/go`,
  GOFLAGS: '-buildvcs=false',
  GOTOOLCHAIN: 'local',
});
