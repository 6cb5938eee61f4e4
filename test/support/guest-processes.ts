/** Bash that prints how many living processes of its sandbox have one of these names; no procps is needed for it. */
export function countOf(...names: readonly string[]): string {
  const pattern = names.map((name) => `"(${name})"`).join('|');
  return `n=0; for f in /proc/[0-9]*/stat; do read -r _ name state _ 2>/dev/null < $f || continue; case $name in ${pattern}) [ $state = Z ] || n=$((n+1));; esac; done; echo $n`;
}

/** Bash that prints how many processes of its sandbox are in the state (`Z` is a zombie), or in any other with `!`. */
export function countInState(state: string): string {
  const [alternative, other] = state.startsWith('!') ? [state.slice(1), true] : [state, false];
  return `n=0; for f in /proc/[0-9]*/stat; do read -r _ _ state _ 2>/dev/null < $f || continue; [ $state ${other ? '!=' : '='} ${alternative} ] && n=$((n+1)); done; echo $n`;
}
