import { runTool, type ToolResult } from "../../../core/tools.ts";

/**
 * Runs a program with an environment of its own: what a user has set for other builds
 * (KCFLAGS, CROSS_COMPILE, C_INCLUDE_PATH, MAKEFLAGS …) must not reach the kernel's.
 */
export function runClean(
  command: readonly string[],
  options: {
    cwd: string;
    environment?: Readonly<Record<string, string>> | undefined;
    signal?: AbortSignal | undefined;
  },
): Promise<ToolResult> {
  const environment = {
    HOME: process.env.HOME ?? "/",
    PATH: `${process.env.PATH ?? "/usr/bin:/bin"}:/usr/sbin:/sbin`,
    TMPDIR: process.env.TMPDIR ?? "/tmp",
    LC_ALL: "C.UTF-8",
    ...options.environment,
  };
  const assignments = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  return runTool("env", ["-i", ...assignments, ...command], { cwd: options.cwd, signal: options.signal });
}

/**
 * Read by every make of a kernel build, through MAKEFILES, before its own makefiles.
 *
 * `rekernel-environment` writes down what the top Makefile exports: with it Makefile.build runs by itself, without
 * the seconds that the top Makefile takes each time.
 *
 * rule_cc_o_c is what kbuild does to make an object out of a C file (scripts/Makefile.build). In its place the
 * command is written down, with what kbuild knows of the unit: whether its own lists hold it, built in or in a module.
 * Everything before that still happens: the descent through the directories that are enabled, and the headers that
 * the unit needs to have generated.
 */
export const kbuildProbe = `# Written by rekernel.
ifneq ($(REKERNEL_ENVIRONMENT),)
rekernel-environment:
	@env -0 > $(REKERNEL_ENVIRONMENT)
endif
ifneq ($(REKERNEL_COMMANDS),)
rekernel-plain = $(patsubst ./%,%,$(1))
override define rule_cc_o_c
	@$(file >>$(REKERNEL_COMMANDS),$(call rekernel-plain,$<)|$(obj)|$(if $(filter $(call rekernel-plain,$@),$(call rekernel-plain,$(real-obj-y) $(lib-y))),built-in)|$(if $(filter $(call rekernel-plain,$@),$(call rekernel-plain,$(real-obj-m))),module)|$(modfile)|$(CC) $(c_flags)):
endef
endif
`;
