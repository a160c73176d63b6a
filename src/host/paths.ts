/** Where a machine's kernel shows itself. Tests point this at folders copied from real kernels. */
export interface HostPaths {
  proc: string;
  sys: string;
  dev: string;
  run: string;
}

export const thisHost: HostPaths = { proc: "/proc", sys: "/sys", dev: "/dev", run: "/run" };
