import type { Command } from "commander";
import { action, type CommandContext, examples } from "./context.ts";

/** `rekernel explain [code]`: what an error code means, and what to do about it. */
export function registerExplain(parent: Command): void {
  const command = parent
    .command("explain")
    .summary("explain an error code, such as RK-DATA-CHANGE")
    .description(
      "Explains an error code: what it means, why it is so, an example, and what to do about it.\n" +
        "Without a code: lists all of them.",
    )
    .argument("[code]", "the code in brackets below an error's message")
    .action(
      action<object, [string | undefined]>(async (context, _options, code) => {
        const { explain, explanations } = await import("./explanations.ts");
        const { renderMarkdown } = await import("./markdown.ts");
        if (code === undefined) {
          const codes = explanations();
          context.result({ codes });
          context.print(list(codes, context));
          return;
        }
        const explanation = explain(code);
        context.result(explanation);
        context.print(renderMarkdown(explanation.text, context.style));
      }),
    );
  examples(command, "rekernel explain RK-DATA-CHANGE", "rekernel explain");
}

function list(codes: readonly { code: string; title: string }[], { style }: CommandContext): string {
  return codes.map(({ code, title }) => `${style("bold", code)}\n  ${title.replaceAll("`", "")}`).join("\n");
}
